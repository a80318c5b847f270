//! Replaced coordinators leave and write nothing.

use super::sim::*;
use crate::coordinator::*;
use crate::ids::CheckpointId;
use crate::journal::{EntryKind, JobStatus, JournalAction, Owner};

fn writes(actions: &[Action]) -> Vec<String> {
    let is_write =
        |name: &String| ["manifest", "append", "delete", "commit"].iter().any(|write| name.starts_with(write));
    names(actions).into_iter().filter(is_write).collect()
}

#[test]
fn a_fenced_append_leaves_and_nothing_follows() {
    let mut sim = Sim::running(config());
    sim.usurp();
    sim.advance(100);
    let actions = sim.take();
    assert_eq!(names(&actions), ["trigger 1", "manifest 1", "append 1", "cancel", "leave"]);
    let Some(Action::Leave(LeaveReason::Fenced(by))) = actions.last() else { panic!() };
    assert_eq!(by.to_string(), "generation 2 of owner local in journal entry 2");
    sim.advance(10_000);
    assert_eq!(sim.take(), []);
    assert_eq!(sim.coordinator.status(), Status::Left);
}

#[test]
fn an_idle_coordinator_notices_by_polling() {
    let mut sim = Sim::running(CoordinatorConfig { interval_ms: None, head_poll_ms: 3_000, ..config() });
    sim.advance(2_999);
    assert_eq!(sim.take(), []);
    sim.usurp();
    sim.advance(1);
    assert_eq!(names(&sim.take()), ["cancel", "leave"]);
}

#[test]
fn after_a_pause_nothing_is_written_before_the_reign_is_confirmed() {
    let mut sim = Sim::running(CoordinatorConfig { timeout_ms: 600_000, head_poll_ms: 600_000, ..config() });
    sim.hold.acks = true;
    sim.advance(100);
    let barrier = barrier(&sim.take());
    sim.usurp();
    sim.now += PAUSE_SUSPECTED_MS as i64 + 1;
    sim.hold.lists = true;
    let events = sim.acks(barrier);
    for event in events {
        sim.send(event);
    }
    let actions = sim.take();
    assert_eq!(writes(&actions), [""; 0]);
    assert!(actions.contains(&Action::Journal(JournalAction::List)));
    sim.release();
    assert_eq!(names(&sim.take()), ["cancel", "leave"]);
}

#[test]
fn after_a_suspected_pause_nothing_is_written_before_the_reign_is_confirmed() {
    let mut sim = Sim::running(CoordinatorConfig { timeout_ms: 600_000, head_poll_ms: 600_000, ..config() });
    sim.hold.acks = true;
    sim.advance(100);
    let barrier = barrier(&sim.take());
    sim.usurp();
    sim.hold.lists = true;
    sim.send(Event::PauseSuspected);
    for event in sim.acks(barrier) {
        sim.send(event);
    }
    let actions = sim.take();
    assert_eq!(writes(&actions), [""; 0]);
    assert!(actions.contains(&Action::Journal(JournalAction::List)));
    sim.release();
    assert_eq!(names(&sim.take()), ["cancel", "leave"]);
}

/// A start whose claim is under way, over a job that runs elsewhere.
fn claiming() -> Sim {
    let mut sim = Sim::running(config());
    sim.restart_holding(Hold { creates: true, ..Hold::default() });
    assert_eq!(names(&sim.take()), ["append claim"]);
    sim
}

#[test]
fn a_claim_that_loses_its_slot_to_the_reign_it_replaces_is_made_again_on_top() {
    let mut sim = claiming();
    let mut head = sim.head();
    head.reserved_ids = CheckpointId(77);
    sim.append_elsewhere(EntryKind::Reserve, head);
    sim.release();
    assert_eq!(names(&sim.take()), ["append claim", "deploy 2"]);
    assert_eq!(sim.kinds(), ["claim", "reserve", "claim"]);
    assert_eq!(sim.generation().0, 2);
    sim.advance(100);
    assert_eq!(sim.head().newest().unwrap().id, CheckpointId(78), "what the other one reserved is not used");
}

#[test]
fn a_claim_that_loses_its_slot_to_the_job_s_end_serves_that() {
    let mut sim = claiming();
    let mut head = sim.head();
    head.status = JobStatus::Stopped;
    sim.append_elsewhere(EntryKind::Stopped, head);
    sim.release();
    assert_eq!(names(&sim.take()), ["settled stopped"]);
}

#[test]
fn a_claim_that_loses_its_slot_to_another_claim_leaves() {
    let mut sim = claiming();
    sim.usurp();
    sim.release();
    assert_eq!(names(&sim.take()), ["cancel", "leave"]);
}

#[test]
fn a_claim_that_always_comes_too_late_gives_up() {
    let mut sim = claiming();
    for round in 0..=MAX_REOPENED {
        assert_eq!(sim.coordinator.status(), Status::Starting, "round {round}");
        let head = sim.head();
        sim.append_elsewhere(EntryKind::Reserve, head);
        let create = sim.held.pop().expect("a claim is under way");
        for answer in sim.answer(create) {
            sim.send(answer);
        }
    }
    assert_eq!(sim.coordinator.status(), Status::Left);
}

fn puts(sim: &mut Sim) -> Vec<(Vec<u8>, bool)> {
    let put =
        |action| if let Action::PutManifest { bytes, guarded, .. } = action { Some((bytes, guarded)) } else { None };
    sim.take().into_iter().filter_map(put).collect()
}

#[test]
fn a_manifest_that_is_withdrawn_again_and_again_goes_without_a_guard_once_the_reign_is_confirmed() {
    let mut sim = Sim::running(CoordinatorConfig { timeout_ms: 600_000, head_poll_ms: 600_000, ..config() });
    sim.hold.manifest = true;
    sim.advance(100);
    let checkpoint = sim.coordinator.in_flight().unwrap();
    for _ in 1..MAX_WITHDRAWN {
        sim.send(Event::ManifestWithdrawn(checkpoint));
    }
    let guarded = puts(&mut sim);
    assert!(guarded.len() == MAX_WITHDRAWN as usize && guarded.iter().all(|put| *put == (guarded[0].0.clone(), true)));
    sim.held.clear();
    sim.hold.lists = true;
    sim.send(Event::ManifestWithdrawn(checkpoint));
    assert_eq!(sim.take(), [Action::Journal(JournalAction::List)], "the store is asked first");
    sim.release();
    assert_eq!(sim.head().newest().unwrap().id, checkpoint);
    assert_eq!(puts(&mut sim), [(guarded[0].0.clone(), false)]);
    sim.advance(100);
    assert!(puts(&mut sim)[0].1, "the next one is guarded again");
}

#[test]
fn a_replaced_coordinator_whose_manifest_is_withdrawn_again_and_again_writes_none() {
    let mut sim = Sim::running(CoordinatorConfig { timeout_ms: 600_000, head_poll_ms: 600_000, ..config() });
    sim.hold.manifest = true;
    sim.advance(100);
    let checkpoint = sim.coordinator.in_flight().unwrap();
    sim.usurp();
    for _ in 0..MAX_WITHDRAWN {
        sim.send(Event::ManifestWithdrawn(checkpoint));
    }
    assert!(puts(&mut sim).iter().all(|(_, guarded)| *guarded));
    assert_eq!(sim.coordinator.status(), Status::Left);
}

#[test]
fn after_a_pause_without_a_successor_everything_goes_on() {
    let mut sim = Sim::running(CoordinatorConfig { timeout_ms: 600_000, head_poll_ms: 600_000, ..config() });
    sim.hold.acks = true;
    sim.advance(100);
    let barrier = barrier(&sim.take());
    sim.now += 60_000;
    sim.held.clear();
    sim.hold = Hold::default();
    for event in sim.acks(barrier) {
        sim.send(event);
    }
    assert_eq!(names(&sim.take())[..2], ["manifest 1", "append 1"]);
    assert_eq!(sim.coordinator.status(), Status::Running);
}

#[test]
fn a_start_on_a_foreign_journal_is_refused_and_writes_nothing() {
    let mut sim = Sim::running(config());
    sim.request.owner = Owner("uid-1".into());
    sim.restart();
    let actions = sim.take();
    assert_eq!(names(&actions), ["refused"]);
    assert_eq!(sim.kinds(), ["claim"]);
    sim.advance(1_000);
    assert_eq!(sim.take(), []);
}

#[test]
fn an_unreadable_newest_entry_stops_everything_and_is_named() {
    let mut sim = Sim::running(config());
    let newest = sim.outside.journal.values_mut().next_back().unwrap();
    newest[3] ^= 0x10;
    sim.restart();
    let actions = sim.take();
    let Some(Action::Leave(LeaveReason::Unreadable { key, .. })) = actions.last() else { panic!("{actions:?}") };
    assert_eq!(key, "journal/18446744073709551614.json");
}
