//! Single steps: what one look does about one trouble.

use serde_json::json;
use weir_api::status::JobState;

use super::crashes::crash;
use super::sim::{Sim, at, quiet};
use crate::lifecycle::*;

fn running() -> Sim {
    let mut sim = Sim::new(json!({}));
    sim.settle();
    sim.take();
    sim
}

#[test]
fn a_refusal_fails_a_new_job_and_rolls_an_upgrade_back_at_once() {
    let mut sim = Sim::new(json!({}));
    sim.look();
    sim.settle_pods();
    crash(&mut sim, 2, 0);
    sim.take();
    sim.look();
    assert_eq!(sim.take(), ["deploy 2 x0", "!Failed"]);
    assert_eq!(sim.condition("Degraded"), ("True".into(), "Refused".into()));

    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    while sim.world.deployed.as_ref().unwrap().number < 4 || sim.world.pods.first().is_none_or(|pod| pod.uid == "pod-1")
    {
        sim.look();
        sim.settle_pods();
    }
    crash(&mut sim, 2, 0);
    sim.take();
    sim.look();
    assert_eq!(sim.take(), ["deploy 5 x1", "!RolledBack"]);
}

#[test]
fn a_container_that_a_redeployment_has_overtaken_gets_a_new_pod() {
    let mut sim = running();
    sim.pass(60);
    sim.edit(json!({ "worker": { "slots": 4 } }));
    sim.settle();
    sim.take();
    crash(&mut sim, 2, 1);
    sim.look();
    assert_eq!(sim.take(), ["delete q5-0", "!Restarted", "!Refused"]);
    assert_ne!(sim.state(), JobState::Failed);
}

#[test]
fn a_pod_on_a_silent_node_is_replaced_after_a_deadline() {
    let mut sim = running();
    sim.world.node = NodeHealth::NotReady(sim.world.now);
    sim.pass(30);
    sim.look();
    assert_eq!(sim.take(), Vec::<String>::new());
    sim.pass(1);
    sim.look();
    assert_eq!(sim.take(), ["delete q5-0 by force", "!NodeGone"]);
    sim.world.node = NodeHealth::Unknown;
    sim.settle();
    assert_eq!(sim.world.status.restarts_by_reason.get("node_gone"), Some(&1));
}

#[test]
fn a_pod_that_somebody_deletes_is_counted_once() {
    let mut sim = running();
    sim.world.pods.clear();
    sim.settle();
    assert_eq!(sim.take(), ["!Restarted"]);
    assert_eq!(sim.world.status.restarts_by_reason.get("pod_deleted"), Some(&1));
    sim.settle();
    assert_eq!(sim.world.status.restarts, Some(1));
}

#[test]
fn pods_that_cannot_be_made_are_said_and_not_looped_on() {
    let mut sim = Sim::new(json!({}));
    sim.look();
    sim.take();
    sim.world.not_admitted = Some("exceeded quota: small".into());
    for _ in 0..5 {
        let plan = sim.look();
        assert!(quiet(&plan), "{plan:?}");
        sim.pass(60);
    }
    assert_eq!(sim.condition("Degraded"), ("True".into(), "PodNotAdmitted".into()));
    assert_eq!(sim.state(), JobState::Starting);

    let mut sim = Sim::new(json!({}));
    sim.look();
    sim.settle_pods();
    sim.take();
    sim.world.pods[0].running_since = None;
    sim.world.pods[0].unschedulable = Some("0/1 nodes".into());
    sim.look();
    assert_eq!(sim.condition("Degraded").0, "False", "not in the first seconds");
    sim.pass(11);
    let plan = sim.look();
    assert!(quiet(&plan));
    assert_eq!(sim.condition("Degraded"), ("True".into(), "Unschedulable".into()));
}

#[test]
fn a_pod_stuck_in_its_image_is_tried_anew_now_and_then() {
    let mut sim = running();
    sim.world.pods[0].running_since = None;
    sim.world.pods[0].waiting = Some(Waiting { reason: "ImagePullBackOff".into(), message: "not found".into() });
    sim.world.pods[0].created = sim.world.now;
    sim.pass(100);
    sim.look();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("Degraded"), ("True".into(), "ImageNotPulled".into()));
    sim.pass(21);
    sim.look();
    assert_eq!(sim.take(), ["delete q5-0", "!ImageNotPulled"]);
}

/// A plan for a world in which the coordinator says something else.
fn with_report(sim: &mut Sim, change: impl Fn(&mut Report)) -> Plan {
    sim.look();
    let Control::Answered(report) = &mut sim.world.control else { panic!("it answers") };
    change(report);
    let plan = decide(&sim.world);
    sim.world.memory = plan.memory.clone();
    sim.world.status = plan.status.clone();
    plan
}

#[test]
fn no_progress_replaces_the_pod_only_while_the_storage_answers() {
    let mut sim = running();
    let old = sim.world.now;
    let stale = move |report: &mut Report| report.checkpoints.iter_mut().for_each(|c| c.completed_at = old);
    with_report(&mut sim, stale);
    let patience = 600 + 30 + 60;
    sim.world.now = old + jiff::SignedDuration::from_secs(patience + 1);
    let trouble = move |report: &mut Report| {
        stale(report);
        report.storage_trouble = Some((old, "connection refused".into()));
    };
    let mut out = running();
    out.world.now = sim.world.now;
    out.world.memory = sim.world.memory.clone();
    let Control::Answered(_) = &sim.world.control else { panic!("it answers") };
    let during = {
        let Control::Answered(report) = &mut sim.world.control else { panic!("it answers") };
        trouble(report);
        decide(&sim.world)
    };
    assert!(during.actions.is_empty(), "an outage restarts nothing: {:?}", during.actions);
    let condition = |plan: &Plan, kind: &str| {
        plan.status.conditions.iter().find(|c| c.type_ == kind).map(|c| (c.status.clone(), c.reason.clone())).unwrap()
    };
    assert_eq!(condition(&during, "CheckpointHealthy"), ("False".into(), "StorageUnavailable".into()));
    let without = {
        let Control::Answered(report) = &mut sim.world.control else { panic!("it answers") };
        report.storage_trouble = None;
        decide(&sim.world)
    };
    assert!(matches!(&without.actions[..], [Action::DeletePod { .. }]), "{:?}", without.actions);
    assert_eq!(condition(&without, "CheckpointHealthy"), ("False".into(), "Late".into()));
    // Right after an outage the time counts from its end.
    let mut after = sim.world.clone();
    after.memory = during.memory;
    assert!(decide(&after).actions.is_empty());
}

#[test]
fn restarts_within_the_process_are_counted_by_the_runtimes_own_words() {
    let mut sim = running();
    let plan = with_report(&mut sim, |report| report.restarts = [("user_code".to_owned(), 2)].into());
    assert_eq!(plan.restarted.get("user_code"), Some(&2));
    let again = with_report(&mut sim, |report| report.restarts = [("user_code".to_owned(), 3)].into());
    assert_eq!(again.restarted.get("user_code"), Some(&1));
    assert_eq!(again.status.restarts, Some(3));
}

#[test]
fn names_that_are_taken_and_pods_of_a_predecessor_hold_a_job_back() {
    let mut sim = Sim::new(json!({}));
    sim.world.conflict = Some("StatefulSet q5".into());
    sim.look();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("Degraded"), ("True".into(), "NameConflict".into()));
    let mut sim = Sim::new(json!({}));
    sim.world.strangers = 1;
    sim.look();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.condition("Progressing"), ("True".into(), "WaitingForOldPods".into()));
}

#[test]
fn a_certificate_is_renewed_with_pods_from_half_of_its_time_and_forced_below_a_fifth() {
    const DAY: i64 = 86_400;
    let issued = Some(at(0));
    let due = |days: i64| Certificate::due(issued, at(days * DAY));
    assert_eq!(due(0), Certificate::Keep);
    assert_eq!(due(182), Certificate::Keep);
    assert_eq!(due(183), Certificate::WithPods);
    assert_eq!(due(292), Certificate::WithPods);
    assert_eq!(due(293), Certificate::Now);
    assert_eq!(Certificate::due(None, at(0)), Certificate::WithPods);
    let mut sim = running();
    sim.pass(293 * DAY);
    sim.settle();
    let done = sim.take();
    assert_eq!(done[..3], ["call Stop 2", "deploy 3 x1", "Stopped"], "{done:?}");
    assert_eq!(sim.world.deployed.as_ref().unwrap().serial, 2);
}

#[test]
fn a_record_is_read_back_and_a_newer_one_is_refused() {
    let sim = running();
    let deployed = sim.world.deployed.clone().unwrap();
    let deployment = Deployment {
        config: deployed.config.clone(),
        resolved: deployed.resolved.clone().unwrap(),
        image: "weir:1".into(),
        serial: deployed.serial,
        replicas: 1,
        notes: deployed.notes.clone(),
    };
    let annotations = deployment.annotations();
    let read = Recorded::read(&annotations).unwrap();
    assert_eq!((read.config, read.number, read.serial, read.notes), (deployed.config, 2, 1, deployed.notes));
    let newer =
        annotations.into_iter().map(|(key, text)| (key, text.replace("\"format\":1", "\"format\":2"))).collect();
    assert!(matches!(Recorded::read(&newer), Err(RecordError::Newer(2))));
    assert!(matches!(Recorded::read(&Default::default()), Err(RecordError::Missing)));
}

#[test]
fn a_job_that_does_not_run_is_changed_without_a_preflight() {
    let mut sim = running();
    sim.world.pods[0].running_since = None;
    sim.world.pods[0].unschedulable = Some("0/1 nodes".into());
    sim.edit(json!({ "worker": { "memory": "64Mi" } }));
    sim.look();
    assert_eq!(sim.take(), ["deploy 4 x1", "!NoFinalCheckpoint", "Upgrading"]);
}

#[test]
fn what_somebody_else_undid_is_done_again() {
    let mut sim = running();
    sim.world.configs.clear();
    sim.look();
    assert_eq!(sim.take(), ["deploy 2 x1"], "with its ConfigMap");
    sim.world.deployed.as_mut().unwrap().replicas = 3;
    sim.look();
    assert_eq!(sim.take(), ["deploy 2 x1"]);
    sim.world.deployed.as_mut().unwrap().replicas = 0;
    sim.world.pods.clear();
    sim.settle();
    assert_eq!(sim.world.deployed.as_ref().unwrap().replicas, 1);
}

#[test]
fn a_preflight_that_nobody_needs_any_more_is_removed() {
    let mut sim = running();
    sim.edit(json!({ "args": { "events": 5 } }));
    sim.look();
    sim.take();
    sim.edit(json!({ "args": null }));
    sim.settle();
    assert_eq!(sim.take(), ["delete check-4", "delete config"]);
    assert!(sim.world.checks.is_empty());
}

#[test]
fn a_redeployment_is_proven_by_its_own_claim_not_by_what_the_process_was_told() {
    let mut sim = running();
    sim.pass(60);
    sim.edit(json!({ "worker": { "slots": 4 } }));
    sim.look();
    assert_eq!(sim.take(), ["deploy 4 x1", "Rescaling"]);
    let old = |report: &mut Report| {
        report.number = 4;
        report.journal_number = 2;
    };
    let plan = with_report_only(&mut sim, old);
    assert!(quiet(&plan), "the old deployment's checkpoints prove nothing: {plan:?}");
    let stopped = |report: &mut Report| {
        old(report);
        report.state = RunState::Stopped;
        report.journal = RunState::Stopped;
    };
    let plan = with_report_only(&mut sim, stopped);
    assert!(quiet(&plan), "stopped on the way to the new deployment: {plan:?}");
    let gone_on = |report: &mut Report| {
        report.number = 4;
        report.journal_number = 4;
    };
    assert!(with_report_only(&mut sim, gone_on).deployment.is_some(), "it notes that it is stable");
}

/// As [`with_report`], without a look of its own before.
fn with_report_only(sim: &mut Sim, change: impl Fn(&mut Report)) -> Plan {
    let mut report = sim.report();
    change(&mut report);
    sim.world.control = Control::Answered(Box::new(report));
    decide(&sim.world)
}
