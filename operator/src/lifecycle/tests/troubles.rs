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
