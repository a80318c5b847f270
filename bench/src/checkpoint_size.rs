//! What checkpoints cost in bytes and requests: bytes that MinIO received over bytes that changed, requests per
//! checkpoint, and what lies in the bucket over what is live.
//!
//! Values do not compress. A twentieth of the state changes between two checkpoints. What is uploaded is counted from the
//! checkpoint by which bases have replaced the whole state once, until they have done so three times more; what lies in
//! the bucket, from the beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_protocol::RunKind;

use crate::bucket::LOOK;
use crate::figure::{Bar, Figure, quantile};
use crate::harness::Context;
use crate::server::{Minio, Traffic};
use crate::state_job::{Size, StateJob, position};

const NAME: &str = "checkpoint-size";
const GIGABYTES: f64 = 0.2;
const VALUE_BYTES: u64 = 200;
const MEMORY: u64 = 512 << 20;
const LEAST_MEMORY: u64 = 256 << 20;
const INTERVAL_MS: f64 = 1000.0;
/// The storage is looked at often enough to see every checkpoint.
const LEAST_INTERVAL_MS: f64 = 300.0;
/// One key in so many changes between two checkpoints.
const SHARE: u64 = 20;
/// How often bases replace the whole state while it is counted.
const BASES: f64 = 3.0;
const LIMIT: Duration = Duration::from_secs(1200);
/// Always the same keys, or all in turn.
const CASES: [(&str, u64); 2] = [("hot keys", SHARE), ("uniform keys", 1)];

/// Runs the benchmark.
///
/// # Errors
/// When the job fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (case, share) in CASES {
        figures.extend(at(ctx, case, share)?);
    }
    Ok(figures)
}

fn at(ctx: &Context, case: &str, share: u64) -> Result<Vec<Figure>> {
    let server = Minio::start()?;
    let memory = ((MEMORY as f64 * ctx.scale) as u64).max(LEAST_MEMORY);
    let size = Size::gigabytes(GIGABYTES * ctx.scale, VALUE_BYTES);
    let mut job = StateJob::in_bucket(size, memory, &server.uri("size"), &server.endpoint(), &server.options())?;
    let hot = (size.keys / share).max(1);
    job.job.set("args", "hot", hot);
    job.fill()?;
    let interval_ms = (INTERVAL_MS * ctx.scale).clamp(LEAST_INTERVAL_MS, INTERVAL_MS);
    let seen = observe(&mut job, &server, interval_ms)?;
    let verified = job.is_exact()?;
    // Between the first and the last checkpoint that was seen; every one between them was.
    let positions: Vec<u64> = seen.positions.values().copied().collect();
    let changed: u64 = positions.windows(2).map(|pair| size.bytes_of((pair[1] - pair[0]).min(hot))).sum();
    let checkpoints = positions.len() - 1;
    let uploaded = seen.traffic.received;
    let bases: u64 = seen.bases.values().sum();
    let live = size.bytes_of(size.keys) as f64;
    let requests: f64 = seen.traffic.requests.values().sum();
    let unit = "bytes uploaded per byte changed";
    let name = |what: &str| format!("{case}, {what}");
    let figures = vec![
        Figure::new(NAME, name("without bases"), (uploaded - bases as f64) / changed as f64, unit, verified)
            .against(Bar::ValueAtMost(1.2)),
        Figure::new(NAME, name("with bases"), uploaded / changed as f64, unit, verified).against(Bar::ValueAtMost(1.6)),
        Figure::new(NAME, name("requests"), requests / checkpoints as f64, "per checkpoint", verified)
            .against(Bar::ValueAtMost(6.0))
            .with("requests_by_name", serde_json::to_value(&seen.traffic.requests)?),
        Figure::new(NAME, name("bucket, most"), seen.most as f64 / live, "bytes per live byte", verified)
            .against(Bar::ValueAtMost(4.5))
            .with("p50", quantile(seen.sizes.iter().map(|bytes| *bytes as f64 / live), 0.5)),
    ];
    let facts = |figure: Figure| {
        let figure =
            figure.with("checkpoints", checkpoints).with("base_files", seen.bases.len()).with("changed_bytes", changed);
        figure.with("state_bytes", live).with("seconds", seen.seconds).with("base_bytes", bases)
    };
    Ok(figures.into_iter().map(facts).collect())
}

#[derive(Default)]
struct Seen {
    /// Records read, by checkpoint.
    positions: BTreeMap<u64, u64>,
    /// Length of each file of a base that was uploaded meanwhile.
    bases: BTreeMap<String, u64>,
    traffic: Traffic,
    sizes: Vec<u64>,
    most: u64,
    seconds: f64,
}

/// What these looks themselves ask of the server, by S3's name.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    gets: f64,
    lists: f64,
}

/// Updates until bases have come. Requests are counted without those of the looks themselves.
fn observe(job: &mut StateJob, server: &Minio, interval_ms: f64) -> Result<Seen> {
    job.job.set("checkpoint", "interval", format!("{}ms", interval_ms as u64));
    job.job.set("args", "rate", ((job.size.keys / SHARE) as f64 * 1e3 / interval_ms).max(1.0) as u64);
    let mut running = job.start()?;
    let (mut seen, live) = (Seen::default(), job.size.bytes_of(job.size.keys));
    // Traffic up to the beginning, and the looks' own part in it.
    let mut start: Option<(Traffic, Own)> = None;
    let (mut own, mut known, mut newest_seen, mut replaced) = (Own::default(), None, 0, 0);
    let mut began = Instant::now();
    while (seen.bases.values().sum::<u64>() as f64) < BASES * live as f64 {
        ensure!(began.elapsed() < LIMIT, "not enough bases within {LIMIT:?}");
        std::thread::sleep(LOOK / 4);
        running.check_alive()?;
        let (before, asked) = (server.traffic()?, own);
        let Some(history) = job.bucket.history()? else { continue };
        // A listing, the newest entry, and the manifests that it names.
        own.gets += 1.0 + history.checkpoints.len() as f64;
        own.lists += 1.0;
        let Some(newest) = history.checkpoints.last() else { continue };
        let manifest = newest.manifest.clone().map_err(anyhow::Error::msg)?;
        let (id, last) = (manifest.checkpoint.0, std::mem::replace(&mut newest_seen, manifest.checkpoint.0));
        if id == last {
            continue;
        }
        let files = manifest.chain.iter().filter(|run| run.kind == RunKind::Base).map(|run| &run.object);
        let bases: BTreeMap<String, u64> = files.map(|object| (object.key.clone(), object.length)).collect();
        let known: &mut BTreeSet<String> = known.get_or_insert_with(|| bases.keys().cloned().collect());
        let new: Vec<_> = bases.into_iter().filter(|(key, _)| known.insert(key.clone())).collect();
        let bytes: u64 = job.bucket.objects()?.values().sum();
        // A listing has room for a thousand, and there are never so many.
        own.lists += 1.0;
        seen.most = seen.most.max(bytes);
        let Some((traffic, asked_before)) = &start else {
            replaced += new.iter().map(|(_, length)| length).sum::<u64>();
            if replaced >= live {
                start = Some((before, asked));
                began = Instant::now();
                seen.positions.insert(id, position(&manifest));
            }
            continue;
        };
        ensure!(id == last + 1, "checkpoint {} came and went unseen, or was aborted", last + 1);
        seen.bases.extend(new);
        seen.positions.insert(id, position(&manifest));
        let own = Own { gets: asked.gets - asked_before.gets, lists: asked.lists - asked_before.lists };
        seen.traffic = since(&before, traffic, &own);
        seen.sizes.push(bytes);
    }
    seen.seconds = began.elapsed().as_secs_f64();
    running.stop()?;
    job.note_output()?;
    Ok(seen)
}

fn since(now: &Traffic, start: &Traffic, own: &Own) -> Traffic {
    let asked = |name: &str| match name {
        "GetObject" => own.gets,
        "ListObjectsV2" => own.lists,
        _ => 0.0,
    };
    let before = |name: &str| start.requests.get(name).copied().unwrap_or(0.0);
    let requests = now.requests.iter().map(|(name, count)| (name.clone(), count - before(name) - asked(name)));
    Traffic { requests: requests.collect(), received: now.received - start.received, sent: now.sent - start.sent }
}
