//! `Ready` says what keeps a job from running, in words that name it.

use serde_json::{Value, json};
use weir_api::Invalid;
use weir_api::status::JobState;

use super::sim::Sim;
use crate::lifecycle::*;

/// Status, reason and message of `Ready`.
fn ready(sim: &Sim) -> (String, String, String) {
    let found = sim.world.status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

fn assert_not_ready(sim: &Sim, reason: &str, part: &str) {
    let (status, said, message) = ready(sim);
    assert_eq!((status.as_str(), said.as_str()), ("False", reason), "{message}");
    assert!(message.contains(part), "{message:?} does not say {part:?}");
}

fn running(spec: Value) -> Sim {
    let mut sim = Sim::new(spec);
    sim.settle();
    assert_eq!(ready(&sim).0, "True");
    sim.take();
    sim
}

#[test]
fn a_name_that_is_taken_is_named_with_its_kind() {
    for kind in ["StatefulSet", "Service", "PodDisruptionBudget", "NetworkPolicy"] {
        let mut sim = Sim::new(json!({}));
        sim.world.conflict = Some(format!("{kind} q5"));
        let plan = sim.look();
        assert!(plan.deployment.is_none() && plan.actions.is_empty() && !plan.support);
        assert_not_ready(&sim, "NameConflict", kind);
        assert_eq!(sim.state(), JobState::Pending);
    }
}

#[test]
fn a_job_that_runs_is_looked_after_although_a_name_beside_it_was_taken() {
    let mut sim = running(json!({}));
    sim.world.conflict = Some("Service q5".into());
    let plan = sim.look();
    assert!(!plan.support, "nothing is written to what is not ours");
    assert_eq!((sim.state(), ready(&sim).0.as_str()), (JobState::Running, "True"));
    assert_eq!(sim.condition("Degraded"), ("True".into(), "NameConflict".into()));
    sim.edit(json!({ "desiredState": "Suspended" }));
    sim.settle();
    assert_eq!(sim.take(), ["call Stop 2", "deploy 2 x0", "Stopped"]);
}

#[test]
fn what_only_the_cluster_refuses_names_the_field_and_is_looked_at_again() {
    let mut sim = Sim::new(json!({}));
    let invalid = Invalid::new("spec.pod.serviceAccount", "\"default\"", "one with the label", "label it");
    sim.world.wanted = Err(vec![invalid]);
    let plan = sim.look();
    assert!(plan.deployment.is_none());
    assert_not_ready(&sim, "InvalidSpec", "spec.pod.serviceAccount");
    assert!(plan.again.as_secs() <= 60, "nobody tells us of a label");
}

#[test]
fn what_keeps_a_pod_from_running_is_said_with_the_way_out() {
    let mut sim = Sim::new(json!({}));
    sim.look();
    sim.world.not_admitted = Some("exceeded quota: small".into());
    sim.look();
    assert_not_ready(&sim, "PodNotAdmitted", "exceeded quota: small");

    let mut sim = Sim::new(json!({}));
    sim.look();
    sim.settle_pods();
    sim.pass(20);
    sim.world.pods[0].running_since = None;
    sim.world.pods[0].unschedulable = Some("0/1 nodes".into());
    sim.look();
    assert_not_ready(&sim, "Unschedulable", "0/1 nodes");
    sim.world.pods[0].unschedulable = None;
    sim.world.pods[0].waiting = Some(Waiting { reason: "ErrImagePull".into(), message: "not found".into() });
    sim.look();
    assert_not_ready(&sim, "ImageNotPulled", "spec.image");
}

#[test]
fn a_silent_coordinator_is_said_after_a_while() {
    let mut sim = running(json!({}));
    sim.answers = false;
    sim.look();
    assert_not_ready(&sim, "Starting", "");
    sim.pass(31);
    sim.look();
    assert_not_ready(&sim, "CoordinatorSilent", "connection refused");
}

#[test]
fn a_job_that_failed_says_of_what() {
    let mut sim = running(json!({ "restart": { "budget": 0 } }));
    let now = sim.world.now;
    sim.world.pods[0].running_since = None;
    let ended = Terminated { reason: "Error".into(), exit_code: 1, message: "no such topic".into(), at: now };
    sim.world.pods[0].terminated = Some(ended);
    sim.settle();
    assert_eq!(sim.state(), JobState::Failed);
    assert_not_ready(&sim, "Failed", "no such topic");
}

#[test]
fn a_job_that_was_never_to_run_says_that_it_is_suspended() {
    let mut sim = Sim::new(json!({ "desiredState": "Suspended" }));
    sim.look();
    assert_not_ready(&sim, "Suspended", "suspended");
}
