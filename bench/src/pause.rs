//! What the record path pays for a checkpoint: the synchronous part of every subtask, from the timeline that is stored with
//! the checkpoint, and the longest time without output, beside the same job without checkpoints.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::figure::{Bar, Figure, median, quantile};
use crate::harness::Context;
use crate::state_job::{Phase, Size, StateJob};

const NAME: &str = "checkpoint-pause";
const GIGABYTES: [f64; 3] = [0.1, 1.0, 4.0];
const VALUE_BYTES: u64 = 200;
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 128 << 20;
const SLOTS: u32 = 2;
const INTERVAL: &str = "1s";
const NEVER: &str = "24h";
/// Of one phase.
const SECONDS: f64 = 60.0;
const LEAST_SECONDS: f64 = 8.0;
/// The synchronous part does not grow with the state if at 4 GB it is at most so many times as long as at 0.1 GB.
const NO_GROWTH: f64 = 1.5;

/// Runs the benchmark.
///
/// # Errors
/// When the job fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut p99 = Vec::new();
    for gigabytes in GIGABYTES {
        let (value, more) = at(ctx, gigabytes)?;
        p99.push(value);
        figures.extend(more);
    }
    let (least, most) = (p99[0], p99[p99.len() - 1]);
    let verified = figures.iter().all(|figure| figure.verified);
    let growth = Figure::new(NAME, "sync p99, largest beside smallest", most, "ms", verified);
    figures.push(growth.beside(least).against(Bar::RatioAtMost(NO_GROWTH)));
    Ok(figures)
}

fn at(ctx: &Context, gigabytes: f64) -> Result<(f64, Vec<Figure>)> {
    let memory = ((MEMORY as f64 * ctx.scale) as u64).max(LEAST_MEMORY);
    let mut job = StateJob::in_directory(Size::gigabytes(gigabytes * ctx.scale, VALUE_BYTES), SLOTS, memory)?;
    job.fill()?;
    let time = Duration::from_secs_f64((SECONDS * ctx.scale).max(LEAST_SECONDS));
    // After a restore, as the phases that follow.
    let most = job.phase(None, INTERVAL, time / 2)?.rate();
    let half = Some((most / 2.0) as u64);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 1..=ctx.rounds.max(1) {
        without.push(job.phase(half, NEVER, time)?);
        with.push(job.phase(half, INTERVAL, time)?);
        eprintln!(
            "{NAME} {gigabytes} GB round {round}: {:.0} of at most {most:.0} records/s; longest gap {:.1} ms, without {:.1} ms",
            with[round - 1].rate(),
            with[round - 1].longest_gap_ms(),
            without[round - 1].longest_gap_ms()
        );
    }
    let verified = job.is_exact()?;
    let sync = sync_ms(&with);
    ensure!(!sync.is_empty(), "no checkpoint was taken within {time:?}");
    let p99 = quantile(sync.iter().copied(), 0.99);
    let longest = sync.iter().copied().fold(0.0, f64::max);
    let checkpoints: usize = with.iter().map(|phase| phase.checkpoints.0.len()).sum();
    let case = |what: &str| format!("{gigabytes} GB, {what}");
    let gaps = |phases: &[Phase]| median(phases.iter().map(Phase::longest_gap_ms));
    let figures = vec![
        Figure::new(NAME, case("sync p99"), p99, "ms", verified).against(Bar::ValueAtMost(1.0)),
        Figure::new(NAME, case("sync max"), longest, "ms", verified).against(Bar::ValueAtMost(5.0)),
        Figure::new(NAME, case("longest gap in output"), gaps(&with), "ms", verified)
            .beside(gaps(&without))
            .against(Bar::DifferenceAtMost(10.0))
            .with("gaps_ms", with.iter().map(Phase::longest_gap_ms).collect::<Vec<_>>())
            .with("baseline_gaps_ms", without.iter().map(Phase::longest_gap_ms).collect::<Vec<_>>()),
    ];
    let figures = figures.into_iter().map(|figure| {
        let rate = median(with.iter().map(Phase::rate));
        let figure = figure.with("checkpoints", checkpoints).with("sync_parts", sync.len());
        figure.with("records_per_second", rate).with("most_records_per_second", most).with("memory_bytes", memory)
    });
    Ok((p99, figures.collect()))
}

/// Of every subtask of every checkpoint.
fn sync_ms(phases: &[Phase]) -> Vec<f64> {
    let manifests = phases.iter().flat_map(|phase| phase.checkpoints.0.values());
    manifests.flat_map(|manifest| &manifest.timeline).map(|subtask| subtask.sync_us as f64 / 1e3).collect()
}
