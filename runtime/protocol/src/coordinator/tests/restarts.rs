//! Failures, back-off, replay of commits.

use super::sim::*;
use crate::coordinator::*;
use crate::defects::Defects;
use crate::ids::{CheckpointId, Generation};
use crate::journal::machine::CreateOutcome;
use crate::journal::{JournalAction, RestorePoint};
use crate::manifest::Manifest;

fn fail(sim: &mut Sim) {
    let generation = sim.generation();
    sim.send(Event::Failed { generation, reason: "boom".into(), random: 0.5 });
}

#[test]
fn a_failure_is_a_new_generation_after_the_back_off() {
    let mut sim = Sim::running(config());
    sim.advance(100);
    sim.take();
    fail(&mut sim);
    sim.advance(999);
    assert_eq!(names(&sim.take()), ["cancel"]);
    assert!(matches!(sim.coordinator.status(), Status::Restarting { .. }));
    sim.advance(1);
    assert_eq!(names(&sim.take()), ["append claim", "deploy 2"]);
    assert_eq!(sim.head().generation, Generation(2));
    assert_eq!(sim.head().restore, RestorePoint::Checkpoint(CheckpointId(1)));
    assert_eq!(sim.coordinator.stats().restarts, 1);
    sim.advance(100);
    assert_eq!(names(&sim.take())[0], "trigger 2", "a living process knows which ids it used");
}

#[test]
fn failures_of_an_older_generation_are_ignored() {
    let mut sim = Sim::running(config());
    let old = sim.generation();
    fail(&mut sim);
    sim.advance(1_000);
    sim.take();
    sim.send(Event::Failed { generation: old, reason: "late".into(), random: 0.5 });
    assert_eq!(sim.coordinator.status(), Status::Running);
}

#[test]
fn a_failed_deployment_backs_off_longer_each_time() {
    let mut sim = Sim::new(config());
    sim.hold.deploy = true;
    sim.send(Event::Start);
    let mut delays = Vec::new();
    for _ in 0..4 {
        fail(&mut sim);
        let Status::Restarting { at, .. } = sim.coordinator.status() else { panic!() };
        delays.push(at.0 - sim.now);
        sim.advance(at.0 - sim.now);
    }
    assert_eq!(delays, [1_000, 2_000, 4_000, 8_000]);
}

#[test]
fn an_append_that_a_failure_overtakes_is_resolved_before_the_next_claim_and_its_commits_are_replayed() {
    let mut sim = Sim::running(config());
    sim.hold.creates = true;
    sim.advance(100);
    let Some(Action::Journal(JournalAction::Create { sequence, bytes })) = sim.held.pop() else { panic!() };
    fail(&mut sim);
    sim.advance(3_000);
    assert_eq!(sim.kinds(), ["claim"], "no claim while the append is unresolved");
    assert!(sim.land(sequence, &bytes));
    sim.hold.creates = false;
    sim.take();
    sim.send(Event::JournalCreated(sequence, CreateOutcome::Done));
    let actions = sim.take();
    assert_eq!(names(&actions), ["append claim", "deploy 2"], "no commit by the failed deployment");
    let deployment = actions.iter().find_map(|action| match action {
        Action::Deploy(deployment) => Some(deployment),
        _ => None,
    });
    let replayed: Vec<u64> = deployment.unwrap().replay.iter().map(|entry| entry.id.0).collect();
    assert_eq!(replayed, [1]);
    assert!(sim.outside.committed.contains(&CheckpointId(1)));
    assert_eq!(sim.coordinator.stats().completed, 1);
    assert!(actions.iter().any(|action| matches!(action, Action::Completed(_))));
}

#[test]
fn an_append_that_certainly_failed_is_dropped_with_its_deployment() {
    let mut sim = Sim::running(config());
    sim.hold.creates = true;
    sim.advance(100);
    fail(&mut sim);
    sim.held.clear();
    sim.hold.creates = false;
    sim.send(Event::JournalCreated(crate::Sequence(2), CreateOutcome::NotDone));
    assert_eq!(sim.coordinator.in_flight(), None);
    sim.advance(1_000);
    assert_eq!(sim.kinds(), ["claim", "claim"]);
}

#[test]
fn commits_not_known_to_be_done_are_replayed_by_the_next_process() {
    let mut sim = Sim::running(config());
    sim.hold.commits = true;
    sim.advance(250);
    assert_eq!(sim.head().pending_commits, [CheckpointId(1), CheckpointId(2)]);
    assert_eq!(sim.outside.committed.len(), 0);
    sim.restart();
    assert_eq!(sim.outside.committed.len(), 2);
    sim.advance(100);
    assert_eq!(sim.head().pending_commits.len(), 1, "the next entry says that the replayed ones are done");
}

#[test]
fn the_defect_of_skipping_the_replay_loses_output() {
    let mut sim = Sim::running(config());
    sim.plant(Defects { skip_commit_replay: true, ..Defects::default() });
    sim.hold.commits = true;
    sim.advance(100);
    sim.restart();
    sim.advance(100);
    assert!(!sim.outside.committed.contains(&CheckpointId(1)));
}

#[test]
fn output_of_an_aborted_checkpoint_is_not_carried_over_a_restart() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    sim.advance(100);
    let first = barrier(&sim.take());
    let ack = sim.task_ack(first, 0);
    sim.send(Event::TaskAck(ack));
    sim.advance(1_000);
    sim.held.clear();
    sim.hold.acks = false;
    fail(&mut sim);
    sim.advance(2_000);
    let output: Vec<u64> = sim.outside.output.iter().map(|(epoch, _)| epoch.0).collect();
    assert!(!output.is_empty() && !output.contains(&1), "sources rewound: {output:?}");
}

#[test]
fn record_counts_go_on_from_the_restored_manifest() {
    let mut sim = Sim::running(config());
    sim.advance(100);
    sim.restart();
    sim.advance(100);
    let head = sim.head();
    let key = &head.newest().unwrap().manifest.key;
    let manifest = Manifest::decode(key, &sim.outside.objects[key]).unwrap();
    assert_eq!((manifest.operators[0].records_in, manifest.operators[0].records_out), (40, 36));
}
