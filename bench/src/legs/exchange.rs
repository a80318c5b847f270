//! Hash exchange of 100-byte records between two subtasks, against the loop that makes, hashes and sums them.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use weir_engine::time::WatermarkStrategy;

use crate::job::{Checksum, JobPlan, Numbers, run};
use crate::legs::scaled;
use crate::usage::{Measured, Meter};

const RECORDS: u64 = 60_000_000;

/// 104 bytes.
type Row = (u64, [u64; 12]);

fn make(number: u64) -> Row {
    let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44;
    (key, [number; 12])
}

fn checksum(rows: &[Row]) -> u64 {
    rows.iter().fold(0, |sum: u64, row| sum.wrapping_add(row.0 ^ row.1[3]))
}

/// As a job with two subtasks per operator.
pub fn weir(scale: f64) -> Result<Measured> {
    let records = scaled(RECORDS, scale);
    let dir = tempfile::tempdir()?;
    let total = Arc::new(AtomicU64::new(0));
    let sum = total.clone();
    let meter = Meter::start();
    run(&JobPlan { slots: 2, ..JobPlan::default() }, dir.path(), move |graph| {
        let rows =
            graph.source("rows", Numbers { records, splits: 2, make, marker: PhantomData }, WatermarkStrategy::none());
        rows.key_by(|row: &Row| row.0).partitioned().sink("out", Checksum::new(sum.clone(), checksum));
    })?;
    Ok(meter.stop(records, total.load(Ordering::Relaxed)))
}

/// As a loop: each record is made, its key hashed and assigned, and it is summed.
pub fn plain(scale: f64) -> Result<Measured> {
    let records = scaled(RECORDS, scale);
    let meter = Meter::start();
    let max = weir_protocol::MaxParallelism::new(128)?;
    let (mut scratch, mut rows, mut total, mut second) = (Vec::new(), Vec::new(), 0u64, 0u64);
    let mut number = 0;
    while number < records {
        let end = (number + 1024).min(records);
        rows.clear();
        rows.extend((number..end).map(make));
        for row in &rows {
            let group = weir_protocol::key_group(weir_state::hash_key(&row.0, &mut scratch), max);
            second += u64::from(weir_protocol::subtask_of(group, max, 2));
        }
        total = total.wrapping_add(checksum(&rows));
        number = end;
    }
    std::hint::black_box(second);
    Ok(meter.stop(records, total))
}
