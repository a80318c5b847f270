//! A running count per key over a million zipf keys, against a plain hash-map loop over the same keys. The keys are made
//! before the measurement on both sides; background work is inside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Result;
use weir_engine::operators::aggregate::Count;
use weir_engine::time::WatermarkStrategy;

use crate::job::{Checksum, JobPlan, Numbers, run};
use crate::legs::scaled;
use crate::usage::{Measured, Meter};
use crate::zipf::zipf_keys;

const RECORDS: u64 = 400_000_000;
/// Keys that are drawn; the input repeats them.
const DRAWN: usize = 1 << 24;
const KEYS: u64 = 1_000_000;

static POOL: OnceLock<Vec<u64>> = OnceLock::new();

fn pool() -> &'static [u64] {
    POOL.get_or_init(|| zipf_keys(DRAWN, KEYS, 0.99, 7))
}

fn checksum(counts: &[(u64, u64)]) -> u64 {
    counts.iter().fold(0, |sum: u64, &(key, count)| sum.wrapping_add(key ^ count))
}

/// As a job, with this checkpoint interval.
pub fn weir(scale: f64, interval: &'static str) -> Result<Measured> {
    let records = scaled(RECORDS, scale);
    let keys = pool();
    let dir = tempfile::tempdir()?;
    let total = Arc::new(AtomicU64::new(0));
    let sum = total.clone();
    let meter = Meter::start();
    run(&JobPlan { interval, ..JobPlan::default() }, dir.path(), move |graph| {
        let source = Numbers::new(records, 1, move |number| keys[number as usize % DRAWN]);
        graph
            .source("keys", source, WatermarkStrategy::none())
            .key_by(|key| *key)
            .aggregate("count", Count::new())
            .sink("out", Checksum::new(sum.clone(), checksum));
    })?;
    Ok(meter.stop(records, total.load(Ordering::Relaxed)))
}

/// As a loop: hashbrown with foldhash.
pub fn plain(scale: f64) -> Result<Measured> {
    let records = scaled(RECORDS, scale);
    let keys = pool();
    let meter = Meter::start();
    let mut counts: hashbrown::HashMap<u64, u64, _> =
        hashbrown::HashMap::with_hasher(foldhash::fast::RandomState::default());
    let mut total = 0u64;
    for number in 0..records {
        let key = keys[number as usize % DRAWN];
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        total = total.wrapping_add(key ^ *count);
    }
    Ok(meter.stop(records, total))
}
