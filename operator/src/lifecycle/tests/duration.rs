//! How long a decision takes: a measurement, not a test. `cargo test --release --workspace --lib how_long_decisions -- --ignored --nocapture`

use std::time::Instant;

use serde_json::json;

use super::sim::Sim;
use crate::lifecycle::decide;

const DECISIONS: usize = 20_000;

#[test]
#[ignore = "long form: a measurement of 20 000 decisions; its number says nothing on a machine that does other things"]
fn how_long_decisions_take() {
    let mut running = Sim::new(json!({ "args": { "events": 5 } }));
    running.settle();
    running.ask();
    let mut upgrading = Sim::new(json!({}));
    upgrading.settle();
    upgrading.edit(json!({ "args": { "events": 6 } }));
    upgrading.look();
    upgrading.ask();
    let mut crashed = Sim::new(json!({}));
    crashed.settle();
    super::crashes::crash(&mut crashed, 137, 1);
    for (what, world) in [("running", &running.world), ("upgrading", &upgrading.world), ("crashed", &crashed.world)] {
        let mut took: Vec<_> = (0..DECISIONS)
            .map(|_| {
                let begun = Instant::now();
                let plan = decide(world);
                let took = begun.elapsed();
                drop(plan);
                took
            })
            .collect();
        took.sort();
        println!(
            "{what}: p50 {:?}, p99 {:?}, most {:?}",
            took[DECISIONS / 2],
            took[DECISIONS * 99 / 100],
            took[DECISIONS - 1]
        );
    }
}
