//! Watches that bring events late, twice or not at all; and an API server that answers with errors.

use tokio::task::JoinSet;

use crate::life::{phases, undisturbed};
use crate::on_stage;
use crate::proxy::{Errors, Side, Watches};
use crate::scene::{Scene, Stage};

/// One life from beginning to end, with whatever `disturb` does to the proxy.
async fn live(stage: &'static Stage, name: String, disturb: impl FnOnce(&mut Scene)) {
    let expected = undisturbed(stage).await;
    let mut scene = Scene::new(stage, &name).await;
    disturb(&mut scene);
    scene.start_operator();
    for (phase, expected) in phases().iter().zip(expected) {
        scene.act(&phase.act).await;
        scene.reach(phase, expected).await;
    }
}

#[test]
fn events_that_are_late_doubled_or_lost_change_nothing() {
    on_stage(async |stage| {
        let mut lives = JoinSet::new();
        for watches in [Watches::Delayed, Watches::Duplicated, Watches::Dropped] {
            let name = format!("watches-{watches:?}").to_lowercase();
            lives.spawn(live(stage, name, move |scene| scene.proxy.watches(watches)));
        }
        while let Some(ended) = lives.join_next().await {
            ended.unwrap();
        }
    });
}

#[test]
fn an_api_server_that_answers_with_errors_changes_nothing() {
    on_stage(async |stage| {
        let mut lives = JoinSet::new();
        for code in [409, 410, 429, 500] {
            for side in [Side::Before, Side::After] {
                let name = format!("errors-{code}-{side:?}").to_lowercase();
                lives.spawn(live(stage, name, move |scene| {
                    // A certificate whose Secret was created may be taken for one that was not.
                    scene.spare_certificates = usize::MAX - 1;
                    scene.proxy.errors(Some(Errors { code, every: EVERY, side }));
                }));
            }
        }
        while let Some(ended) = lives.join_next().await {
            ended.unwrap();
        }
    });
}

/// Each so many requests fail: a prime, so that it is not always the same ones.
const EVERY: u64 = 7;
