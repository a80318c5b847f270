//! Whole stories, from wish to quiet: each says what was done, in order.

use serde_json::json;
use weir_api::status::JobState;

use super::sim::{Sim, quiet};
use crate::lifecycle::*;

/// A job that runs and has proven itself.
fn running() -> Sim {
    let mut sim = Sim::new(json!({}));
    sim.settle();
    sim.take();
    sim
}

#[test]
fn a_job_is_created_runs_and_then_nothing_is_sent() {
    let mut sim = Sim::new(json!({}));
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x1", "Created", "deploy 2 x1"], "the second notes that it is stable");
    assert_eq!(sim.state(), JobState::Running);
    assert_eq!(sim.condition("Ready"), ("True".into(), "Running".into()));
    assert_eq!(sim.condition("CheckpointHealthy"), ("True".into(), "InTime".into()));
    let before = sim.world.status.clone();
    let plan = sim.look();
    assert!(quiet(&plan), "{plan:?}");
    let mut after = plan.status;
    after.observed_at = before.observed_at.clone();
    after.checkpoints.clone_from(&before.checkpoints);
    after.last_checkpoint.clone_from(&before.last_checkpoint);
    assert_eq!(after, before, "an unchanged job has an unchanged status");
}

#[test]
fn a_suspended_job_is_created_without_pods() {
    let mut sim = Sim::new(json!({ "desiredState": "Suspended" }));
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x0"]);
    assert_eq!(sim.state(), JobState::Suspended);
}

#[test]
fn suspending_takes_a_final_checkpoint_and_resuming_raises_the_number() {
    let mut sim = running();
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    assert_eq!(sim.take(), ["call Stop 2", "deploy 2 x0", "Stopped"]);
    assert_eq!(sim.state(), JobState::Suspended);
    sim.edit(json!({ "desiredState": "Running" }));
    sim.settle();
    assert_eq!(sim.take(), ["deploy 6 x1", "Resumed", "deploy 6 x1", "delete config"]);
    assert_eq!(sim.state(), JobState::Running);
}

#[test]
fn without_an_answer_the_latest_checkpoint_is_used_after_the_timeout_and_that_is_said() {
    let mut sim = running();
    sim.answers = false;
    sim.edit(json!({ "desiredState": "Suspended", "upgrade": { "finalCheckpointTimeout": "20s" } }));
    sim.look();
    sim.pass(20);
    sim.look();
    assert_eq!(sim.take(), ["call Stop 2"], "a little longer than the coordinator itself takes");
    sim.pass(6);
    sim.look();
    assert_eq!(sim.take(), ["deploy 2 x0", "!NoFinalCheckpoint"]);
}

#[test]
fn an_upgrade_checks_first_stops_and_replaces_the_pod() {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    sim.look();
    assert_eq!(sim.state(), JobState::Running, "it runs while the preflight does");
    sim.settle();
    let expected = [
        "create check-4",
        "Preflight",
        "call Stop 2",
        "deploy 4 x1",
        "delete check-4",
        "Stopped",
        "Upgrading",
        "delete q5-0",
        "deploy 4 x1",
        "Stable",
        "delete config",
    ];
    assert_eq!(sim.take(), expected);
    assert_eq!(sim.world.status.restarts, Some(0), "an upgrade is no restart");
}

#[test]
fn a_refused_preflight_leaves_the_job_running_and_names_the_field() {
    let mut sim = running();
    sim.preflight = (2, r#"{"ok":false,"errors":[{"field":"spec.args.events","message":"found -1"}]}"#.into());
    sim.edit(json!({ "args": { "events": -1 } }));
    sim.settle();
    assert_eq!(sim.take(), ["create check-4", "Preflight"]);
    assert_eq!(sim.state(), JobState::Running);
    assert_eq!(sim.condition("Ready"), ("False".into(), "PreflightRefused".into()));
    let said = &sim.world.status.conditions.iter().find(|c| c.type_ == "Ready").unwrap().message;
    assert_eq!(said, "spec.args.events: found -1");
    sim.preflight = (0, String::new());
    sim.edit(json!({ "args": null }));
    sim.settle();
    assert_eq!(sim.condition("Ready").0, "True");
}

#[test]
fn an_upgrade_without_a_checkpoint_goes_back_once_and_is_not_tried_again() {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    for _ in 0..6 {
        sim.checkpoints = sim.world.deployed.as_ref().unwrap().number < 4;
        sim.look();
        sim.settle_pods();
    }
    sim.checkpoints = false;
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 4);
    sim.take();
    sim.pass(301);
    sim.look();
    assert_eq!(sim.take(), ["call Discard 4"], "a pod that is asked to go would take a checkpoint");
    sim.look();
    assert_eq!(sim.take(), ["deploy 5 x1", "!RolledBack"]);
    let deployed = sim.world.deployed.clone().unwrap();
    assert_eq!(deployed.resolved.as_ref().unwrap().args.len(), 0, "the stable revision");
    sim.checkpoints = true;
    sim.settle();
    assert_eq!(sim.state(), JobState::Running);
    assert_eq!(sim.condition("Degraded"), ("True".into(), "UpgradeRolledBack".into()));
    sim.take();
    sim.edit(json!({ "checkpointNonce": 1 }));
    sim.settle();
    assert_eq!(sim.take(), ["call Checkpoint 1", "deploy 5 x1", "Checkpoint"], "a wish does not try it again");
    sim.edit(json!({ "args": { "events": 6 } }));
    sim.settle();
    assert_eq!(sim.condition("Degraded").0, "False");
    assert!(sim.world.deployed.as_ref().unwrap().number > 5);
}

#[test]
fn slots_are_changed_in_the_same_pod() {
    let mut sim = running();
    sim.pass(60);
    sim.edit(json!({ "worker": { "slots": 4 } }));
    sim.settle();
    let expected = ["deploy 4 x1", "Rescaling", "call Redeploy 4", "deploy 4 x1", "Stable"];
    assert_eq!(sim.take(), expected);
    assert_eq!(sim.world.pods[0].uid, "pod-1");
    assert_eq!(sim.world.deployed.as_ref().unwrap().resolved.as_ref().unwrap().parallelism, 4);
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    sim.edit(json!({ "desiredState": null }));
    sim.settle();
    assert_eq!(sim.world.status.restarts, Some(0), "a pod that is made to resume is no restart");
}

#[test]
fn a_job_is_rescaled_at_most_once_in_a_while_and_runs_meanwhile() {
    let mut sim = running();
    sim.edit(json!({ "worker": { "slots": 2 }, "rescale": { "minInterval": "1m" } }));
    sim.settle();
    let first = sim.world.deployed.as_ref().unwrap().notes.rescaled_at.unwrap();
    sim.take();
    sim.edit(json!({ "worker": { "slots": 4 } }));
    for _ in 0..10 {
        let plan = sim.look();
        assert!(quiet(&plan), "{plan:?}");
        assert_eq!(sim.state(), JobState::Running);
    }
    assert_eq!(sim.condition("Progressing"), ("True".into(), "RescaleWaits".into()));
    sim.world.memory = Memory::default();
    sim.world.now = first + jiff::SignedDuration::from_secs(60);
    sim.settle();
    assert!(sim.take().contains(&"Rescaling".to_owned()));
    assert_eq!(sim.world.deployed.as_ref().unwrap().resolved.as_ref().unwrap().parallelism, 4);
}

#[test]
fn a_newer_spec_supersedes_a_wait() {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    sim.look();
    sim.edit(json!({ "args": { "events": 6 } }));
    sim.settle();
    let done = sim.take();
    assert!(done.contains(&"delete check-4".to_owned()) && done.contains(&"create check-6".to_owned()), "{done:?}");
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 6);
}

#[test]
fn a_finished_job_stays_finished_until_what_runs_is_changed() {
    let mut sim = running();
    sim.end(RunState::Finished);
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x0", "Finished"]);
    assert_eq!(sim.state(), JobState::Finished);
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    sim.edit(json!({ "desiredState": "Running" }));
    sim.settle();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.state(), JobState::Finished);
    sim.edit(json!({ "restartNonce": 1 }));
    sim.settle();
    assert_eq!(sim.take()[..2], ["deploy 8 x1", "Restarted"]);
    assert_eq!(sim.state(), JobState::Running);
}

#[test]
fn a_job_that_was_given_up_is_failed_with_the_reason() {
    let mut sim = running();
    sim.end(RunState::Failed);
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x0", "!Failed"]);
    assert_eq!(sim.state(), JobState::Failed);
    assert_eq!(sim.condition("Degraded"), ("True".into(), "JobFailed".into()));
}

#[test]
fn a_newer_operator_leaves_jobs_alone_until_they_change() {
    let mut sim = running();
    sim.world.default_image = "weir:2".into();
    sim.resolve();
    sim.settle();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("UpdateAvailable"), ("True".into(), "NewerImage".into()));
    sim.edit(json!({ "restartNonce": 1 }));
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().resolved.as_ref().unwrap().image.as_deref(), Some("weir:2"));
    assert_eq!(sim.condition("UpdateAvailable").0, "False");
}

#[test]
fn a_spec_that_is_wrong_stops_nothing() {
    let mut sim = running();
    sim.edit(json!({ "worker": { "slots": 0 } }));
    sim.settle();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.state(), JobState::Running);
    assert_eq!(sim.condition("Ready"), ("False".into(), "InvalidSpec".into()));
    let mut fresh = Sim::new(json!({ "worker": { "slots": 0 } }));
    fresh.settle();
    assert_eq!(fresh.take(), Vec::<String>::new());
    assert_eq!(fresh.state(), JobState::Pending);
}

#[test]
fn a_spec_that_says_the_same_in_other_words_changes_nothing_that_runs() {
    let mut sim = running();
    sim.edit(json!({ "worker": { "memory": "1024Mi" } }));
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x1"], "a note");
    sim.edit(json!({ "restoreFrom": { "checkpoint": 3 } }));
    sim.settle();
    let number = sim.world.deployed.as_ref().unwrap().number;
    sim.take();
    sim.edit(json!({ "restoreFrom": null }));
    sim.settle();
    assert_eq!(sim.take(), [format!("deploy {number} x1")], "it was consumed");
}

#[test]
fn a_request_is_carried_out_once() {
    let mut sim = running();
    sim.edit(json!({ "savepoint": { "name": "before", "nonce": 7 } }));
    sim.settle();
    assert_eq!(sim.take(), ["call Savepoint 7", "deploy 2 x1", "Savepoint"]);
    assert_eq!(sim.world.status.savepoint.as_ref().unwrap().nonce, 7);
    sim.world.memory = Memory::default();
    sim.settle();
    assert_eq!(sim.take(), Vec::<String>::new(), "also for an operator that has just started");
}

#[test]
fn deletion_with_delete_waits_for_the_pods_and_removes_the_checkpoints() {
    let mut sim = Sim::new(json!({ "deletionPolicy": "Delete" }));
    sim.settle();
    assert_eq!(sim.take()[1], "finalizer true");
    sim.world.deleting = Some(sim.world.now);
    sim.settle();
    assert_eq!(sim.take(), ["deploy 2 x0", "create delete-2", "finalizer false", "CheckpointsDeleted"]);
}

#[test]
fn nothing_keeps_a_job_from_going_for_ever() {
    let mut sim = Sim::new(json!({ "deletionPolicy": "Delete" }));
    sim.settle();
    sim.take();
    sim.preflight = (1, "no such bucket".into());
    sim.world.deleting = Some(sim.world.now);
    sim.pass(601);
    sim.look();
    assert_eq!(sim.take(), ["finalizer false", "!CheckpointsKept"]);
    let mut ending = Sim::new(json!({ "deletionPolicy": "Delete" }));
    ending.settle();
    ending.take();
    ending.world.deleting = Some(ending.world.now);
    ending.world.namespace_ending = true;
    ending.look();
    assert_eq!(ending.take(), ["tell namespace", "finalizer false"]);
    let mut retained = Sim::new(json!({}));
    retained.settle();
    retained.take();
    retained.world.deleting = Some(retained.world.now);
    retained.look();
    assert_eq!(retained.take(), Vec::<String>::new(), "without a finalizer the cluster does it");
}

#[test]
fn an_operator_that_forgets_everything_at_any_step_comes_to_the_same_end() {
    for forget_at in 0..20 {
        let mut sim = running();
        sim.edit(json!({ "args": { "events": 5 } }));
        for step in 0..20 {
            if step == forget_at {
                sim.world.memory = Memory::default();
            }
            sim.look();
            sim.settle_pods();
        }
        sim.settle();
        assert_eq!(sim.state(), JobState::Running, "forgotten at {forget_at}");
        let deployed = sim.world.deployed.as_ref().unwrap();
        assert_eq!((deployed.number, deployed.notes.unproven_since), (4, None), "forgotten at {forget_at}");
        assert_eq!(sim.world.configs, std::slice::from_ref(&deployed.config), "forgotten at {forget_at}");
        assert!(sim.world.checks.is_empty(), "forgotten at {forget_at}");
        assert_eq!(sim.world.status.restarts, Some(0), "forgotten at {forget_at}");
    }
}
