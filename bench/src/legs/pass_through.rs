//! Source → map → filter → sink in one chain, against the same as a plain loop over the same generator.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use weir_connectors::nexmark::{Bid, NexmarkBids, NexmarkConfig};
use weir_engine::source::{Progress, Source};
use weir_engine::time::WatermarkStrategy;

use crate::job::{Checksum, JobPlan, run};
use crate::legs::scaled;
use crate::usage::{Measured, Meter};

const EVENTS: u64 = 60_000_000;

type Row = (u64, u64, u64, i64);

fn convert(bid: Bid) -> Row {
    (bid.auction, bid.bidder, bid.price * 908 / 1000, bid.date_time)
}

fn keep(row: &Row) -> bool {
    !row.0.is_multiple_of(4)
}

fn checksum(rows: &[Row]) -> u64 {
    rows.iter().fold(0, |sum: u64, row| {
        sum.wrapping_add(row.0 ^ row.1.rotate_left(16) ^ row.2.rotate_left(32)).wrapping_add(row.3 as u64)
    })
}

fn config(events: u64) -> NexmarkConfig {
    NexmarkConfig { events: Some(events), splits: 1, ..NexmarkConfig::default() }
}

/// As a job.
pub fn weir(scale: f64) -> Result<Measured> {
    let events = scaled(EVENTS, scale);
    let dir = tempfile::tempdir()?;
    let total = Arc::new(AtomicU64::new(0));
    let sum = total.clone();
    let meter = Meter::start();
    run(&JobPlan::default(), dir.path(), move |graph| {
        let source = NexmarkBids::new(config(events)).expect("a valid configuration");
        let bids = graph.source("bids", source, WatermarkStrategy::bounded(|bid: &Bid| bid.date_time, Duration::ZERO));
        bids.map(convert).filter(keep).sink("out", Checksum::new(sum.clone(), checksum));
    })?;
    Ok(meter.stop(events / 50 * 46, total.load(Ordering::Relaxed)))
}

/// As a loop: a batch is generated, mapped, filtered and summed.
pub fn plain(scale: f64) -> Result<Measured> {
    let events = scaled(EVENTS, scale);
    let source = NexmarkBids::new(config(events))?;
    let split = source.discover()?.remove(0);
    let mut reader = source.open(&split, None)?;
    let meter = Meter::start();
    let (mut bids, mut rows, mut total) = (Vec::new(), Vec::new(), 0u64);
    loop {
        let progress = reader.read(1024, &mut bids)?;
        rows.clear();
        rows.extend(bids.drain(..).map(convert).filter(keep));
        total = total.wrapping_add(checksum(&rows));
        if progress == Progress::End {
            break;
        }
    }
    Ok(meter.stop(events / 50 * 46, total))
}
