//! What a job takes: the smallest one's memory and time to first output, and whether a job whose state is ten times
//! `worker.memory` lives in a cgroup of that size.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use crate::cgroup::Cgroup;
use crate::figure::{Bar, Figure, median};
use crate::harness::Context;
use crate::probe::{Probe, now};
use crate::process::{Binary, Job, quantity};
use crate::state_job::{Size, StateJob};

const NAME: &str = "footprint";
/// How long the smallest job is looked at.
const LOOKED_AT: Duration = Duration::from_secs(5);
/// The least that `worker.memory` may be.
const LEAST_MEMORY: u64 = 64 << 20;
const MEMORY: u64 = 256 << 20;
const STATE_OVER_MEMORY: u64 = 10;
const VALUE_BYTES: u64 = 200;
const SECONDS: f64 = 600.0;
const LEAST_SECONDS: f64 = 20.0;
const FILL: Duration = Duration::from_secs(3600);
/// Memory grows if its mean in the last third of the time is more than so many times that in the first third.
const NO_GROWTH: f64 = 1.1;

/// Runs the benchmark.
///
/// # Errors
/// When a job cannot be started.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let mut figures = smallest(ctx)?;
    figures.extend(confined(ctx)?);
    Ok(figures)
}

/// Bids as they are, at a rate, printed.
fn smallest(ctx: &Context) -> Result<Vec<Figure>> {
    let (mut resident, mut first) = (Vec::new(), Vec::new());
    for _ in 0..ctx.rounds.max(1) {
        let mut job = Job::new(Binary::Weir, "nexmark-q0", json!({"events": 0, "rate": 1000, "splits": 1}))?;
        job.set("worker", "memory", quantity(LEAST_MEMORY));
        let mut running = job.start()?;
        let (started, stdout) = (running.started, job.path("stdout"));
        let ended = running.until("output", Duration::from_secs(30), || {
            Ok((std::fs::metadata(&stdout)?.len() > 0).then(|| started.elapsed()))
        })?;
        first.push(ended.as_secs_f64() * 1e3);
        let mut most = 0;
        while started.elapsed() < LOOKED_AT {
            most = most.max(running.status_bytes("VmRSS"));
            std::thread::sleep(Duration::from_millis(20));
        }
        resident.push(most as f64 / f64::from(1 << 20));
        running.stop()?;
        let text = std::fs::read_to_string(&stdout)?;
        let rows = text.lines().filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()).count();
        ensure!(rows >= 1000, "only {rows} of some thousand bids were printed");
    }
    Ok(vec![
        Figure::new(NAME, "smallest job, resident", median(resident), "MiB", true).against(Bar::ValueAtMost(32.0)),
        Figure::new(NAME, "smallest job, start to first output", median(first), "ms", true)
            .against(Bar::ValueAtMost(150.0)),
    ])
}

/// What was seen of the job in the cgroup.
struct Confined {
    /// Anonymous bytes, one number a second.
    anonymous: Vec<u64>,
    rate: f64,
    /// Why it did not live until the end.
    died: Option<String>,
    oom_kills: u64,
    exact: bool,
}

fn confined(ctx: &Context) -> Result<Vec<Figure>> {
    let memory = ((MEMORY as f64 * ctx.scale) as u64).max(LEAST_MEMORY);
    let size = Size { keys: memory * STATE_OVER_MEMORY / (VALUE_BYTES + 8), value: VALUE_BYTES };
    let job = StateJob::in_directory(size, 1, memory)?;
    let seconds = (SECONDS * ctx.scale).max(LEAST_SECONDS);
    let limited = observe(&job, seconds, Some(&Cgroup::with_memory(memory)?))?;
    // One that is killed in its cgroup is looked at outside, to see what it would have needed.
    let seen = match limited.died {
        None => None,
        Some(_) => Some(observe(&StateJob::in_directory(size, 1, memory)?, seconds, None)?),
    };
    let shown = seen.as_ref().unwrap_or(&limited);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let third = shown.anonymous.len() / 3;
    ensure!(third > 0, "the job ended before it was looked at: {}", shown.died.as_deref().unwrap_or_default());
    let mean = |bytes: &[u64]| mib(bytes.iter().sum::<u64>() as f64 / bytes.len() as f64);
    let (early, late) = (mean(&shown.anonymous[..third]), mean(&shown.anonymous[shown.anonymous.len() - third..]));
    let most = mib(shown.anonymous.iter().copied().max().unwrap_or(0) as f64);
    let figures = vec![
        Figure::new(NAME, "in its cgroup, killed", limited.oom_kills as f64, "times", true)
            .against(Bar::ValueAtMost(0.0))
            .with("died", limited.died.clone()),
        Figure::new(NAME, "anonymous memory, late beside early", late, "MiB", shown.exact)
            .beside(early)
            .against(Bar::RatioAtMost(NO_GROWTH)),
        Figure::new(NAME, "anonymous memory, most", most, "MiB", shown.exact)
            .beside(mib(memory as f64))
            .against(Bar::RatioAtMost(1.0)),
    ];
    let facts = |figure: Figure| {
        let figure = figure.with("memory_bytes", memory).with("state_bytes", size.bytes_of(size.keys));
        figure.with("seconds", seconds).with("records_per_second", shown.rate).with("in_cgroup", seen.is_none())
    };
    Ok(figures.into_iter().map(facts).collect())
}

/// Fills the state, then updates it at full rate for so long.
fn observe(job: &StateJob, seconds: f64, cgroup: Option<&Cgroup>) -> Result<Confined> {
    let mut running = job.job.start_in(cgroup)?;
    let output = job.job.path("out");
    let mut seen = Confined { anonymous: Vec::new(), rate: 0.0, died: None, oom_kills: 0, exact: false };
    let filled = running.until("filled", FILL, || Ok((Probe::newest(&output)?.count() >= job.size.keys).then(now)));
    let began = Instant::now();
    let mut lived = filled.as_ref().map(|_| ()).map_err(|error| format!("{error:#}"));
    while lived.is_ok() && began.elapsed().as_secs_f64() < seconds {
        std::thread::sleep(Duration::from_secs(1));
        seen.anonymous.push(running.status_bytes("RssAnon"));
        lived = running.check_alive().map_err(|error| format!("{error:#}"));
    }
    let until = now();
    let ended = lived.and_then(|()| running.stop().map(|_| ()).map_err(|error| format!("{error:#}")));
    seen.died = ended.err();
    seen.oom_kills = cgroup.map_or(0, Cgroup::oom_kills);
    let probe = Probe::newest(&output)?;
    if let Ok(from) = filled {
        seen.rate = probe.count_between(from, until) as f64 * 1e6 / (until - from) as f64;
    }
    // The job compares every value it replaces; this compares how many there were.
    let read = job.bucket.manifests()?.last().map_or(0, crate::state_job::position);
    seen.exact = seen.died.is_none() && read == probe.count();
    Ok(seen)
}
