//! From a checkpoint's trigger to its journal entry, in MinIO, at half of the maximum rate: by how much has changed, and by
//! how much state there is. The trigger is in the stored timeline; when the entry appeared, MinIO's own files say.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use weir_protocol::journal::EntryKind;
use weir_protocol::{Manifest, RunKind, layout};

use crate::bucket::LOOK;
use crate::figure::{Bar, Figure, median, quantile};
use crate::harness::Context;
use crate::process::NAME as JOB;
use crate::server::Minio;
use crate::state_job::{Size, StateJob};

const NAME: &str = "checkpoint-time";
const FOLDER: &str = "time";
const GIGABYTES: [f64; 3] = [0.1, 1.0, 4.0];
const MEGABYTES: [f64; 3] = [1.0, 10.0, 100.0];
const VALUE_BYTES: u64 = 1000;
const MEMORY: u64 = 1 << 30;
const LEAST_MEMORY: u64 = 256 << 20;
const CHECKPOINTS: f64 = 50.0;
const LEAST_CHECKPOINTS: f64 = 6.0;
const LIMIT: Duration = Duration::from_secs(1800);
/// For the maximum rate.
const MEASURED: Duration = Duration::from_secs(5);
/// At equal change, 4 GB may take so many times as long as 0.1 GB.
const GROWTH: f64 = 1.2;

/// Runs the benchmark.
///
/// # Errors
/// When the job fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut medians: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for gigabytes in GIGABYTES {
        // A server for each: what is left of one size must not slow the next one down.
        let server = Minio::start()?;
        let memory = ((MEMORY as f64 * ctx.scale) as u64).max(LEAST_MEMORY);
        let size = Size::gigabytes(gigabytes * ctx.scale, VALUE_BYTES);
        let (uri, options) = (server.uri(FOLDER), server.options());
        let mut job = StateJob::in_bucket(size, memory, &uri, &server.endpoint(), &options)?;
        job.fill()?;
        let start = figures.len();
        for (index, megabytes) in MEGABYTES.into_iter().enumerate() {
            let delta = ((megabytes * ctx.scale * 1e6) as u64 / (VALUE_BYTES + 8)).clamp(10, size.keys);
            let times = at(ctx, &mut job, &server, delta)?;
            let value = median(times.ms.iter().copied());
            medians.entry(index).or_default().push(value);
            let mut figure = Figure::new(NAME, format!("{gigabytes} GB, {megabytes} MB changed"), value, "ms", true)
                .with("p90_ms", quantile(times.ms.iter().copied(), 0.9))
                .with("checkpoints", times.ms.len())
                .with("left_out_for_a_base", times.left_out)
                .with("uploaded_bytes", times.uploaded)
                .with("records_per_second", times.rate);
            if index == 0 {
                figure = figure.against(Bar::ValueAtMost(60.0));
            }
            figures.push(figure);
        }
        let verified = job.is_exact()?;
        figures[start..].iter_mut().for_each(|figure| figure.verified = verified);
    }
    let verified = figures.iter().all(|figure| figure.verified);
    for (index, medians) in medians {
        let (least, most) = (medians[0], medians[medians.len() - 1]);
        let case = format!("{} MB changed, 4 GB beside 0.1 GB", MEGABYTES[index]);
        figures.push(Figure::new(NAME, case, most, "ms", verified).beside(least).against(Bar::RatioAtMost(GROWTH)));
    }
    Ok(figures)
}

struct Times {
    /// Trigger to journal entry.
    ms: Vec<f64>,
    left_out: usize,
    /// Of the run, in the middle.
    uploaded: f64,
    rate: f64,
}

/// Writes `hot` keys again and again, all of them between two checkpoints.
fn at(ctx: &Context, job: &mut StateJob, server: &Minio, hot: u64) -> Result<Times> {
    job.job.set("args", "hot", hot);
    let most = job.phase(None, "24h", MEASURED)?.rate();
    let rate = (most / 2.0).max(1.0);
    // Half as much time again as it takes to write them all.
    let interval = (hot as f64 / rate * 1.5).max(1.0);
    let wanted = (CHECKPOINTS * ctx.scale).max(LEAST_CHECKPOINTS) as usize;
    job.job.set("args", "rate", rate as u64);
    job.job.set("checkpoint", "interval", format!("{}ms", (interval * 1e3) as u64));
    let mut running = job.start()?;
    let journal = server.directory(FOLDER).join("local").join(JOB).join(layout::JOURNAL);
    let mut seen = Seen::new();
    let began = Instant::now();
    let mut before = None;
    // The first one comes after a restore, and with less than an interval of changes.
    while clean(&seen).count() < wanted && began.elapsed() < LIMIT {
        std::thread::sleep(LOOK);
        running.check_alive()?;
        let history = job.bucket.history()?.context("the job has a journal")?;
        let sequence = layout::journal_key(history.newest.sequence);
        let entry = sequence.strip_prefix(layout::JOURNAL).unwrap_or(&sequence);
        let Some(newest) = history.checkpoints.last() else { continue };
        let manifest = newest.manifest.clone().map_err(anyhow::Error::msg)?;
        let first = *before.get_or_insert(manifest.checkpoint.0);
        if manifest.checkpoint.0 > first {
            let says_so = history.newest.kind == EntryKind::Checkpoint { checkpoint: manifest.checkpoint };
            let appeared = appeared_us(&journal.join(entry)).filter(|_| says_so);
            seen.entry(manifest.checkpoint.0).or_insert((manifest, appeared));
        }
    }
    running.stop()?;
    job.note_output()?;
    let ms: Vec<f64> = clean(&seen).collect();
    let uploaded = median(seen.values().map(|(manifest, _)| manifest.bytes_incremental as f64));
    Ok(Times { left_out: seen.len() - ms.len(), ms, uploaded, rate })
}

type Seen = BTreeMap<u64, (Manifest, Option<i64>)>;

/// Milliseconds from trigger to journal entry of all but the first one, without those during which a base may have been under way.
fn clean(seen: &Seen) -> impl Iterator<Item = f64> {
    let bases = bases_of(seen);
    let clean = seen.values().skip(1).filter(move |(manifest, _)| {
        let id = manifest.checkpoint.0;
        !bases.iter().any(|(epoch, named)| (epoch + 1..=*named).contains(&id))
    });
    clean.filter_map(|(manifest, appeared)| Some(((*appeared)? - trigger_us(manifest)?) as f64 / 1e3))
}

/// When the object appeared under its name, in microseconds: MinIO renames its folder last.
fn appeared_us(object: &Path) -> Option<i64> {
    let meta = std::fs::metadata(object).ok()?;
    Some(meta.ctime() * 1_000_000 + meta.ctime_nsec() / 1000)
}

fn trigger_us(manifest: &Manifest) -> Option<i64> {
    manifest.timeline.first().map(|subtask| subtask.trigger_at_us)
}

/// The epoch of every base that came meanwhile, and the checkpoint that first named it: between them it was under way.
fn bases_of(seen: &Seen) -> BTreeMap<u64, u64> {
    let mut bases = BTreeMap::new();
    for (manifest, _) in seen.values() {
        for base in manifest.chain.iter().filter(|run| run.kind == RunKind::Base) {
            bases.entry(base.epoch.0).or_insert(manifest.checkpoint.0);
        }
    }
    let first = seen.keys().next().copied();
    bases.retain(|_, named| Some(*named) != first);
    bases
}
