//! Changes that meet trouble: what is in the way passes, and the change is still made, once.

use serde_json::json;
use weir_api::spec::DeletionPolicy;

use super::sim::{Sim, at};
use crate::lifecycle::*;

const DAY: i64 = 86_400;

fn running() -> Sim {
    let mut sim = Sim::new(json!({}));
    sim.settle();
    sim.take();
    sim
}

fn count(done: &[String], what: &str) -> usize {
    done.iter().filter(|done| *done == what).count()
}

#[test]
fn a_change_that_would_keep_pods_is_made_by_new_ones_while_the_job_restarts() {
    let mut sim = running();
    sim.pass(60);
    sim.end(RunState::Restarting);
    sim.edit(json!({ "checkpoint": { "timeout": "20m" } }));
    for _ in 0..20 {
        sim.look();
        sim.settle_pods();
    }
    let done = sim.take();
    assert_eq!(count(&done, "create check-4"), 1, "{done:?}");
    assert_eq!(count(&done, "call Stop 2"), 1, "{done:?}");
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 4, "{done:?}");
}

#[test]
fn a_preflight_that_could_not_be_carried_out_is_tried_again() {
    let mut sim = running();
    sim.preflight = (1, r#"{"ok":false,"retry":true,"errors":[{"message":"the bucket does not answer"}]}"#.into());
    sim.edit(json!({ "args": { "events": 5 } }));
    for _ in 0..20 {
        sim.look();
        sim.settle_pods();
    }
    assert_eq!(sim.take(), ["create check-4", "Preflight"], "not at once");
    assert_eq!(sim.condition("Ready").0, "True", "it runs on as it was");
    assert_eq!(sim.condition("Degraded"), ("True".into(), "PreflightFailed".into()));
    sim.preflight = (0, r#"{"ok":true}"#.into());
    sim.pass(30);
    sim.look();
    assert_eq!(sim.take(), ["delete check-4"]);
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 4);
    assert_eq!(sim.condition("Degraded").0, "False");
}

#[test]
fn a_certificate_is_renewed_by_a_new_pod_also_after_a_rescale() {
    let mut sim = running();
    sim.pass(60);
    sim.edit(json!({ "worker": { "slots": 4 } }));
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().notes.mode, Mode::Redeploy);
    let pod = sim.world.pods[0].uid.clone();
    sim.world.now = at(293 * DAY);
    sim.settle();
    assert_ne!(sim.world.pods[0].uid, pod, "only a new pod reads the new certificate");
    assert_eq!(sim.world.deployed.as_ref().unwrap().serial, 2);
}

#[test]
fn a_stop_that_was_taken_back_does_not_shorten_a_later_one() {
    let mut sim = running();
    sim.answers = false;
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.look();
    sim.world.memory.calls.get_mut(&CallKind::Stop).unwrap().outcome = Some(Outcome::Again("no answer".into()));
    sim.edit(json!({ "desiredState": "Running" }));
    sim.look();
    sim.pass(3600);
    sim.answers = true;
    sim.take();
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    assert_eq!(sim.take(), ["call Stop 2", "deploy 2 x0", "Stopped"], "with a final checkpoint");
}

#[test]
fn a_call_is_remembered_when_it_is_made_not_when_it_is_planned() {
    let mut sim = running();
    sim.edit(json!({ "checkpointNonce": 7 }));
    let before = sim.world.memory.clone();
    sim.world.control = Control::Answered(Box::new(sim.report()));
    let plan = decide(&sim.world);
    assert!(plan.actions.contains(&Action::Call(Call::Checkpoint { nonce: 7 })));
    let mut kept = before.followed_by(&before, plan.memory, &plan.actions);
    assert_eq!(kept.calls.get(&CallKind::Checkpoint), None, "the plan may fail before it");

    let record = CallRecord { key: 7, started: at(0), outcome: None };
    kept.calls.insert(CallKind::Checkpoint, record.clone());
    let done = CallRecord { outcome: Some(Outcome::Done("taken".into())), ..record };
    let now = Memory { calls: [(CallKind::Checkpoint, done.clone())].into(), ..kept.clone() };
    let next = now.followed_by(&kept, kept.clone(), &[]);
    assert_eq!(next.calls.get(&CallKind::Checkpoint), Some(&done), "what came of it meanwhile is newer");
    let again = [Action::Call(Call::Checkpoint { nonce: 7 })];
    assert_eq!(now.followed_by(&now, now.clone(), &again), now, "asked again is not begun");
}

#[test]
fn a_job_whose_stateful_set_was_removed_goes_on_above_the_number_it_had() {
    let mut sim = running();
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    sim.edit(json!({ "desiredState": "Running" }));
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 6);
    sim.world.deployed = None;
    sim.world.stable = None;
    sim.world.pods.clear();
    sim.world.generation = 1;
    sim.world.highest = 6;
    let again = decide(&sim.world).deployment.unwrap();
    assert_eq!(again.resolved.revision_number, 6, "the same job keeps its number");
    assert!(sim.world.configs.contains(&again.config), "and makes no ConfigMap at every try");
    sim.edit(json!({ "args": { "events": 5 } }));
    let other = decide(&sim.world).deployment.unwrap();
    assert_eq!(other.resolved.revision_number, 7, "the journal refuses a lower one, and an equal one is another job's");
}

#[test]
fn a_record_that_cannot_be_read_is_said_changes_nothing_and_keeps_no_job_from_going() {
    let mut sim = running();
    sim.world.deployed = None;
    sim.world.unreadable = Some("it has format 2".into());
    let plan = sim.look();
    assert!(plan.deployment.is_none() && plan.actions.is_empty() && !plan.support, "{plan:?}");
    assert_eq!(sim.condition("Ready"), ("False".into(), "RecordUnreadable".into()));
    sim.world.finalizer = true;
    sim.world.deletion_policy = DeletionPolicy::Delete;
    sim.world.deleting = Some(sim.world.now);
    sim.pass(601);
    let plan = sim.look();
    assert!(plan.actions.contains(&Action::SetFinalizer(false)), "{plan:?}");
}

/// A job whose upgrade to number 4 runs, and completes no checkpoint until its deadline is over.
fn overdue() -> Sim {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    while sim.world.pods.first().is_none_or(|pod| pod.uid == "pod-1") {
        sim.checkpoints = sim.world.deployed.as_ref().unwrap().number < 4;
        sim.look();
        sim.settle_pods();
    }
    sim.checkpoints = false;
    sim.pass(301);
    sim.take();
    sim
}

#[test]
fn a_refused_revision_is_stopped_without_a_checkpoint_before_its_pod_is_asked_to_go() {
    let mut sim = overdue();
    sim.checkpoints = false;
    for _ in 0..3 {
        sim.look();
    }
    let done = sim.take();
    assert_eq!(done, ["call Discard 4", "deploy 5 x1", "!RolledBack", "delete q5-0"]);
}

#[test]
fn the_way_back_is_not_lost_with_the_operator_that_began_it() {
    let mut sim = overdue();
    sim.look();
    sim.world.memory = Memory::default();
    sim.look();
    assert_eq!(sim.take(), ["call Discard 4", "deploy 5 x1", "!RolledBack"], "not resumed");
}

#[test]
fn a_refused_revision_that_does_not_answer_is_waited_for_not_for_ever() {
    let mut sim = overdue();
    sim.answers = false;
    sim.look();
    sim.look();
    assert_eq!(sim.take(), ["call Discard 4"]);
    sim.pass(16);
    sim.look();
    assert_eq!(sim.take(), ["deploy 5 x1", "!RolledBack"]);
}

#[test]
fn a_foreign_pod_under_the_preflights_name_is_said_and_left_alone() {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    let Action::CreateTask { resolved, .. } = &decide(&sim.world).actions[0] else { panic!("a preflight") };
    let config = crate::build::config::config_name(&sim.world.job, resolved);
    sim.world.conflict = Some(format!("Pod {}", sim.world.job.check_pod(&config)));
    for _ in 0..5 {
        sim.look();
        sim.pass(1);
    }
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("Degraded"), ("True".into(), "NameConflict".into()));
    assert_eq!(sim.condition("Ready").0, "True", "it runs on as it was");
    sim.world.conflict = None;
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().number, 4);
}

/// A job with `Delete` that is being deleted and whose pods are gone.
fn deleting() -> Sim {
    let mut sim = Sim::new(json!({ "deletionPolicy": "Delete" }));
    sim.settle();
    sim.world.deleting = Some(sim.world.now);
    sim.look();
    sim.settle_pods();
    sim.take();
    sim
}

#[test]
fn a_foreign_pod_under_the_deletions_name_is_said_and_left_alone() {
    let mut sim = deleting();
    sim.world.conflict = Some("Pod q5-delete".into());
    for _ in 0..5 {
        sim.look();
        sim.pass(1);
    }
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("Degraded"), ("True".into(), "NameConflict".into()));
    sim.pass(600);
    sim.look();
    assert_eq!(sim.take(), ["finalizer false", "!CheckpointsKept"]);
}

#[test]
fn a_deletion_that_is_refused_says_what_to_do_and_is_not_tried_again() {
    let mut sim = deleting();
    sim.preflight = (2, r#"{"ok":false,"errors":[{"field":"spec.storage.uri","message":"no such bucket"}]}"#.into());
    for _ in 0..20 {
        sim.look();
        sim.settle_pods();
    }
    assert_eq!(sim.take(), ["create delete-2"]);
    assert_eq!(sim.condition("Degraded"), ("True".into(), "DeletionRefused".into()));
    let said = &sim.world.status.conditions.iter().find(|c| c.type_ == "Degraded").unwrap().message;
    for part in ["spec.storage.uri: no such bucket", "q5-delete", "Retain", "10 minutes"] {
        assert!(said.contains(part), "{said:?} does not say {part:?}");
    }
    sim.preflight = (0, String::new());
    sim.world.deletion = None;
    sim.settle();
    assert_eq!(sim.take(), ["create delete-2", "finalizer false", "CheckpointsDeleted"], "tried again when asked");
}

#[test]
fn what_came_of_a_call_is_said_also_if_the_plan_that_would_say_it_fails() {
    let mut sim = running();
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.look();
    let before = sim.world.memory.clone();
    sim.ask();
    let failed = decide(&sim.world);
    assert!(failed.notices.iter().any(|notice| notice.reason == "Stopped"));
    let mut kept = before.followed_by(&before, failed.memory, &failed.actions);
    kept.keep_calls_of(&before);
    sim.world.memory = kept;
    sim.look();
    assert!(sim.take().contains(&"Stopped".to_owned()), "the next one says it");
}

#[test]
fn a_restart_is_said_whatever_becomes_of_the_plan() {
    let mut sim = running();
    sim.world.pods.clear();
    sim.settle_pods();
    let plan = sim.look();
    let said: Vec<_> = plan.notices.iter().map(|notice| (notice.reason.as_str(), notice.happened)).collect();
    assert_eq!(said, [("Restarted", true)], "its mark is in the status then, and it is not counted again");
}
