//! Starts and refusals.

use super::*;
use crate::ids::{Generation, Millis};
use crate::journal::{CONSUMED_REMEMBERED, CheckpointEntry};
use crate::manifest::ManifestKind;

fn request(owner: &str) -> StartRequest {
    StartRequest {
        owner: Owner(owner.to_owned()),
        fresh_job_id: JobId::from("fresh"),
        revision: RevisionRule::Numbered(1),
        hash: "h1".to_owned(),
        restore_from: None,
    }
}

fn restoring(owner: &str, target: RestoreTarget) -> StartRequest {
    let record = RestoreRecord(format!("{target:?}"));
    let restore_from = Some(RestoreRequest { record, target, allow_duplicates: false });
    StartRequest { restore_from, ..request(owner) }
}

fn entry(id: u64) -> CheckpointEntry {
    CheckpointEntry {
        id: CheckpointId(id),
        generation: Generation(3),
        kind: ManifestKind::Checkpoint,
        manifest: ObjectRef::of(crate::layout::manifest_key(CheckpointId(id), Generation(3)), b"m"),
        triggered_at: Millis(0),
        completed_at: Millis(0),
        bytes_full: 0,
        bytes_incremental: 0,
    }
}

/// The journal of owner `a` in generation 3 with checkpoints 5, 6 and 7; commits of 7 are pending.
fn found() -> Head {
    let mut head = Head::new(JobId::from("job"), Owner("a".into()), JobRevision { number: 1, hash: "h1".into() });
    head.generation = Generation(3);
    for id in 5..=7 {
        head.complete(entry(id));
    }
    head.pending_commits = vec![CheckpointId(7)];
    head.reserved_ids = CheckpointId(11);
    head
}

fn claimed(found: Option<&Head>, request: &StartRequest) -> (EntryKind, Head) {
    match resolve_start(found, request) {
        Ok(StartDecision::Claim { kind, head }) => {
            assert_eq!(head.check(), Ok(()));
            (kind, *head)
        }
        other => panic!("no claim: {other:?}"),
    }
}

fn import(checkpoint: u64, job: &str) -> RestoreTarget {
    RestoreTarget::Import {
        source: "file:///elsewhere".into(),
        manifest: ObjectRef::of("savepoints/s/manifest.json", b"m"),
        checkpoint: CheckpointId(checkpoint),
        job_id: JobId::from(job),
    }
}

#[test]
fn the_first_claim_begins_generation_one_with_the_fresh_id() {
    let (kind, head) = claimed(None, &request("a"));
    assert_eq!((head.generation, head.job_id.as_str(), &head.restore), (Generation(1), "fresh", &RestorePoint::Empty));
    let expected =
        EntryKind::Claim { owner: Owner("a".into()), restored_from: RestorePoint::Empty, adopted_from: None };
    assert_eq!(kind, expected);
}

#[test]
fn a_revision_that_was_left_behind_never_takes_the_job_back() {
    let mut found = found();
    found.revision.number = 2;
    for status in [JobStatus::Running, JobStatus::Stopped] {
        found.status = status;
        let refused = resolve_start(Some(&found), &request("a"));
        assert_eq!(refused, Err(StartRefusal::Superseded { found: 2, requested: 1 }));
        let adopting = resolve_start(Some(&found), &restoring("b", RestoreTarget::Journal));
        assert!(matches!(adopting, Ok(StartDecision::Claim { .. })), "{adopting:?}");
    }
}

#[test]
fn a_claim_of_the_same_owner_takes_over_everything_in_the_next_generation() {
    let (_, head) = claimed(Some(&found()), &request("a"));
    assert_eq!(head, Head { generation: Generation(4), ..found() });
}

#[test]
fn a_foreign_journal_is_refused_until_restore_from_names_it_or_says_empty() {
    let found = found();
    let refused = resolve_start(Some(&found), &request("b"));
    assert!(matches!(refused, Err(StartRefusal::ForeignOwner { .. })), "{refused:?}");
    let refused = resolve_start(Some(&found), &restoring("b", import(9, "other")));
    assert!(matches!(refused, Err(StartRefusal::ForeignOwner { .. })), "a savepoint does not name the journal");

    let refused = resolve_start(Some(&found), &restoring("b", RestoreTarget::Checkpoint(CheckpointId(7))));
    assert!(matches!(refused, Err(StartRefusal::ForeignOwner { .. })), "nor does a checkpoint's id");

    let (kind, head) = claimed(Some(&found), &restoring("b", RestoreTarget::Journal));
    assert_eq!(head.job_id.as_str(), "job", "adoption keeps the id");
    assert_eq!((&head.owner.0[..], &head.displaced[..]), ("b", &[Owner("a".into())][..]));
    assert_eq!(head.restore, RestorePoint::Checkpoint(CheckpointId(7)));
    assert!(matches!(kind, EntryKind::Claim { adopted_from: Some(Owner(old)), .. } if old == "a"));

    let (_, head) = claimed(Some(&found), &restoring("b", RestoreTarget::Empty));
    assert_eq!((&head.restore, &head.pending_commits[..]), (&RestorePoint::Empty, &[][..]));
    assert_eq!(head.reserved_ids, CheckpointId(11), "ids go on");
    assert_eq!(head.checkpoints.len(), 3, "what is retained stays until newer checkpoints replace it");
}

#[test]
fn a_displaced_owner_never_claims_again() {
    let (_, head) = claimed(Some(&found()), &restoring("b", RestoreTarget::Journal));
    for request in [request("a"), restoring("a", RestoreTarget::Journal), restoring("a", RestoreTarget::Empty)] {
        let refused = resolve_start(Some(&head), &request);
        assert!(matches!(refused, Err(StartRefusal::Displaced { .. })), "{refused:?}");
    }
}

/// The same, and repeated output is accepted.
fn accepting(owner: &str, target: RestoreTarget) -> StartRequest {
    let mut request = restoring(owner, target);
    request.restore_from.as_mut().unwrap().allow_duplicates = true;
    request
}

#[test]
fn a_restore_from_of_old_days_is_not_obeyed_again() {
    let back = |checkpoint| accepting("a", RestoreTarget::Checkpoint(CheckpointId(checkpoint)));
    let (_, first) = claimed(Some(&found()), &back(6));
    assert_eq!(first.restore, RestorePoint::Checkpoint(CheckpointId(6)));
    let (_, mut second) = claimed(Some(&first), &back(5));
    assert_eq!(second.restore, RestorePoint::Checkpoint(CheckpointId(5)));
    second.complete(entry(12));
    let (_, third) = claimed(Some(&second), &back(6));
    assert_eq!(third.restore, RestorePoint::Checkpoint(CheckpointId(12)), "6 was consumed before 5 was");
    let (_, other) = claimed(Some(&second), &restoring("b", RestoreTarget::Journal));
    assert!(other.consumed_before.is_empty(), "another owner has consumed nothing yet");
}

#[test]
fn so_many_consumed_values_are_remembered_and_the_oldest_are_forgotten_first() {
    let mut head = found();
    let record = |number: usize| RestoreRecord(number.to_string());
    for number in 0..=CONSUMED_REMEMBERED + 1 {
        head.consume(record(number));
    }
    assert_eq!(head.consumed_before.len(), CONSUMED_REMEMBERED);
    assert!(!head.has_consumed(&record(0)));
    assert!((1..=CONSUMED_REMEMBERED + 1).all(|number| head.has_consumed(&record(number))));
}

#[test]
fn output_of_its_own_is_left_behind_only_by_who_accepts_duplicates() {
    for target in [RestoreTarget::Empty, import(90, "other")] {
        let refused = resolve_start(Some(&found()), &restoring("a", target.clone()));
        assert_eq!(refused, Err(StartRefusal::LeavesHistory { committed: CheckpointId(7) }));
        let (_, head) = claimed(Some(&found()), &accepting("a", target.clone()));
        assert_ne!(head.restore, RestorePoint::Checkpoint(CheckpointId(7)));
        // Nothing was committed since: it may be thought over.
        let (_, again) = claimed(Some(&head), &restoring("a", import(91, "third")));
        assert!(matches!(again.restore, RestorePoint::Imported { checkpoint: CheckpointId(91), .. }));
    }
}

#[test]
fn restore_from_is_consumed_once_per_owner() {
    let found = found();
    let asks = accepting("a", RestoreTarget::Empty);
    let (_, first) = claimed(Some(&found), &asks);
    assert_eq!(first.restore, RestorePoint::Empty);
    let mut later = first.clone();
    later.complete(entry(12));
    let (_, again) = claimed(Some(&later), &asks);
    assert_eq!(again.restore, RestorePoint::Checkpoint(CheckpointId(12)), "the same value is ignored");
    let (_, other) = claimed(Some(&later), &restoring("b", RestoreTarget::Empty));
    assert_eq!(other.restore, RestorePoint::Empty, "for another owner it is a new value");
}

#[test]
fn settled_jobs_wait_for_a_higher_revision() {
    for status in [JobStatus::Stopped, JobStatus::Finished, JobStatus::Failed { reason: "r".into() }] {
        let found = Head { status: status.clone(), ..found() };
        assert_eq!(resolve_start(Some(&found), &request("a")), Ok(StartDecision::Settled(status)));
        let (_, head) = claimed(Some(&found), &StartRequest { revision: RevisionRule::Numbered(2), ..request("a") });
        assert_eq!((head.status, head.revision.number), (JobStatus::Running, 2));
    }
}

#[test]
fn a_start_on_request_runs_stopped_and_failed_jobs_again_and_finished_ones_only_if_changed() {
    let start = |status: JobStatus, hash: &str| {
        let request = StartRequest { revision: RevisionRule::OnRequest, hash: hash.into(), ..request("a") };
        resolve_start(Some(&Head { status, ..found() }), &request).unwrap()
    };
    assert_eq!(start(JobStatus::Finished, "h1"), StartDecision::Settled(JobStatus::Finished));
    for (status, hash, number) in [
        (JobStatus::Running, "h1", 1),
        (JobStatus::Running, "h2", 2),
        (JobStatus::Stopped, "h1", 2),
        (JobStatus::Failed { reason: "r".into() }, "h1", 2),
        (JobStatus::Finished, "h2", 2),
    ] {
        let StartDecision::Claim { head, .. } = start(status, hash) else { panic!("{hash}") };
        assert_eq!(head.revision, JobRevision { number, hash: hash.into() });
    }
}

#[test]
fn going_back_below_committed_output_needs_allow_duplicates() {
    let found = found();
    let back = |checkpoint| restoring("a", RestoreTarget::Checkpoint(CheckpointId(checkpoint)));
    let refused = resolve_start(Some(&found), &back(6));
    let expected = StartRefusal::NeedsAllowDuplicates { chosen: CheckpointId(6), committed: CheckpointId(7) };
    assert_eq!(refused, Err(expected));
    let mut allowed = back(6);
    allowed.restore_from.as_mut().unwrap().allow_duplicates = true;
    let (_, head) = claimed(Some(&found), &allowed);
    assert_eq!(head.restore, RestorePoint::Checkpoint(CheckpointId(6)));
    assert_eq!(head.pending_commits, [], "output of the abandoned checkpoint is not committed");
    let (_, head) = claimed(Some(&found), &back(7));
    assert_eq!(head.pending_commits, [CheckpointId(7)]);
    let refused = resolve_start(Some(&found), &back(4)).unwrap_err();
    assert_eq!(refused.to_string(), "checkpoint 4 is not retained; retained are: 5, 6, 7");
}

#[test]
fn imports_raise_the_ids_and_count_as_going_back_only_within_one_job() {
    let found = found();
    let (_, head) = claimed(Some(&found), &accepting("a", import(90, "other")));
    assert_eq!(head.reserved_ids, CheckpointId(90));
    assert!(matches!(&head.restore, RestorePoint::Imported { checkpoint: CheckpointId(90), .. }));
    let (_, head) = claimed(Some(&found), &accepting("a", import(2, "other")));
    assert_eq!(head.reserved_ids, CheckpointId(11));
    let refused = resolve_start(Some(&found), &restoring("a", import(2, "job")));
    assert!(matches!(refused, Err(StartRefusal::NeedsAllowDuplicates { .. })));
    let (_, head) = claimed(None, &restoring("a", import(3, "other")));
    assert_eq!((head.generation, head.reserved_ids), (Generation(1), CheckpointId(3)));
}

#[test]
fn naming_a_journal_that_does_not_exist_is_refused() {
    let refused = resolve_start(None, &restoring("a", RestoreTarget::Journal));
    assert_eq!(refused, Err(StartRefusal::NoJournal));
}

#[test]
fn a_redeploy_is_the_next_generation_of_the_same_head() {
    let (kind, head) = resolve_redeploy(&found());
    assert_eq!(head, Head { generation: Generation(4), ..found() });
    let restored_from = RestorePoint::Checkpoint(CheckpointId(7));
    assert_eq!(kind, EntryKind::Claim { owner: Owner("a".into()), restored_from, adopted_from: None });
}

#[test]
fn retention_keeps_the_newest_and_whatever_is_pinned() {
    let mut head = found();
    head.complete(entry(8));
    head.pending_commits = vec![CheckpointId(8)];
    head.savepoints.push(crate::journal::PendingSavepoint { name: "s".into(), checkpoint: CheckpointId(5) });
    let dropped: Vec<u64> = head.retire(2).into_iter().map(|entry| entry.id.0).collect();
    assert_eq!(dropped, [6]);
    let kept: Vec<u64> = head.checkpoints.iter().map(|entry| entry.id.0).collect();
    assert_eq!(kept, [5, 7, 8], "5 is a savepoint's source");
    assert_eq!(head.check(), Ok(()));
    assert_eq!(head.retire(0).len(), 1, "the newest always stays");
}

#[test]
fn one_number_is_one_job() {
    let other = StartRequest { hash: "h2".into(), ..request("a") };
    assert_eq!(resolve_start(Some(&found()), &other), Err(StartRefusal::OtherRevision { number: 1 }));
    let settled = Head { status: JobStatus::Stopped, ..found() };
    assert_eq!(resolve_start(Some(&settled), &other), Ok(StartDecision::Settled(JobStatus::Stopped)));
    let (_, head) = claimed(Some(&found()), &StartRequest { revision: RevisionRule::Numbered(2), ..other });
    assert_eq!(head.revision, JobRevision { number: 2, hash: "h2".into() });
}
