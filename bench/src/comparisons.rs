//! Weir against a loop that does the same work: each side is a leg, a process of its own. Legs are interleaved over
//! several rounds, because machines are shared and noisy; a result is a ratio of medians.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::cgroup::Cgroup;
use crate::figure::{Bar, Figure, median};
use crate::harness::Context;
use crate::legs::keyed_large;
use crate::usage::Measured;

/// The allocator as every Weir binary sets it at its start, for both sides.
const ALLOCATOR: &str = "background_thread:true,dirty_decay_ms:3000,muzzy_decay_ms:0";

struct Comparison {
    name: &'static str,
    baseline: &'static str,
    /// Each with its bar.
    legs: &'static [(&'static str, Bar)],
    /// Limit of each leg's cgroup in bytes, page cache included.
    memory: Option<u64>,
}

/// A leg was killed because its cgroup had no memory left.
#[derive(Debug, thiserror::Error)]
#[error("leg {leg} was killed: it needs more than {mib} MiB")]
struct OutOfMemory {
    leg: String,
    mib: u64,
}

/// A leg that does not live within its memory is measured with so many times as much, so that there is a figure; the
/// bar is missed all the same.
const ALLOWANCES: [u64; 4] = [1, 2, 3, 4];

/// Source → map → filter → sink in one chain.
pub fn pass_through(ctx: &Context) -> Result<Vec<Figure>> {
    let legs = &[("pass-through/weir", Bar::RatioAtLeast(0.8))];
    compare(ctx, &Comparison { name: "pass-through", baseline: "pass-through/loop", legs, memory: None })
}

/// Hash exchange between two subtasks.
pub fn exchange(ctx: &Context) -> Result<Vec<Figure>> {
    let legs = &[("exchange/weir", Bar::DifferenceAtMost(60.0))];
    compare(ctx, &Comparison { name: "exchange", baseline: "exchange/loop", legs, memory: None })
}

/// A running count per key that fits in memory.
pub fn keyed_count_cached(ctx: &Context) -> Result<Vec<Figure>> {
    let legs = &[
        ("keyed-count-cached/weir-10s", Bar::RatioAtLeast(0.35)),
        ("keyed-count-cached/weir-1s", Bar::RatioAtLeast(0.15)),
    ];
    compare(ctx, &Comparison { name: "keyed-count-cached", baseline: "keyed-count-cached/loop", legs, memory: None })
}

/// A running count per key, ten times larger than memory.
pub fn keyed_count_large(ctx: &Context) -> Result<Vec<Figure>> {
    let legs = &[("keyed-count-large/weir", Bar::RatioAtLeast(1.5))];
    let memory = Some(keyed_large::memory(ctx.scale));
    let comparison = Comparison { name: "keyed-count-large", baseline: "keyed-count-large/loop", legs, memory };
    compare_within(ctx, &comparison)
}

fn compare_within(ctx: &Context, comparison: &Comparison) -> Result<Vec<Figure>> {
    let mut refused = None;
    for times in ALLOWANCES {
        let memory = comparison.memory.map(|bytes| bytes * times);
        match compare(ctx, &Comparison { memory, ..*comparison }) {
            Ok(mut figures) => {
                for figure in &mut figures {
                    figure.met = figure.met.map(|met| met && times == 1);
                    figure.more.insert("cgroup_bytes".to_owned(), memory.into());
                    figure.more.insert("cgroup_over_worker_memory".to_owned(), times.into());
                }
                return Ok(figures);
            }
            Err(error) if error.is::<OutOfMemory>() => {
                eprintln!("{error}");
                refused = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.expect("there are allowances"))
}

fn compare(ctx: &Context, comparison: &Comparison) -> Result<Vec<Figure>> {
    let mut measured: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
    for round in 1..=ctx.rounds.max(1) {
        for leg in comparison.legs.iter().map(|(leg, _)| *leg).chain([comparison.baseline]) {
            eprint!("round {round}/{}: {leg} … ", ctx.rounds);
            let one = run_leg(leg, ctx.scale, comparison.memory)?;
            eprintln!(
                "{:.2} M records per CPU-second in {:.1} s, at most {:.0} MiB",
                one.per_cpu_second() / 1e6,
                one.wall_s,
                one.peak_rss_mib
            );
            measured.entry(leg).or_default().push(one);
        }
    }
    let theirs = &measured[comparison.baseline];
    Ok(comparison.legs.iter().map(|(leg, bar)| figure(comparison.name, leg, *bar, &measured[leg], theirs)).collect())
}

fn run_leg(leg: &str, scale: f64, memory: Option<u64>) -> Result<Measured> {
    let cgroup = memory.map(Cgroup::with_memory).transpose()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env("MALLOC_CONF", ALLOCATOR);
    command.args(["--leg", leg, "--scale", &scale.to_string()]);
    if let Some(cgroup) = &cgroup {
        command = cgroup.enter(&command);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        if cgroup.is_some_and(|cgroup| cgroup.oom_kills() > 0) {
            return Err(OutOfMemory { leg: leg.to_owned(), mib: memory.unwrap_or(0) >> 20 }.into());
        }
        bail!("leg {leg} failed with {}", output.status);
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("leg {leg} printed something else than a measurement"))
}

fn figure(name: &'static str, leg: &str, bar: Bar, ours: &[Measured], theirs: &[Measured]) -> Figure {
    let same = |one: &Measured| one.checksum == theirs[0].checksum && one.records == theirs[0].records;
    let verified = ours.iter().chain(theirs).all(same);
    let per_record = |side: &[Measured]| median(side.iter().map(|one| one.cpu_s * 1e9 / one.records as f64));
    let (value, baseline) = (per_record(ours), per_record(theirs));
    let per_second = |side: &[Measured]| median(side.iter().map(|one| one.records as f64 / one.wall_s));
    let peak = |side: &[Measured]| median(side.iter().map(|one| one.peak_rss_mib));
    let figure = Figure::new(name, leg, value, "ns CPU per record", verified)
        .beside(baseline)
        .ratio(baseline / value)
        .against(bar)
        .with("overhead_ns", value - baseline)
        .with("records_per_second", per_second(ours))
        .with("baseline_records_per_second", per_second(theirs))
        .with("peak_rss_mib", peak(ours))
        .with("baseline_peak_rss_mib", peak(theirs));
    ours.iter().flat_map(|one| one.more.clone()).fold(figure, |figure, (name, value)| figure.with(&name, value))
}
