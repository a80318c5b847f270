//! What a deletion leaves in the journal: a last entry that names nothing.
//!
//! It is appended before anything is removed and stays when all else is gone. Like a claim it begins a generation, so it
//! fences whoever still runs the job; and it tells the job's owner, who may come back on a node that was lost, that there
//! is nothing to begin anew. Another owner begins a new job behind it.

use super::entry::EntryKind;
use super::head::{Head, JobRevision, JobStatus, Owner, RestorePoint};
use crate::ids::JobId;

/// What a deletion may do with the journal it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteDecision {
    /// Append this entry, then remove everything else.
    Bury {
        /// The entry's kind.
        kind: EntryKind,
        /// The head after it.
        head: Box<Head>,
    },
    /// The entry is there: remove everything else.
    Buried,
    /// The job is somebody else's.
    Foreign(Owner),
}

/// Decides what `owner`'s deletion may do with a journal whose newest entry carries `found`.
pub fn resolve_delete(found: Option<&Head>, owner: &Owner, fresh_job_id: JobId) -> DeleteDecision {
    let head = match found {
        None => Head::new(fresh_job_id, owner.clone(), JobRevision::default()),
        Some(found) if found.owner == *owner && found.status == JobStatus::Deleted => return DeleteDecision::Buried,
        Some(found) if found.owner == *owner => found.clone(),
        // Whoever was here is gone, and this owner never began.
        Some(found) if found.status == JobStatus::Deleted && !found.displaced.contains(owner) => {
            let mut head = found.clone();
            head.displace(owner);
            head
        }
        Some(found) => return DeleteDecision::Foreign(found.owner.clone()),
    };
    let head = Head {
        generation: head.generation.next(),
        status: JobStatus::Deleted,
        restore: RestorePoint::Empty,
        consumed_restore: None,
        consumed_before: Vec::new(),
        checkpoints: Vec::new(),
        pending_commits: Vec::new(),
        savepoints: Vec::new(),
        ..head
    };
    DeleteDecision::Bury { kind: EntryKind::Deleted, head: Box::new(head) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{CheckpointId, Generation};
    use crate::journal::{RevisionRule, StartDecision, StartRefusal, StartRequest, resolve_start};

    fn owner(name: &str) -> Owner {
        Owner(name.to_owned())
    }

    fn found(name: &str) -> Head {
        let mut head = Head::new(JobId::from("job"), owner(name), JobRevision { number: 4, hash: "h".into() });
        head.generation = Generation(3);
        head.reserved_ids = CheckpointId(11);
        head
    }

    fn buried(found: Option<&Head>, name: &str) -> Head {
        match resolve_delete(found, &owner(name), JobId::from("fresh")) {
            DeleteDecision::Bury { kind: EntryKind::Deleted, head } => {
                assert_eq!(head.check(), Ok(()));
                *head
            }
            other => panic!("{other:?}"),
        }
    }

    fn start(found: &Head, name: &str) -> Result<StartDecision, StartRefusal> {
        let request = StartRequest {
            owner: owner(name),
            fresh_job_id: JobId::from("new"),
            revision: RevisionRule::Numbered(2),
            hash: "h".into(),
            restore_from: None,
        };
        resolve_start(Some(found), &request)
    }

    #[test]
    fn a_deleted_job_s_owner_never_begins_again_and_another_one_does_without_a_word() {
        for head in [buried(Some(&found("a")), "a"), buried(None, "a")] {
            assert_eq!(start(&head, "a"), Err(StartRefusal::Deleted { owner: owner("a") }));
            let Ok(StartDecision::Claim { kind, head: next }) = start(&head, "b") else { panic!("b may begin") };
            assert_eq!(next.check(), Ok(()));
            assert_eq!((next.job_id.as_str(), next.generation), ("new", head.generation.next()), "a job of its own");
            assert_eq!((next.status, next.revision.number), (JobStatus::Running, 2), "numbers are the owner's");
            assert!(matches!(kind, EntryKind::Claim { adopted_from: None, .. }), "nothing is adopted");
            assert_eq!(next.reserved_ids, head.reserved_ids, "no object is named twice");
            assert!(matches!(start(&next_of(&head, "b"), "a"), Err(StartRefusal::Displaced { .. })));
        }
    }

    fn next_of(head: &Head, name: &str) -> Head {
        match start(head, name) {
            Ok(StartDecision::Claim { head, .. }) => *head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_has_no_uid_of_his_own_begins_again() {
        let head = buried(Some(&found("local")), "local");
        let next = next_of(&head, "local");
        assert_eq!((next.check(), next.job_id.as_str()), (Ok(()), "new"));
    }

    #[test]
    fn a_deletion_is_done_once_and_touches_nobody_else_s_job() {
        let head = buried(Some(&found("a")), "a");
        assert_eq!(resolve_delete(Some(&head), &owner("a"), JobId::from("x")), DeleteDecision::Buried);
        let foreign = resolve_delete(Some(&found("a")), &owner("b"), JobId::from("x"));
        assert_eq!(foreign, DeleteDecision::Foreign(owner("a")));
        // b was created where a's job was deleted, never began, and is deleted in turn.
        let head = buried(Some(&head), "b");
        assert!(matches!(start(&head, "a"), Err(StartRefusal::Displaced { .. })));
        assert_eq!(start(&head, "b"), Err(StartRefusal::Deleted { owner: owner("b") }));
    }
}
