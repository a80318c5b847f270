//! Savepoints: complete after their copy and their commits, kept alive until then.

use super::sim::*;
use crate::coordinator::*;
use crate::ids::CheckpointId;
use crate::journal::JobStatus;
use crate::manifest::ManifestKind;

fn request(sim: &mut Sim, id: u64, name: &str) {
    sim.send(Event::SavepointRequest(RequestId(id), name.into()));
}

fn answers(sim: &mut Sim) -> Vec<String> {
    names(&sim.take()).into_iter().filter(|name| name.starts_with("answer")).collect()
}

#[test]
fn a_savepoint_is_copied_once_it_is_committed_and_answered_then() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    sim.hold.commits = true;
    request(&mut sim, 1, "before");
    let actions = sim.take();
    assert_eq!(barrier(&actions).kind, ManifestKind::Savepoint);
    assert_eq!(names(&actions)[2..], ["append 1", "commit 1", "acknowledge 1"], "its commits are outstanding");
    sim.send(Event::Committed(CheckpointId(1)));
    assert_eq!(names(&sim.take()), ["copy before"]);
    sim.send(Event::SavepointCopied("before".into(), Ok(())));
    assert_eq!(answers(&mut sim), ["answer 1 true"]);
    assert_eq!(sim.head().savepoints, []);
    assert_eq!(sim.kinds(), ["claim", "checkpoint", "savepoint"]);
}

#[test]
fn a_savepoint_waits_for_the_commits_of_checkpoints_before_it_too() {
    let mut sim = Sim::running(config());
    sim.hold.commits = true;
    sim.advance(100);
    request(&mut sim, 1, "s");
    sim.send(Event::Committed(CheckpointId(2)));
    assert!(!names(&sim.take()).contains(&"copy s".to_owned()));
    sim.send(Event::Committed(CheckpointId(1)));
    assert_eq!(names(&sim.take())[0], "copy s");
}

#[test]
fn a_savepoint_whose_commit_fails_is_copied_when_the_next_deployment_has_committed() {
    let mut sim = Sim::running(config());
    sim.hold.commits = true;
    request(&mut sim, 1, "s");
    let generation = sim.generation();
    sim.send(Event::Failed { generation, reason: "cannot be committed".into(), random: 0.5 });
    sim.held.clear();
    sim.hold.deploy = true;
    sim.advance(2_000);
    let before = names(&sim.take());
    assert!(before.contains(&"deploy 2".to_owned()) && !before.contains(&"copy s".to_owned()), "{before:?}");
    sim.release();
    assert_eq!(answers(&mut sim), ["answer 1 true"]);
    assert!(sim.outside.committed.contains(&CheckpointId(1)));
}

#[test]
fn sources_of_a_savepoint_outlive_retention_until_the_copy_is_done() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    request(&mut sim, 1, "s");
    sim.advance(500);
    let ids = |sim: &Sim| sim.head().checkpoints.iter().map(|entry| entry.id.0).collect::<Vec<_>>();
    assert_eq!(ids(&sim), [1, 5, 6]);
    sim.release();
    sim.advance(100);
    assert_eq!(ids(&sim), [6, 7]);
}

#[test]
fn a_copy_that_was_under_way_is_resumed_by_the_next_process() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    request(&mut sim, 1, "s");
    sim.restart();
    assert!(names(&sim.take()).contains(&"copy s".to_owned()));
    assert_eq!(sim.head().savepoints, []);
}

#[test]
fn a_copy_that_is_impossible_is_answered_and_released() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    request(&mut sim, 1, "s");
    sim.take();
    sim.send(Event::SavepointCopied("s".into(), Err("no such bucket".into())));
    assert_eq!(answers(&mut sim), ["answer 1 false"]);
    assert_eq!(sim.head().savepoints, []);
    assert_eq!(sim.kinds().last(), Some(&"retire"));
}

#[test]
fn one_name_is_taken_once_at_a_time() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    request(&mut sim, 1, "s");
    request(&mut sim, 2, "s");
    assert_eq!(answers(&mut sim), ["answer 2 false"], "under way");
    sim.hold.copies = true;
    sim.hold.acks = false;
    let trigger = sim.held.remove(0);
    for event in sim.answer(trigger) {
        sim.send(event);
    }
    request(&mut sim, 3, "s");
    assert_eq!(answers(&mut sim), ["answer 3 false"], "being copied");
    sim.release();
    assert_eq!(answers(&mut sim), ["answer 1 true"]);
}

#[test]
fn a_name_asked_for_before_the_journal_says_that_it_is_being_copied_is_refused_later() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    request(&mut sim, 1, "s");
    sim.now += 100;
    sim.restart_holding(Hold { copies: true, lists: true, ..Hold::default() });
    request(&mut sim, 2, "s");
    let list = sim.held.remove(0);
    sim.hold.lists = false;
    for event in sim.answer(list) {
        sim.send(event);
    }
    assert_eq!(answers(&mut sim), ["answer 2 false"]);
    sim.release();
    assert_eq!(sim.head().savepoints, []);
}

#[test]
fn an_aborted_savepoint_is_answered() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    request(&mut sim, 1, "s");
    sim.advance(1_000);
    assert_eq!(answers(&mut sim), ["answer 1 false"]);
}

#[test]
fn a_stop_with_a_savepoint_waits_for_its_copy() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    let savepoint = Some("last".to_owned());
    sim.send(Event::StopRequest { request: RequestId(1), final_checkpoint_timeout_ms: 5_000, savepoint });
    assert_eq!(settled(&sim), None);
    sim.release();
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
    assert_eq!(sim.kinds(), ["claim", "checkpoint", "savepoint", "stopped"]);
}

fn stop(id: u64, timeout: u64, savepoint: &str) -> Event {
    let savepoint = Some(savepoint.to_owned());
    Event::StopRequest { request: RequestId(id), final_checkpoint_timeout_ms: timeout, savepoint }
}

#[test]
fn a_stop_whose_savepoint_is_late_says_that_there_is_none() {
    for (copies, acks) in [(true, false), (false, true)] {
        let mut sim = Sim::running(config());
        (sim.hold.copies, sim.hold.acks) = (copies, acks);
        sim.send(stop(1, 500, "last"));
        sim.advance(1_000);
        assert_eq!(settled(&sim), Some(JobStatus::Stopped));
        assert_eq!(answers(&mut sim), ["answer 1 false"], "copies held: {copies}");
    }
}

#[test]
fn a_stop_whose_savepoint_cannot_be_copied_says_so() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    sim.send(stop(1, 5_000, "last"));
    sim.send(Event::SavepointCopied("last".into(), Err("no such bucket".into())));
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
    assert_eq!(answers(&mut sim), ["answer 1 false"]);
}

#[test]
fn of_two_stops_with_savepoints_none_is_forgotten() {
    let mut sim = Sim::running(config());
    sim.hold.copies = true;
    sim.send(stop(1, 5_000, "one"));
    sim.send(stop(2, 5_000, "two"));
    assert_eq!(answers(&mut sim), ["answer 2 false"], "there is one final checkpoint only");
    sim.send(stop(3, 5_000, "one"));
    sim.release();
    sim.send(stop(4, 5_000, "one"));
    sim.send(stop(5, 5_000, "three"));
    assert_eq!(answers(&mut sim), ["answer 1 true", "answer 3 true", "answer 4 true", "answer 5 false"]);
}
