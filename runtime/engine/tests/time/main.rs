//! Event time, processing time and expiry over crashes, restores, idleness and the end of input, with a clock that the test
//! moves.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as no tests")]

mod flow;

mod batches;
mod clock;
mod ending;
mod expiry;
mod idleness;
mod restore;

use std::time::Duration;

use flow::Rec;
use weir_engine::operators::aggregate::Count;
use weir_engine::stream::Stream;
use weir_engine::time::WatermarkStrategy;
use weir_engine::window::Tumbling;

const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: i64 = 3_600_000;

fn ascending() -> WatermarkStrategy<Rec> {
    WatermarkStrategy::ascending(|record: &Rec| record.1)
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// (start, records) of windows of 50 ms over all keys, from an operator called `window`.
fn windows(stream: &Stream<Rec>) -> Stream<(i64, u64)> {
    let counted = stream.key_by(|_| 0u64).window(Tumbling::of(millis(50))).aggregate("window", Count::new());
    counted.map(|windowed| (windowed.window.start, windowed.value))
}
