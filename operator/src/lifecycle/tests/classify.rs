//! What a pod's status means: a table.

use super::sim::{at, pod};
use crate::lifecycle::*;

fn ended(reason: &str, exit_code: i32) -> Terminated {
    Terminated { reason: reason.into(), exit_code, message: "last words".into(), at: at(5) }
}

fn waiting(reason: &str) -> impl Fn(&mut PodView) {
    let reason = reason.to_owned();
    move |pod| {
        pod.running_since = None;
        pod.waiting = Some(Waiting { reason: reason.clone(), message: "back-off".into() });
    }
}

fn check(change: impl Fn(&mut PodView), node: NodeHealth, expected: PodHealth) {
    let mut view = pod("p", "c", at(0));
    change(&mut view);
    assert_eq!(resolve_health(&view, &node), expected, "{view:?}");
}

fn check_exit(reason: &str, exit_code: i32, expected: Reason) {
    let crash = Crash { reason: expected, exit_code, message: "last words".into(), at: at(5) };
    let loops = |view: &mut PodView| {
        waiting("CrashLoopBackOff")(view);
        view.last_terminated = Some(ended(reason, exit_code));
    };
    check(loops, NodeHealth::Unknown, PodHealth::Crashed(crash.clone()));
    let just_ended = |view: &mut PodView| {
        view.running_since = None;
        view.terminated = Some(ended(reason, exit_code));
    };
    check(just_ended, NodeHealth::Unknown, PodHealth::Crashed(crash));
}

#[test]
fn exit_codes_have_reasons() {
    check_exit("Completed", 0, Reason::Exited);
    check_exit("Error", 1, Reason::Crashed);
    check_exit("Error", 2, Reason::Refused);
    check_exit("Error", 3, Reason::Fenced);
    check_exit("Error", 101, Reason::Crashed);
    check_exit("Error", 137, Reason::Killed);
    check_exit("Error", 143, Reason::Killed);
    check_exit("OOMKilled", 137, Reason::OutOfMemory);
    check_exit("ContainerStatusUnknown", 137, Reason::NodeGone);
}

#[test]
fn what_a_container_waits_for_has_a_reason() {
    let stuck = |reason, waits: &str| PodHealth::Stuck(reason, format!("{waits}: back-off"));
    for waits in ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"] {
        check(waiting(waits), NodeHealth::Unknown, stuck(Reason::Image, waits));
    }
    for waits in ["CreateContainerConfigError", "CreateContainerError", "RunContainerError"] {
        check(waiting(waits), NodeHealth::Unknown, stuck(Reason::Configuration, waits));
    }
    for waits in ["ContainerCreating", "PodInitializing", "CrashLoopBackOff", "SomethingNew"] {
        check(waiting(waits), NodeHealth::Unknown, PodHealth::Starting);
    }
}

#[test]
fn pods_that_are_over_pending_or_going_are_told_apart() {
    check(|_| {}, NodeHealth::Unknown, PodHealth::Running);
    check(|pod| pod.running_since = None, NodeHealth::Ready, PodHealth::Starting);
    check(|pod| pod.deleting = Some(at(3)), NodeHealth::Ready, PodHealth::Terminating(at(3)));
    let unschedulable = |pod: &mut PodView| pod.unschedulable = Some("0/1 nodes".into());
    check(unschedulable, NodeHealth::Unknown, PodHealth::Stuck(Reason::Unschedulable, "0/1 nodes".into()));
    for (reason, expected) in [
        ("Evicted", Reason::Evicted),
        ("NodeShutdown", Reason::Evicted),
        ("NodeLost", Reason::NodeGone),
        ("OutOfmemory", Reason::Unschedulable),
        ("SomethingNew", Reason::PodDeleted),
    ] {
        let over = |pod: &mut PodView| {
            pod.phase = "Failed".into();
            pod.reason = Some(reason.into());
            pod.message = Some("low on disk".into());
        };
        check(over, NodeHealth::Unknown, PodHealth::Over(expected, "low on disk".into()));
    }
}

#[test]
fn a_node_that_is_gone_comes_before_all_else() {
    check(|pod| pod.deleting = Some(at(9)), NodeHealth::NotReady(at(4)), PodHealth::NodeGone(at(4)));
    check(|_| {}, NodeHealth::Gone, PodHealth::NodeGone(at(0)));
    check(|pod| pod.node = None, NodeHealth::Gone, PodHealth::Running);
}

#[test]
fn every_reason_has_words() {
    for reason in Reason::ALL {
        assert!(!reason.as_str().is_empty() && !reason.title().is_empty() && !reason.way_out().is_empty());
    }
}
