//! Pods whose process ends again and again: how long is waited, who starts it again, and when it is given up.

use serde_json::json;
use weir_api::status::JobState;

use super::sim::{Sim, seconds};
use crate::lifecycle::*;

fn running() -> Sim {
    let mut sim = Sim::new(json!({}));
    sim.settle();
    sim.take();
    sim
}

/// The container crashed, and the kubelet waits before it starts it again.
pub(super) fn crash(sim: &mut Sim, exit_code: i32, restarts: u32) {
    let now = sim.world.now;
    let pod = &mut sim.world.pods[0];
    pod.running_since = None;
    pod.restarts = restarts;
    pod.waiting = Some(Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() });
    let ended = Terminated { reason: "Error".into(), exit_code, message: "words".into(), at: now };
    pod.last_terminated = Some(ended);
}

/// The container crashed, and the kubelet has started it again already.
fn crash_unseen(sim: &mut Sim) {
    let now = sim.world.now;
    let pod = &mut sim.world.pods[0];
    pod.restarts += 1;
    pod.last_terminated = Some(Terminated { reason: "Error".into(), exit_code: 1, message: "words".into(), at: now });
}

/// Waits for the pod to be replaced, looking each second. Answers how long that took.
fn seconds_to_replacement(sim: &mut Sim) -> u64 {
    for waited in 0..100 {
        sim.look();
        if sim.take().iter().any(|done| done.starts_with("delete q5-0")) {
            return waited;
        }
        sim.pass(1);
    }
    panic!("the pod is not replaced");
}

#[test]
fn a_container_that_crashed_once_is_left_to_the_kubelet() {
    let mut sim = running();
    let now = sim.world.now;
    sim.world.pods[0].running_since = None;
    sim.world.pods[0].terminated =
        Some(Terminated { reason: "Error".into(), exit_code: 1, message: String::new(), at: now });
    sim.look();
    assert_eq!(sim.take(), Vec::<String>::new());
    assert_eq!(sim.state(), JobState::Restarting);
}

#[test]
fn a_pod_is_replaced_when_the_kubelet_would_wait_longer_than_we_would() {
    let mut sim = running();
    crash(&mut sim, 1, 1);
    sim.look();
    assert_eq!(sim.take(), ["!Restarted"], "1 s of ours is not over");
    sim.pass(1);
    sim.look();
    assert_eq!(sim.take(), ["delete q5-0 as dead", "!Crashed"], "the kubelet would wait 9 s more");
    sim.settle();
    let by_reason = &sim.world.status.restarts_by_reason;
    assert_eq!(by_reason.iter().map(|(reason, n)| (reason.as_str(), *n)).collect::<Vec<_>>(), [("crashed", 2)]);
    assert_eq!(sim.world.status.restarts, Some(2), "the kubelet's, and ours");
    let failure = sim.world.status.last_failure.clone().unwrap();
    assert_eq!(
        (failure.reason.as_str(), failure.exit_code, failure.pod.as_deref()),
        ("crashed", Some(1), Some("q5-0"))
    );
}

#[test]
fn our_own_back_off_grows_and_failures_in_a_row_degrade() {
    let mut sim = running();
    for (nth, wait) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 60), (8, 60)] {
        crash(&mut sim, 1, 5);
        assert_eq!(seconds_to_replacement(&mut sim), wait, "failure {nth}");
        assert_eq!(sim.condition("Degraded").0 == "True", nth >= 3, "failure {nth}");
        sim.settle_pods();
    }
    sim.settle();
    sim.pass(601);
    crash(&mut sim, 1, 1);
    sim.look();
    assert_eq!(sim.world.memory.back_off.failures, 1, "a time without failure begins anew");
}

#[test]
fn a_job_that_completes_checkpoints_between_its_failures_does_not_wait_longer_each_time() {
    let mut sim = running();
    for nth in 1..=50 {
        crash(&mut sim, 137, 1);
        assert_eq!(seconds_to_replacement(&mut sim), 1, "failure {nth}");
        sim.settle_pods();
        sim.look();
        sim.pass(2);
    }
    assert_eq!(sim.world.memory.back_off.failures, 50, "the budget has them all");
}

#[test]
fn a_checkpoint_that_is_seen_only_after_the_next_failure_counts_as_well() {
    let mut sim = running();
    crash(&mut sim, 137, 1);
    assert_eq!(seconds_to_replacement(&mut sim), 1);
    sim.settle_pods();
    sim.pass(5);
    let between = sim.world.now;
    sim.pass(1);
    crash(&mut sim, 137, 1);
    assert_eq!(seconds_to_replacement(&mut sim), 2, "nobody knows of a checkpoint");
    sim.settle_pods();
    sim.checkpoints_at = Some(between);
    sim.look();
    sim.pass(1);
    crash(&mut sim, 137, 1);
    assert_eq!(seconds_to_replacement(&mut sim), 2, "one failure before it, one after, and this one");
}

#[test]
fn after_a_failure_the_next_checkpoint_is_looked_out_for() {
    let mut sim = running();
    assert_eq!(sim.look().again, seconds(5));
    crash(&mut sim, 137, 1);
    seconds_to_replacement(&mut sim);
    sim.checkpoints = false;
    sim.settle_pods();
    assert!(sim.look().again <= seconds(1), "the next failure may be soon");
    sim.checkpoints = true;
    assert_eq!(sim.look().again, seconds(5));
}

#[test]
fn a_container_that_starts_again_about_as_soon_as_a_pod_would_is_kept() {
    let mut sim = running();
    crash(&mut sim, 1, 1);
    sim.world.pods[0].waiting.as_mut().unwrap().message = "back-off 4s restarting failed container=weir".into();
    for _ in 0..4 {
        sim.look();
        sim.pass(1);
    }
    assert_eq!(sim.take(), ["!Restarted"], "after 1 s of ours, the kubelet waits 3 s more");
}

#[test]
fn back_offs_double_and_have_a_bound() {
    let sim = running();
    let restart = sim.world.deployed.as_ref().unwrap().resolved.as_ref().unwrap().restart.clone();
    let delays: Vec<u64> = (1..=8).map(|n| BackOff::delay(n, &restart).as_secs()).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!([1, 2, 6, 99].map(|restarts| BackOff::kubelet(restarts, "")), [10, 20, 300, 300].map(seconds));
    for (said, expected) in [
        ("back-off 1m20s restarting failed container=weir pod=q5-0_team-a(0b5e)", 80),
        ("back-off 5m0s restarting failed container=weir", 300),
        ("back-off a while", 10),
    ] {
        assert_eq!(BackOff::kubelet(1, said), seconds(expected), "{said}");
    }
}

#[test]
fn the_budget_ends_in_failed_with_what_to_do() {
    let mut sim = Sim::new(json!({ "restart": { "budget": 0 } }));
    sim.settle();
    sim.take();
    crash(&mut sim, 1, 0);
    sim.look();
    assert_eq!(sim.take(), ["deploy 2 x0", "!Failed"]);
    assert_eq!(sim.state(), JobState::Failed);
    assert_eq!(sim.condition("Degraded"), ("True".into(), "RestartBudgetExhausted".into()));
}

#[test]
fn the_budget_counts_checkpoints_or_not() {
    let mut sim = Sim::new(json!({ "restart": { "budget": 2 } }));
    sim.settle();
    for _ in 0..2 {
        crash(&mut sim, 1, 1);
        seconds_to_replacement(&mut sim);
        sim.settle();
    }
    sim.take();
    crash(&mut sim, 1, 1);
    sim.look();
    assert!(sim.take().contains(&"!Failed".to_owned()));
    assert_eq!(sim.condition("Degraded"), ("True".into(), "RestartBudgetExhausted".into()));
}

#[test]
fn a_crash_counts_also_if_the_kubelet_is_faster_than_the_look() {
    let mut sim = Sim::new(json!({ "restart": { "budget": 1 } }));
    sim.settle();
    sim.take();
    crash_unseen(&mut sim);
    sim.look();
    assert_eq!((sim.state(), sim.world.memory.back_off.failures), (JobState::Running, 1));
    sim.look();
    assert_eq!(sim.world.memory.back_off.failures, 1, "once");
    crash_unseen(&mut sim);
    sim.look();
    assert_eq!(sim.state(), JobState::Failed);
}

#[test]
fn what_crashed_before_this_operator_came_ends_nothing_that_runs() {
    let mut sim = Sim::new(json!({ "restart": { "budget": 0 } }));
    sim.settle();
    crash_unseen(&mut sim);
    sim.world.memory = Memory::default();
    sim.look();
    assert_eq!(sim.state(), JobState::Running);
}
