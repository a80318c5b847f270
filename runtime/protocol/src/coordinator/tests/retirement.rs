//! Deletions: after the entry, never of what a retained manifest names.

use super::sim::*;
use crate::coordinator::*;
use crate::ids::{CheckpointId, WorkerIndex};
use crate::journal::JournalAction;
use crate::layout;
use crate::manifest::RunKind;

fn deleted(sim: &mut Sim) -> Vec<String> {
    let keys = |action| if let Action::DeleteObjects(keys) = action { Some(keys) } else { None };
    sim.take().into_iter().filter_map(keys).flatten().collect()
}

#[test]
#[should_panic(expected = "manifests/c0000000001-g1.json is retained")]
fn the_defect_of_deleting_before_the_entry_is_noticed() {
    let mut sim = Sim::running(config());
    sim.plant(crate::defects::Defects { delete_before_entry: true, ..Default::default() });
    sim.advance(1_000);
}

/// The worker replaces its chain by a base and disowns what was in it.
fn rebase(sim: &mut Sim) -> Vec<String> {
    let last = sim.chain.last().unwrap().clone();
    let old: Vec<String> = sim.chain.iter().map(|run| run.object.key.clone()).collect();
    let mut base = last;
    base.kind = RunKind::Base;
    base.object.key = base.object.key.replace(".sst", "-base.sst");
    sim.outside.objects.insert(base.object.key.clone(), b"run".to_vec());
    sim.chain = vec![base];
    let generation = sim.generation();
    sim.send(Event::Disowned { generation, worker: WorkerIndex(0), keys: old.clone() });
    old
}

#[test]
fn dropped_manifests_go_with_the_entry_that_drops_them_and_their_runs_stay_while_named() {
    let mut sim = Sim::running(config());
    sim.advance(350);
    assert_eq!(deleted(&mut sim), ["manifests/c0000000001-g1.json"]);
    sim.advance(100);
    assert_eq!(deleted(&mut sim), ["manifests/c0000000002-g1.json"]);
}

#[test]
fn dropped_manifests_wait_for_each_other_and_go_with_a_run_at_the_latest() {
    let mut sim = Sim::running(CoordinatorConfig { manifests_together: 3, ..config() });
    sim.advance(450);
    assert_eq!(deleted(&mut sim), [""; 0], "two are no three");
    sim.advance(100);
    assert_eq!(deleted(&mut sim), [1, 2, 3].map(|id| format!("manifests/c000000000{id}-g1.json")));
    let old = rebase(&mut sim);
    sim.advance(200);
    let gone = deleted(&mut sim);
    assert!(old.iter().all(|key| gone.contains(key)), "{gone:?}");
    assert!(gone.iter().any(|key| layout::parse_manifest_key(key).is_some()), "{gone:?}");
}

#[test]
fn disowned_runs_go_once_no_retained_manifest_names_them() {
    let mut sim = Sim::running(config());
    sim.advance(200);
    let old = rebase(&mut sim);
    sim.advance(100);
    assert!(deleted(&mut sim).iter().all(|key| !old.contains(key)), "checkpoint 2 names them");
    sim.advance(100);
    let gone = deleted(&mut sim);
    assert!(old.iter().all(|key| gone.contains(key)), "{gone:?}");
}

#[test]
fn runs_disowned_while_a_checkpoint_that_names_them_is_under_way_wait_for_it() {
    let mut sim =
        Sim::running(CoordinatorConfig { retained: 1, head_poll_ms: 50, interval_ms: Some(1_000), ..config() });
    sim.hold.manifest = true;
    sim.advance(1_000);
    let old = rebase(&mut sim);
    sim.advance(500);
    let actions = sim.take();
    assert!(actions.contains(&Action::Journal(JournalAction::List)), "the reign was confirmed meanwhile");
    assert!(!actions.iter().any(|action| matches!(action, Action::DeleteObjects(_))), "checkpoint 1 names them");
    sim.release();
    assert_eq!(deleted(&mut sim), [""; 0]);
    sim.advance(1_000);
    let gone = deleted(&mut sim);
    assert!(old.iter().all(|key| gone.contains(key)), "{gone:?}");
}

#[test]
fn an_entry_in_between_does_not_release_what_a_checkpoint_under_way_names() {
    let mut sim = Sim::running(CoordinatorConfig { retained: 1, interval_ms: None, ..config() });
    sim.hold.copies = true;
    sim.send(Event::SavepointRequest(RequestId(1), "s".into()));
    sim.hold.manifest = true;
    sim.send(Event::CheckpointRequest(RequestId(2)));
    let (generation, worker) = (sim.generation(), WorkerIndex(0));
    let own_run = sim.chain.last().unwrap().object.key.clone();
    sim.send(Event::Disowned { generation, worker, keys: vec![own_run.clone()] });
    sim.send(Event::SavepointCopied("s".into(), Ok(())));
    assert_eq!(sim.kinds().last(), Some(&"savepoint"));
    assert!(sim.outside.objects.contains_key(&own_run), "checkpoint 2 is going to name it");
    sim.release();
    assert_eq!(sim.head().newest().unwrap().id, CheckpointId(2));
    assert!(sim.outside.objects.contains_key(&own_run));
}

#[test]
fn runs_of_aborted_checkpoints_that_nobody_names_are_swept_by_the_next_generation_only() {
    let mut sim = Sim::running(config());
    sim.advance(100);
    sim.outside.objects.insert("runs/g1/0/stray.sst".into(), Vec::new());
    sim.outside.objects.insert("runs/g2/0/stray.sst".into(), Vec::new());
    sim.outside.objects.insert("manifests/c0000000077-g1.json".into(), Vec::new());
    sim.outside.objects.insert("savepoints/s/runs/g1/0/r.sst".into(), Vec::new());
    sim.outside.objects.insert("notes.txt".into(), Vec::new());
    sim.advance(100);
    assert_eq!(deleted(&mut sim), [""; 0]);
    sim.restart();
    sim.advance(100);
    assert_eq!(
        deleted(&mut sim),
        ["manifests/c0000000001-g1.json", "manifests/c0000000077-g1.json", "runs/g1/0/stray.sst"]
    );
    for kept in ["runs/g2/0/stray.sst", "savepoints/s/runs/g1/0/r.sst", "notes.txt"] {
        assert!(sim.outside.objects.contains_key(kept), "{kept}");
    }
}

#[test]
fn nothing_is_deleted_while_the_objects_of_a_retained_manifest_are_unknown() {
    let mut sim = Sim::running(CoordinatorConfig { retained: 3, ..config() });
    sim.advance(300);
    sim.outside.objects.insert("runs/g1/0/stray.sst".into(), Vec::new());
    sim.restart_holding(Hold { loads: true, ..Hold::default() });
    sim.advance(100);
    assert_eq!(deleted(&mut sim), [""; 0], "2 and 3 are retained, 1 is dropped, none of them is read");
    sim.release();
    sim.advance(100);
    let gone = deleted(&mut sim);
    assert!(gone.contains(&"runs/g1/0/stray.sst".to_owned()), "{gone:?}");
    assert!(gone.contains(&layout::manifest_key(CheckpointId(1), crate::Generation(1))), "{gone:?}");
}

#[test]
fn a_damaged_retained_manifest_holds_back_deletions() {
    let mut sim = Sim::running(CoordinatorConfig { retained: 3, ..config() });
    sim.advance(300);
    let damaged = layout::manifest_key(CheckpointId(2), crate::Generation(1));
    sim.outside.objects.get_mut(&damaged).unwrap()[5] ^= 1;
    sim.outside.objects.insert("runs/g1/0/stray.sst".into(), Vec::new());
    sim.restart();
    sim.take();
    sim.advance(100);
    assert_eq!(deleted(&mut sim), [""; 0]);
    sim.advance(100);
    let gone = deleted(&mut sim);
    assert!(gone.contains(&damaged) && gone.contains(&"runs/g1/0/stray.sst".to_owned()), "{gone:?}");
}

#[test]
fn a_failed_deletion_delays_nothing_and_is_repeated_with_the_next_checkpoint() {
    let mut sim = Sim::running(config());
    sim.advance(250);
    // The third checkpoint drops the first; its deletion fails.
    sim.now = 300;
    let mut queue = std::collections::VecDeque::from(sim.coordinator.handle(Event::Tick, crate::Millis(300)));
    let mut failed = 0;
    while let Some(action) = queue.pop_front() {
        let answers = match action {
            Action::DeleteObjects(keys) => {
                failed += 1;
                vec![Event::ObjectsDeleted(keys, false)]
            }
            other => sim.answer(other),
        };
        for answer in answers {
            queue.extend(sim.coordinator.handle(answer, crate::Millis(300)));
        }
    }
    assert_eq!(failed, 1, "not repeated at once");
    assert_eq!(sim.coordinator.stats().completed, 3);
    sim.take();
    sim.advance(100);
    assert_eq!(deleted(&mut sim), ["manifests/c0000000001-g1.json", "manifests/c0000000002-g1.json"]);
}

#[test]
fn a_checkpoint_costs_few_requests() {
    let mut sim = Sim::running(config());
    sim.advance(10_000);
    sim.take();
    sim.advance(100);
    let is_request = |action: &&Action| match action {
        Action::Journal(action) => !matches!(action, JournalAction::Appended { .. }),
        Action::PutManifest { .. } | Action::DeleteObjects(_) => true,
        _ => false,
    };
    let actions = sim.take();
    let requests = actions.iter().filter(is_request).count();
    assert_eq!(requests, 5, "with one upload of a run six: {:?}", names(&actions));
    assert_eq!(sim.outside.journal.len(), sim.config.journal_keep as usize);
}
