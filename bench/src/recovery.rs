//! From `kill -9` to output: a new process of a job with 1 GB of state, with the local files of the one before, and with
//! nothing but the bucket; beside a loop that only fetches the same objects.
//!
//! The killed process leaves a chain of runs that is about to be replaced by a base. Every restart begins with the same
//! checkpoint. That the state is right is seen afterwards, when every key is written again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_protocol::{Manifest, RunKind};

use crate::bucket::Bucket;
use crate::figure::{Bar, Figure, median};
use crate::harness::Context;
use crate::probe::{Probe, now};
use crate::server::Minio;
use crate::state_job::{Size, StateJob};

const NAME: &str = "recovery";
const GIGABYTES: f64 = 1.0;
const VALUE_BYTES: u64 = 1000;
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 256 << 20;
/// The runs outweigh the live state by so much when the process is killed; at 2.25 there is a base.
const CHAIN: f64 = 2.0;
const LIMIT: Duration = Duration::from_secs(1800);
/// How long a restarted job is watched.
const WATCHED: Duration = Duration::from_secs(15);
/// Full rate: this share of the rate before the kill, over a quarter of a second.
const FULL: f64 = 0.8;
const QUARTER_US: u64 = 250_000;
/// One request of the loop that only fetches.
const RANGE: u64 = 8 << 20;
const IN_FLIGHT: usize = 8;
/// Headers, the journal and the manifest are sent too.
const MORE_THAN_CHAIN: f64 = 1.02;

/// Runs the benchmark.
///
/// # Errors
/// When the job fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let server = Minio::start()?;
    let memory = ((MEMORY as f64 * ctx.scale) as u64).max(LEAST_MEMORY);
    let size = Size::gigabytes(GIGABYTES * ctx.scale, VALUE_BYTES);
    let mut job = StateJob::in_bucket(size, memory, &server.uri("recovery"), &server.endpoint(), &server.options())?;
    job.fill()?;
    let rate = until_a_base_is_near(&mut job)?;
    job.job.set("checkpoint", "interval", "24h");
    let (mut local, mut empty, mut fetched, mut sent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut chain = 0;
    for round in 1..=ctx.rounds.max(1) {
        let newest = job.bucket.manifests()?.pop().context("there is no checkpoint")?;
        chain = chain_bytes(&newest);
        local.push(restart(&job, rate)?);
        std::fs::remove_dir_all(job.job.path("work"))?;
        let before = server.traffic()?.sent;
        empty.push(restart(&job, rate)?);
        sent.push(server.traffic()?.sent - before);
        fetched.push(fetch(&job.bucket, &newest)?);
        eprintln!("{NAME} round {round}: {:?} with local files, {:?} without", local.last(), empty.last());
    }
    let verified = every_key_is_right(&mut job)?;
    let seconds = |restarts: &[Restart]| median(restarts.iter().map(|restart| restart.first_s));
    let full = |restarts: &[Restart]| -> Vec<Option<f64>> { restarts.iter().map(|restart| restart.full_s).collect() };
    let (rate_of_loop, rate_of_restore) = (chain as f64 / median(fetched) / 1e6, chain as f64 / seconds(&empty) / 1e6);
    let figures = vec![
        Figure::new(NAME, "with local files", seconds(&local), "s", verified)
            .against(Bar::ValueAtMost(1.0))
            .with("full_rate_after_s", full(&local)),
        Figure::new(NAME, "from MinIO, empty directory", seconds(&empty), "s", verified)
            .against(Bar::ValueAtMost(12.0))
            .with("full_rate_after_s", full(&empty)),
        Figure::new(NAME, "from MinIO, chain over all the time", rate_of_restore, "MB/s", verified)
            .beside(rate_of_loop)
            .against(Bar::RatioAtLeast(0.7)),
        Figure::new(NAME, "from MinIO, downloaded", median(sent) / 1e6, "MB", verified)
            .beside(chain as f64 / 1e6)
            .against(Bar::RatioAtMost(MORE_THAN_CHAIN)),
    ];
    let facts = |figure: Figure| {
        let figure = figure.with("chain_bytes", chain).with("state_bytes", size.bytes_of(size.keys));
        figure.with("memory_bytes", memory).with("records_per_second", rate)
    };
    Ok(figures.into_iter().map(facts).collect())
}

fn chain_bytes(manifest: &Manifest) -> u64 {
    manifest.chain.iter().map(|run| run.object.length).sum()
}

/// Updates at full rate until the runs outweigh the state by as much as they may, and kills; returns the rate.
fn until_a_base_is_near(job: &mut StateJob) -> Result<f64> {
    job.job.set("checkpoint", "interval", "1s");
    let live = job.size.bytes_of(job.size.keys) as f64;
    let mut running = job.start()?;
    let (bucket, output) = (&job.bucket, job.job.path("out"));
    running.until("near a base", LIMIT, || {
        let manifests = bucket.manifests()?;
        let runs = |manifest: &Manifest| {
            let runs = manifest.chain.iter().filter(|run| run.kind == RunKind::Run);
            runs.map(|run| run.object.length).sum::<u64>() as f64
        };
        Ok(manifests.last().filter(|manifest| runs(manifest) >= CHAIN * live).map(|_| ()))
    })?;
    running.kill()?;
    let (probe, until) = (Probe::newest(&output)?, now());
    let from = probe.first().context("there was output")?;
    Ok(probe.count_between(from, until) as f64 * 1e6 / (until - from) as f64)
}

#[derive(Debug, Clone, Copy)]
struct Restart {
    /// Seconds from the start of the process to its first output.
    first_s: f64,
    /// Seconds until it was as fast as before; `None` if it was not while it was watched.
    full_s: Option<f64>,
}

/// Starts it, watches it, and kills it.
fn restart(job: &StateJob, rate: f64) -> Result<Restart> {
    let started = now();
    let mut running = job.start()?;
    let output = job.job.path("out");
    let first =
        running.until("output", LIMIT, || Ok(Probe::newest(&output)?.first().filter(|first| *first > started)))?;
    std::thread::sleep(WATCHED);
    running.kill()?;
    let probe = Probe::newest(&output)?;
    let mut quarters = (0..).map(|step| first + step * QUARTER_US).take_while(|at| at + QUARTER_US < now());
    let full = quarters.find(|at| {
        let per_second = probe.count_between(*at, at + QUARTER_US) as f64 * 1e6 / QUARTER_US as f64;
        per_second >= FULL * rate
    });
    let seconds = |at: u64| (at - started) as f64 / 1e6;
    Ok(Restart { first_s: seconds(first), full_s: full.map(seconds) })
}

/// Seconds to fetch the chain's objects, several ranges at a time, and to drop them.
fn fetch(bucket: &Bucket, manifest: &Manifest) -> Result<f64> {
    let objects: Vec<(String, u64)> =
        manifest.chain.iter().map(|run| (run.object.key.clone(), run.object.length)).collect();
    let store = bucket.root.store.clone();
    let began = Instant::now();
    bucket.block_on(async move {
        let free = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut requests = JoinSet::new();
        for (key, length) in objects {
            for from in (0..length).step_by(RANGE as usize) {
                let (store, key, range) = (store.clone(), key.clone(), from..length.min(from + RANGE));
                let place = free.clone().acquire_owned().await?;
                requests.spawn(async move {
                    let fetched = store.get_range(&key, range).await.map(|bytes| bytes.len());
                    drop(place);
                    fetched
                });
            }
        }
        while let Some(fetched) = requests.join_next().await {
            fetched??;
        }
        anyhow::Ok(())
    })?;
    Ok(began.elapsed().as_secs_f64())
}

/// Writes every key once more: the job fails if a value is not what it must be.
fn every_key_is_right(job: &mut StateJob) -> Result<bool> {
    let mut running = job.start()?;
    let (output, keys, before) = (job.job.path("out"), job.size.keys, now());
    running.until("all keys written", LIMIT, || {
        let probe = Probe::newest(&output)?;
        Ok((probe.first().is_some_and(|first| first > before) && probe.count() >= keys).then_some(()))
    })?;
    Ok(running.stop()?.report["outcome"] == "stopped")
}
