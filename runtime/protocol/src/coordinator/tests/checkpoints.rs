//! Triggers, acknowledgements, publication, aborts.

use super::sim::*;
use crate::coordinator::*;
use crate::defects::Defects;
use crate::ids::{CheckpointId, Generation, Sequence};
use crate::journal::JournalAction;
use crate::journal::machine::CreateOutcome;
use crate::manifest::Manifest;

fn held(acks: bool) -> Sim {
    let mut sim = Sim::running(config());
    sim.hold.acks = acks;
    sim
}

fn manifest(sim: &Sim, checkpoint: u64) -> Manifest {
    let head = sim.head();
    let key = &head.checkpoint(CheckpointId(checkpoint)).unwrap().manifest.key;
    Manifest::decode(key, &sim.outside.objects[key]).unwrap()
}

#[test]
fn a_start_claims_deploys_and_then_takes_checkpoints_in_order() {
    let mut sim = Sim::new(config());
    sim.send(Event::Start);
    sim.advance(250);
    assert_eq!(
        names(&sim.take()),
        [
            "append claim",
            "deploy 1", //
            "trigger 1",
            "manifest 1",
            "append 1",
            "commit 1",
            "acknowledge 1", //
            "trigger 2",
            "manifest 2",
            "append 2",
            "commit 2",
            "acknowledge 2",
        ]
    );
    let manifest = manifest(&sim, 2);
    assert_eq!((manifest.chain.len(), manifest.splits.len(), manifest.sinks.len()), (2, 2, 2));
    assert_eq!((manifest.bytes_full, manifest.bytes_incremental), (6, 3));
    assert_eq!(manifest.operators[0].watermarks, [Some(5), Some(5)]);
}

#[test]
fn a_tick_that_finds_a_checkpoint_under_way_is_skipped() {
    let mut sim = held(true);
    sim.advance(350);
    assert_eq!(names(&sim.take()), ["trigger 1"]);
    assert_eq!(sim.coordinator.stats().skipped_ticks, 2);
    sim.release();
    sim.take();
    sim.advance(49);
    assert_eq!(names(&sim.take()), [""; 0]);
    sim.advance(1);
    assert_eq!(names(&sim.take())[0], "trigger 2");
}

#[test]
fn records_and_requests_trigger_without_a_tick() {
    let mut sim = Sim::running(CoordinatorConfig { interval_ms: None, every_records: Some(100), ..config() });
    let generation = sim.generation();
    sim.send(Event::Progress { generation, records: 99, bytes: 0 });
    assert_eq!(names(&sim.take()), [""; 0]);
    sim.send(Event::Progress { generation, records: 100, bytes: 0 });
    assert_eq!(names(&sim.take())[0], "trigger 1");
    sim.send(Event::CheckpointRequest(RequestId(7)));
    let names = names(&sim.take());
    assert_eq!((&names[0][..], &names[names.len() - 1][..]), ("trigger 2", "answer 7 true"));
}

#[test]
fn requests_during_a_checkpoint_share_the_next_one() {
    let mut sim = held(true);
    sim.advance(100);
    sim.send(Event::CheckpointRequest(RequestId(1)));
    sim.send(Event::CheckpointRequest(RequestId(2)));
    sim.take();
    sim.release();
    let names = names(&sim.take());
    let answers: Vec<_> = names.iter().filter(|name| name.starts_with("answer")).collect();
    assert_eq!(answers, ["answer 1 true", "answer 2 true"]);
    assert_eq!(sim.coordinator.stats().completed, 2);
}

#[test]
fn a_timeout_aborts_and_output_prepared_by_then_or_later_belongs_to_the_next() {
    let mut sim = held(true);
    sim.advance(100);
    let first = barrier(&sim.take());
    sim.held.clear();
    let early = sim.task_ack(first, 0);
    sim.send(Event::TaskAck(early));
    sim.advance(1_000);
    let actions = sim.take();
    let abort = actions.iter().find(|action| matches!(action, Action::Abort { .. })).unwrap();
    let Action::Abort { cause: AbortCause::Timeout { awaited }, .. } = abort else { panic!("{abort:?}") };
    assert_eq!(awaited, "source[1], store of worker 0");
    let late = sim.task_ack(first, 1);
    sim.send(Event::TaskAck(late.clone()));
    sim.send(Event::TaskAck(late));
    sim.release();
    let epochs: Vec<u64> = manifest(&sim, 2).sinks.iter().map(|handle| handle.epoch.0).collect();
    assert_eq!(epochs, [1, 1, 2, 2]);
    let expected = [(1, 0), (1, 1), (2, 0), (2, 1)].map(|(epoch, subtask)| (CheckpointId(epoch), subtask));
    assert_eq!(sim.outside.output.iter().copied().collect::<Vec<_>>(), expected, "committed once each");
}

#[test]
fn the_defect_of_dropping_output_on_abort_loses_an_epoch() {
    let mut sim = held(true);
    sim.plant(Defects { drop_output_on_abort: true, ..Defects::default() });
    sim.advance(100);
    let first = barrier(&sim.take());
    sim.held.clear();
    for subtask in 0..TASKS {
        let ack = sim.task_ack(first, subtask);
        sim.send(Event::TaskAck(ack));
    }
    sim.advance(1_000);
    sim.release();
    sim.advance(100);
    assert!(!sim.outside.output.contains(&(CheckpointId(1), 0)));
}

#[test]
#[should_panic(expected = "commit of 1 before its entry")]
fn the_defect_of_committing_before_publishing_is_noticed() {
    let mut sim = Sim::running(config());
    sim.plant(Defects { commit_before_publish: true, ..Defects::default() });
    sim.advance(100);
}

#[test]
fn declines_count_and_storage_trouble_does_not() {
    let mut sim = Sim::running(CoordinatorConfig { tolerable_failures: 1, ..config() });
    sim.hold.acks = true;
    let decline = |sim: &mut Sim, cause: DeclineCause| {
        sim.advance(100);
        let (generation, checkpoint) = (sim.generation(), sim.coordinator.in_flight().unwrap());
        sim.send(Event::Declined { generation, checkpoint, cause });
        (sim.coordinator.stats().failures_in_a_row, sim.coordinator.status() == Status::Running)
    };
    for _ in 0..3 {
        assert_eq!(decline(&mut sim, DeclineCause::Storage("down".into())), (0, true));
    }
    assert_eq!(decline(&mut sim, DeclineCause::Other("no".into())), (1, true), "one is tolerable");
    sim.advance(100);
    sim.send(Event::StorageTrouble);
    sim.advance(1_000);
    assert_eq!(sim.coordinator.stats().failures_in_a_row, 1, "a timeout with the storage in trouble does not count");
    assert_eq!(decline(&mut sim, DeclineCause::Other("no".into())), (0, false));
    let Status::Restarting { reason, .. } = sim.coordinator.status() else { panic!() };
    assert!(reason.contains("2 checkpoints in a row failed") && reason.contains("declined: no"), "{reason}");
}

#[test]
fn while_uploads_wait_after_a_failure_no_timeout_counts_though_no_call_fails_meanwhile() {
    let mut sim = Sim::running(CoordinatorConfig { tolerable_failures: 0, ..config() });
    sim.hold.acks = true;
    let generation = sim.generation();
    sim.advance(100);
    sim.send(Event::UploadsWaiting { generation, waiting: true });
    sim.advance(5_000);
    assert_eq!(sim.coordinator.stats().aborted, 0);
    assert!(sim.coordinator.stats().aborted_by_storage >= 4, "{:?}", sim.coordinator.stats());
    sim.send(Event::UploadsWaiting { generation, waiting: false });
    let marked = sim.coordinator.in_flight();
    sim.advance(1_100);
    assert!(sim.coordinator.in_flight() > marked, "the one under way waited for them");
    sim.advance(1_000);
    assert!(matches!(sim.coordinator.status(), Status::Restarting { .. }), "a later one did not");
}

#[test]
fn a_checkpoint_that_everybody_acknowledged_waits_for_nothing_but_the_storage() {
    let mut sim = Sim::running(CoordinatorConfig { tolerable_failures: 0, ..config() });
    sim.hold.acks = true;
    sim.advance(100);
    let barrier = barrier(&sim.take());
    sim.hold.lists = true;
    sim.send(Event::PauseSuspected);
    for event in sim.acks(barrier) {
        sim.send(event);
    }
    sim.advance(1_000);
    let actions = sim.take();
    let abort = actions.iter().find(|action| matches!(action, Action::Abort { .. })).unwrap();
    assert!(matches!(abort, Action::Abort { cause: AbortCause::Storage(_), .. }), "{abort:?}");
    assert_eq!((sim.coordinator.stats().aborted, sim.coordinator.status()), (0, Status::Running));
}

#[test]
fn a_timeout_names_the_upload_when_nothing_else_is_awaited() {
    let mut sim = held(true);
    sim.advance(100);
    let first = barrier(&sim.take());
    let (generation, checkpoint) = (first.generation, first.checkpoint);
    for subtask in 0..TASKS {
        sim.send(Event::Sealed { generation, checkpoint, task: task(subtask) });
    }
    sim.advance(1_000);
    let actions = sim.take();
    let abort = actions.iter().find(|action| matches!(action, Action::Abort { .. })).unwrap();
    let Action::Abort { cause, .. } = abort else { panic!("{abort:?}") };
    assert_eq!(cause.to_string(), "timed out waiting for worker 0 to write and upload its state");
}

#[test]
fn a_manifest_that_cannot_be_stored_is_tried_again_with_the_same_bytes_until_the_timeout() {
    let mut sim = held(false);
    sim.hold.manifest = true;
    sim.advance(100);
    sim.advance(20);
    let puts = |actions: Vec<Action>| -> Vec<Vec<u8>> {
        let bytes = |action| if let Action::PutManifest { bytes, .. } = action { Some(bytes) } else { None };
        actions.into_iter().filter_map(bytes).collect()
    };
    sim.send(Event::ManifestStored(CheckpointId(1), false));
    let bytes = puts(sim.take());
    assert_eq!(bytes.len(), 2);
    assert_eq!(bytes[0], bytes[1]);
    sim.advance(1_000);
    assert_eq!(names(&sim.take())[0], "abort 1");
    assert_eq!(sim.coordinator.stats().aborted_by_storage, 1);
}

#[test]
fn an_unresolved_append_blocks_its_abort_and_whatever_follows() {
    let mut sim = held(false);
    sim.hold.creates = true;
    sim.advance(100);
    let Some(Action::Journal(JournalAction::Create { sequence, bytes })) = sim.held.pop() else { panic!() };
    sim.send(Event::JournalCreated(sequence, CreateOutcome::Unknown));
    sim.send(Event::CheckpointRequest(RequestId(1)));
    sim.take();
    sim.advance(5_000);
    assert_eq!(names(&sim.take()), [""; 0], "neither abort nor trigger");
    assert_eq!(sim.coordinator.in_flight(), Some(CheckpointId(1)));
    assert!(sim.land(sequence, &bytes), "the first attempt arrives late");
    sim.held.clear();
    sim.hold.creates = false;
    sim.send(Event::JournalCreated(sequence, CreateOutcome::Exists));
    let names = names(&sim.take());
    assert_eq!(names[..3], ["commit 1", "acknowledge 1", "trigger 2"]);
    assert_eq!(sim.coordinator.stats().aborted + sim.coordinator.stats().aborted_by_storage, 0);
}

#[test]
fn an_append_known_to_have_failed_is_repeated_until_the_timeout_and_then_aborted_for_the_storage() {
    let mut sim = held(false);
    sim.hold.creates = true;
    sim.advance(100);
    for _ in 0..3 {
        sim.held.clear();
        sim.send(Event::JournalCreated(Sequence(2), CreateOutcome::NotDone));
    }
    assert_eq!(names(&sim.take())[2..], ["append 1", "append 1", "append 1", "append 1"]);
    sim.advance(1_100);
    sim.held.clear();
    sim.send(Event::JournalCreated(Sequence(2), CreateOutcome::NotDone));
    assert_eq!(names(&sim.take()), ["abort 1"]);
    assert_eq!((sim.coordinator.stats().aborted_by_storage, sim.coordinator.stats().failures_in_a_row), (1, 0));
}

#[test]
fn ids_of_aborted_checkpoints_are_not_given_out_again_even_after_a_crash() {
    let mut sim = held(true);
    sim.advance(2_000);
    assert_eq!(sim.coordinator.in_flight(), Some(CheckpointId(2)));
    sim.restart();
    sim.advance(200);
    let ids: Vec<u64> = sim.head().checkpoints.iter().map(|entry| entry.id.0).collect();
    assert_eq!(ids[0], 5, "1 to 4 were reserved by the first claim");
}

#[test]
fn when_the_reserved_ids_are_used_up_more_are_reserved_in_the_journal() {
    let mut sim = Sim::running(CoordinatorConfig { tolerable_failures: 100, ..config() });
    sim.hold.acks = true;
    sim.advance(10_000);
    assert!(sim.kinds().contains(&"reserve"));
    assert!(sim.head().reserved_ids >= sim.coordinator.in_flight().unwrap());
    assert!(sim.coordinator.stats().aborted >= 8);
}

#[test]
fn acknowledgements_that_do_not_fit_together_abort_the_checkpoint() {
    let mut sim = held(true);
    sim.advance(100);
    let barrier = barrier(&sim.take());
    let mut twice = sim.task_ack(barrier, 1);
    twice.splits[0].split = "s-0".into();
    for event in [Event::TaskAck(sim.task_ack(barrier, 0)), Event::TaskAck(twice)] {
        sim.send(event);
    }
    let store = sim.store_ack(barrier);
    sim.send(Event::StoreAck(store));
    let actions = sim.take();
    let [Action::Abort { cause, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(cause.to_string(), "inconsistent: split s-0 of source is named twice");
}

#[test]
fn acknowledgements_of_another_generation_are_ignored() {
    let mut sim = held(true);
    sim.advance(100);
    let barrier = Barrier { generation: Generation(9), ..barrier(&sim.take()) };
    for event in sim.acks(barrier) {
        sim.send(event);
    }
    assert_eq!(names(&sim.take()), [""; 0]);
}
