//! Two operators: the one that leads is paused, the other takes over, and what the first one had begun must not count.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::life::{phases, undisturbed};
use crate::on_stage;
use crate::operator::Operator;
use crate::proxy::{Blow, Side};
use crate::scene::{Scene, Stage};

/// How long the first operator may take to notice that it does not lead any more.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);

/// One life. At the `at`-th write of the phase `paused` the leader is paused; it goes on when the other one has brought the phase
/// to its end.
async fn live(stage: &'static Stage, paused: &'static str, at: u64, side: Side) {
    let expected = undisturbed(stage).await;
    let mut scene = Scene::new(stage, &format!("paused-{paused}-{at}-{side:?}").to_lowercase()).await;
    scene.spare_certificates = 1;
    scene.start_operator();
    for (phase, expected) in phases().iter().zip(expected) {
        if phase.name == paused {
            let pid = scene.operator.lock().as_ref().unwrap().pid();
            let strike = Box::new(move || kill_process(pid, Signal::STOP).unwrap());
            scene.proxy.arm(Some(Blow { at, side, strike }));
            let mut launch = scene.launch.clone();
            launch.identity = "operator-1".to_owned();
            launch.log.set_extension("second.log");
            let second = Operator::start(&launch);
            *scene.second.lock() = Some((launch, second));
        }
        scene.act(&phase.act).await;
        scene.reach(phase, expected).await;
        let Some((launch, second)) = scene.second.lock().take() else { continue };
        scene.launch = launch;
        assert!(scene.proxy.unstruck().is_none(), "`{paused}` has less than {at} writes");
        // It wakes up, believes for a moment that it leads, and must find out before it writes.
        let mut first = scene.operator.lock().replace(second).unwrap();
        first.signal(Signal::CONT);
        let started = Instant::now();
        while !first.has_ended() {
            assert!(started.elapsed() < NOTICE_LIMIT, "it does not notice that it does not lead any more");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        scene.reach(phase, expected).await;
    }
}

#[test]
fn of_two_operators_one_has_an_effect() {
    on_stage(async |stage| {
        let mut lives = JoinSet::new();
        for (paused, at, side) in [
            ("upgrade", 1, Side::During),
            ("upgrade", 4, Side::Before),
            ("rescale", 2, Side::During),
            ("suspend", 2, Side::During),
            ("restore", 5, Side::During),
            ("delete", 2, Side::Before),
        ] {
            lives.spawn(live(stage, paused, at, side));
        }
        while let Some(ended) = lives.join_next().await {
            ended.unwrap();
        }
    });
}

/// Renewals that must succeed while two of three reads are refused.
const RENEWALS: usize = 5;

#[test]
fn a_leader_outlives_calls_that_fail_now_and_then() {
    on_stage(async |stage| {
        let scene = Scene::new(stage, "lease-refused").await;
        scene.proxy.refuse_lease_reads();
        scene.start_operator();
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases/weir-operator", scene.namespace);
        let mut renewals = BTreeSet::new();
        while renewals.len() < RENEWALS {
            let ended = scene.operator.lock().as_mut().unwrap().has_ended();
            assert!(!ended, "it gave up its leadership after {} renewals", renewals.len());
            let request = http::Request::get(&path).body(Vec::new()).unwrap();
            if let Ok(lease) = stage.server.admin.request::<Value>(request).await {
                renewals.insert(lease["spec"]["renewTime"].to_string());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}
