//! `weir inspect impact`: what checkpoints cost a job's speed, measured and by the model. Pure.
//!
//! *Model*: slowdown = (checkpoint time / interval) × (state written / throughput). The first factor is the share of time
//! in which a checkpoint is under way. In the second one, state written is what a checkpoint uploads per second while it
//! is under way, and throughput what the storage takes per second while it is being uploaded to; so the product is the
//! share of time spent writing state, which is what checkpoints would cost if nothing were done meanwhile.
//!
//! *Measured*: the report's samples say how many records passed in each stretch of time, and how much of the stretch a
//! checkpoint was under way. A straight line through these points (least squares) gives the rate without checkpoints and
//! how far it falls with one; its standard error says whether that is more than noise.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::model::History;
use crate::report::{Report, Sample, TakenCheckpoint};
use crate::show;

/// Samples below which nothing is said about the measured slowdown.
const LEAST_SAMPLES: usize = 8;

/// What checkpoints cost. Shares are between 0 and 1; `None` is what the report or the bucket do not tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Impact {
    /// Completed checkpoints of the run.
    pub checkpoints: u64,
    /// Mean time from trigger to completion, in seconds.
    pub checkpoint_seconds: Option<f64>,
    /// Mean time from one completion to the next, in seconds.
    pub interval_seconds: Option<f64>,
    /// Mean bytes uploaded for a checkpoint.
    pub bytes_written: Option<f64>,
    /// Bytes per second that the storage took while a checkpoint was uploaded.
    pub storage_bytes_per_second: Option<f64>,
    /// Checkpoint time / interval.
    pub time_share: Option<f64>,
    /// State written / throughput.
    pub write_share: Option<f64>,
    /// The product of the two: the slowdown that the model foretells.
    pub model: Option<f64>,
    /// Records per second without a checkpoint.
    pub rate_without: Option<f64>,
    /// Records per second while one is under way.
    pub rate_with: Option<f64>,
    /// The slowdown that was measured over the whole run.
    pub measured: Option<f64>,
    /// The standard error of `measured`.
    pub measured_error: Option<f64>,
    /// Records per second of the other report.
    pub baseline_rate: Option<f64>,
    /// The slowdown against the other report.
    pub against_baseline: Option<f64>,
}

/// Puts measurement and model side by side. `baseline` is the report of a run without checkpoints.
pub fn impact(report: &Report, history: &History, baseline: Option<&Report>) -> Impact {
    let taken = &report.checkpoints.taken;
    let mut impact = Impact { checkpoints: report.checkpoints.completed, ..Impact::default() };
    model(&mut impact, taken, history);
    measure(&mut impact, &report.samples, taken);
    let rate = |report: &Report| (report.wall_seconds > 0.0).then(|| report.records_in as f64 / report.wall_seconds);
    if let Some(other) = baseline.and_then(rate).filter(|rate| *rate > 0.0) {
        impact.baseline_rate = Some(other);
        impact.against_baseline = rate(report).map(|rate| 1.0 - rate / other);
    }
    impact
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

fn model(impact: &mut Impact, taken: &[TakenCheckpoint], history: &History) {
    impact.checkpoint_seconds = mean(taken.iter().map(|one| one.duration_ms as f64 / 1e3));
    impact.bytes_written = mean(taken.iter().map(|one| one.bytes_incremental as f64));
    impact.interval_seconds =
        mean(taken.windows(2).map(|pair| (pair[1].completed_at - pair[0].completed_at) as f64 / 1e3));
    impact.storage_bytes_per_second = storage_throughput(taken, history);
    impact.time_share = ratio(impact.checkpoint_seconds, impact.interval_seconds);
    let written_per_second = ratio(impact.bytes_written, impact.checkpoint_seconds);
    impact.write_share = ratio(written_per_second, impact.storage_bytes_per_second);
    impact.model = impact.time_share.zip(impact.write_share).map(|(time, write)| time * write);
}

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.zip(other).filter(|(_, other)| *other > 0.0).map(|(one, other)| one / other)
}

/// From the timelines of the run's checkpoints that are still retained. Subtasks upload at the same time, so the longest
/// upload of a checkpoint stands for all of them.
fn storage_throughput(taken: &[TakenCheckpoint], history: &History) -> Option<f64> {
    let ids: BTreeMap<u64, u64> = taken.iter().map(|one| (one.id, one.bytes_incremental)).collect();
    let (mut bytes, mut seconds) = (0.0, 0.0);
    for checkpoint in &history.checkpoints {
        let (Some(written), Ok(manifest)) = (ids.get(&checkpoint.entry.id.0), &checkpoint.manifest) else { continue };
        let longest = manifest.timeline.iter().map(|subtask| subtask.upload_us).max().unwrap_or(0);
        if longest > 0 {
            bytes += *written as f64;
            seconds += longest as f64 / 1e6;
        }
    }
    (seconds > 0.0 && bytes > 0.0).then(|| bytes / seconds)
}

fn measure(impact: &mut Impact, samples: &[Sample], taken: &[TakenCheckpoint]) {
    let spans: Vec<(i64, i64)> = taken
        .iter()
        .map(|one| (one.completed_at - i64::try_from(one.duration_ms).unwrap_or(i64::MAX), one.completed_at))
        .collect();
    // Start-up and the drained end are no steady state.
    let inner = samples.get(1..samples.len().saturating_sub(1)).unwrap_or_default();
    let points: Vec<Point> =
        inner.iter().filter(|sample| sample.to > sample.from).map(|sample| point(sample, &spans)).collect();
    let Some(line) = fit(&points) else { return };
    if line.at_zero <= 0.0 {
        return;
    }
    impact.rate_without = Some(line.at_zero);
    impact.rate_with = Some(line.at_zero + line.slope);
    impact.measured = Some(-line.slope / line.at_zero * line.covered);
    impact.measured_error = Some(line.slope_error / line.at_zero * line.covered);
}

/// A sample: its length in seconds, the share of it in which a checkpoint was under way, and its records per second.
struct Point {
    length: f64,
    share: f64,
    rate: f64,
}

fn point(sample: &Sample, spans: &[(i64, i64)]) -> Point {
    let length = (sample.to - sample.from) as f64;
    let first = spans.partition_point(|(_, end)| *end < sample.from);
    let overlap: i64 = spans[first..]
        .iter()
        .take_while(|(start, _)| *start < sample.to)
        .map(|(start, end)| (*end.min(&sample.to) - *start.max(&sample.from)).max(0))
        .sum();
    Point {
        length: length / 1e3,
        share: (overlap as f64 / length).min(1.0),
        rate: sample.records_in as f64 / length * 1e3,
    }
}

/// A straight line through points.
struct Line {
    at_zero: f64,
    slope: f64,
    slope_error: f64,
    /// The mean share of time in which a checkpoint was under way.
    covered: f64,
}

/// Least squares, each point weighted by its length; `None` if there are too few points, or they do not differ in x.
fn fit(points: &[Point]) -> Option<Line> {
    if points.len() < LEAST_SAMPLES {
        return None;
    }
    let sum = |of: &dyn Fn(&Point) -> f64| points.iter().map(|point| point.length * of(point)).sum::<f64>();
    let total = sum(&|_| 1.0);
    let covered = sum(&|point| point.share) / total;
    let mean_rate = sum(&|point| point.rate) / total;
    let spread = sum(&|point| (point.share - covered).powi(2));
    if spread <= f64::EPSILON {
        return None;
    }
    let slope = sum(&|point| (point.share - covered) * (point.rate - mean_rate)) / spread;
    let at_zero = mean_rate - slope * covered;
    let residue = sum(&|point| (point.rate - at_zero - slope * point.share).powi(2));
    Some(Line { at_zero, slope, slope_error: (residue / (points.len() as f64 - 2.0) / spread).sqrt(), covered })
}

impl Impact {
    /// Both as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.render_into(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn render_into(&self, text: &mut String) -> std::fmt::Result {
        let known =
            |value: Option<f64>, shown: &dyn Fn(f64) -> String| value.map_or_else(|| "not known".to_owned(), shown);
        let seconds = |value: f64| show::micros((value * 1e6) as u64);
        let bytes = |value: f64| show::bytes(value as u64);
        let rate = |value: f64| format!("{} records/s", show::quantity(value));
        writeln!(text, "model: slowdown = (checkpoint time / interval) x (state written / throughput)")?;
        writeln!(text, "  checkpoint time   {}", known(self.checkpoint_seconds, &seconds))?;
        writeln!(text, "  interval          {}", known(self.interval_seconds, &seconds))?;
        writeln!(text, "  state written     {} per checkpoint", known(self.bytes_written, &bytes))?;
        writeln!(
            text,
            "  throughput        {}",
            known(self.storage_bytes_per_second, &|value| format!("{}/s of storage", bytes(value)))
        )?;
        writeln!(
            text,
            "  slowdown          {} x {} = {}",
            known(self.time_share, &show::percent),
            known(self.write_share, &show::percent),
            known(self.model, &show::percent)
        )?;
        writeln!(text, "measured over {}", show::count_of(self.checkpoints, "checkpoint"))?;
        writeln!(text, "  between them      {}", known(self.rate_without, &rate))?;
        writeln!(text, "  during one        {}", known(self.rate_with, &rate))?;
        let error =
            self.measured_error.map(|error| format!(", standard error {}", show::percent(error))).unwrap_or_default();
        writeln!(text, "  slowdown          {}{error}", known(self.measured, &show::percent))?;
        if let (Some(rate_without), Some(slowdown)) = (self.baseline_rate, self.against_baseline) {
            writeln!(text, "against the baseline's {}", rate(rate_without))?;
            writeln!(text, "  slowdown          {}", show::percent(slowdown))?;
        }
        Ok(())
    }
}
