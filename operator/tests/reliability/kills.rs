//! The operator is killed at each of its writes, before it reaches the API server and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::life::{phases, undisturbed};
use crate::on_stage;
use crate::proxy::Side;
use crate::scene::{Scene, Stage};

/// Lives at once.
fn at_once() -> usize {
    std::env::var("WEIR_OPERATOR_AT_ONCE").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Whether both sides of each write are taken.
fn is_long() -> bool {
    std::env::var("WEIR_OPERATOR_KILLS").is_ok_and(|text| text == "all")
}

/// One life with a kill at the `at`-th write of each phase. Answers the phases that had so many writes.
async fn live(stage: &'static Stage, at: u64, side: Side) -> Vec<&'static str> {
    let expected = undisturbed(stage).await;
    let name = format!("kill-{at}-{}", if side == Side::Before { "before" } else { "after" });
    let mut scene = Scene::new(stage, &name).await;
    let mut struck = Vec::new();
    for (phase, expected) in phases().iter().zip(expected) {
        scene.kill_at(at, side);
        // A certificate may be issued by the operator that is killed, and again by the next.
        scene.spare_certificates += 1;
        if scene.operator.lock().is_none() {
            scene.start_operator();
        }
        scene.act(&phase.act).await;
        scene.reach(phase, expected).await;
        if let Some(writes) = scene.proxy.unstruck() {
            // Which statuses are written together is a matter of time: this life had fewer writes here than another may have.
            assert!(writes < at, "{name}, {}: not killed at one of {writes} writes", phase.name);
        } else {
            struck.push(phase.name);
        }
    }
    struck
}

#[test]
fn an_operator_that_is_killed_at_any_write_ends_where_an_undisturbed_one_does() {
    on_stage(async |stage| {
        undisturbed(stage).await;
        let room = Arc::new(Semaphore::new(at_once()));
        let reached: Arc<Mutex<BTreeMap<&str, Vec<u64>>>> = Arc::default();
        let sides = if is_long() { 2 } else { 1 };
        let mut lives = JoinSet::new();
        let mut at = 0;
        // On until a life had no phase with so many writes.
        loop {
            at += 1;
            let mut none_struck = false;
            for turn in 0..sides {
                let side = if (at + turn) % 2 == 0 { Side::Before } else { Side::After };
                let permit = room.clone().acquire_owned().await.unwrap();
                let reached = reached.clone();
                lives.spawn(async move {
                    let struck = live(stage, at, side).await;
                    println!("killed at write {at}, {side:?} it, in {}", struck.join(", "));
                    for phase in &struck {
                        reached.lock().entry(phase).or_default().push(at);
                    }
                    drop(permit);
                    struck.is_empty()
                });
                while let Some(ended) = lives.try_join_next() {
                    none_struck |= ended.unwrap();
                }
            }
            if none_struck {
                break;
            }
        }
        while let Some(ended) = lives.join_next().await {
            ended.unwrap();
        }
        let reached = reached.lock();
        for phase in phases() {
            let mut writes = reached.get(phase.name).cloned().unwrap_or_default();
            writes.sort_unstable();
            writes.dedup();
            println!("{}: killed at writes {writes:?}", phase.name);
            assert!(!writes.is_empty(), "nothing was written in {}", phase.name);
        }
    });
}
