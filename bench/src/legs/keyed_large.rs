//! A running count per key, uniform keys, over a state ten times as large as the process's memory: as a job, and as the
//! loop that one would write by hand over a RocksDB with the same options. Both run in a cgroup of that memory.
//!
//! First every key is written once, in an order that RocksDB does not like; then keys are drawn until compaction is
//! steady; only what follows is measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use weir_engine::operators::aggregate::Count;
use weir_engine::time::WatermarkStrategy;
use weir_state::RocksTuning;

use crate::job::{Checksum, JobPlan, Numbers, run};
use crate::usage::{Measured, Meter};
use crate::zipf::mix;

#[path = "../../../runtime/state/examples/support/bare_loop.rs"]
mod bare_loop;

use bare_loop::BareLoop;

const KEYS: u64 = 100_000_000;
/// What one key takes in a compacted file, roughly.
const BYTES_OF_KEY: u64 = 26;
const STATE_OVER_MEMORY: u64 = 10;
/// The least that `worker.memory` may be.
const LEAST_MEMORY: u64 = 64 << 20;
const BATCH: usize = 4096;
/// A prime above every number of keys: multiplying by it visits all of them in a scattered order.
const SCATTER: u64 = 1_000_000_007;

fn keys(scale: f64) -> u64 {
    ((KEYS as f64 * scale) as u64).max(10_000)
}

/// `worker.memory`, and the limit of the cgroup.
pub fn memory(scale: f64) -> u64 {
    (keys(scale) * BYTES_OF_KEY / STATE_OVER_MEMORY).max(LEAST_MEMORY)
}

/// What is counted: `fill` keys once each, then drawn ones, of which those from `measured` on count.
#[derive(Clone, Copy)]
struct Plan {
    keys: u64,
    measured: u64,
    end: u64,
}

impl Plan {
    fn new(scale: f64) -> Self {
        let keys = keys(scale);
        let measured = keys + keys / 4;
        Self { keys, measured, end: measured + keys / 2 }
    }

    fn key(self, number: u64) -> u64 {
        if number < self.keys {
            return number * SCATTER % self.keys;
        }
        ((u128::from(mix(number)) * u128::from(self.keys)) >> 64) as u64
    }

    fn finish(self, meter: &OnceLock<Meter>, checksum: u64, scale: f64) -> Measured {
        let meter = meter.get().copied().unwrap_or_else(Meter::start);
        let mut measured = meter.stop(self.end - self.measured, checksum);
        measured.more.insert("keys".to_owned(), self.keys.into());
        measured.more.insert("memory_bytes".to_owned(), memory(scale).into());
        measured
    }
}

fn checksum(counts: &[(u64, u64)]) -> u64 {
    counts.iter().fold(0, |sum: u64, &(key, count)| sum.wrapping_add(mix(key ^ (count << 40))))
}

/// As a job with a checkpoint every 10 seconds.
pub fn weir(scale: f64) -> Result<Measured> {
    let plan = Plan::new(scale);
    let dir = tempfile::tempdir()?;
    let total = Arc::new(AtomicU64::new(0));
    let meter = Arc::new(OnceLock::new());
    let (sum, started) = (total.clone(), meter.clone());
    run(&JobPlan { memory: memory(scale), ..JobPlan::default() }, dir.path(), move |graph| {
        let started = started.clone();
        let source = Numbers::new(plan.end, 1, move |number| {
            if number == plan.measured {
                started.get_or_init(Meter::start);
            }
            plan.key(number)
        });
        graph
            .source("keys", source, WatermarkStrategy::none())
            .key_by(|key| *key)
            .aggregate("count", Count::new())
            .sink("out", Checksum::new(sum.clone(), checksum));
    })?;
    Ok(plan.finish(&meter, total.load(Ordering::Relaxed), scale))
}

/// As a loop: a batch of keys is read together and written together, without a log.
pub fn plain(scale: f64) -> Result<Measured> {
    let plan = Plan::new(scale);
    let dir = tempfile::tempdir()?;
    // A quarter of the memory for what is being written: two buffers, as RocksDB has by default.
    let mut counts = BareLoop::open(dir.path(), &RocksTuning::default(), memory(scale) as usize / 8);
    let meter = OnceLock::new();
    let (mut total, mut number, mut keys, mut out) = (0u64, 0, Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    while number < plan.end {
        let end = (number + BATCH as u64).min(plan.end);
        if end > plan.measured {
            meter.get_or_init(Meter::start);
        }
        keys.clear();
        keys.extend((number..end).map(|number| plan.key(number)));
        out.clear();
        counts.add(&keys, |key, count| out.push((key, count)));
        total = total.wrapping_add(checksum(&out));
        number = end;
    }
    Ok(plan.finish(&meter, total, scale))
}
