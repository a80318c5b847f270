//! Every Nexmark query of the stock binary with checkpoints every 10 seconds on RocksDB: thousands of events per second of
//! CPU time, beside what Flink 2.x does per core.
//!
//! Flink's figures are others', from other machines: they are there for orientation, and the bars are what to aim at.
//!
//! The timed runs drop their output. What the queries put out is compared with plain loops over the same events, the
//! ones that the tests use, in a run of its own over fewer events.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use weir_connectors::nexmark::{Event, Generator, NexmarkConfig};

use crate::figure::{Bar, Figure, median};
use crate::harness::Context;
use crate::process::{Binary, Job, files_below};

#[allow(dead_code, missing_docs, reason = "the tests' loops, of which q12 has none")]
#[path = "../../runtime/tests/nexmark/oracle.rs"]
mod oracle;

const NAME: &str = "nexmark";
const SLOTS: u32 = 2;
const LIMIT: Duration = Duration::from_secs(3600);
/// What to aim at, in multiples of Flink: for joins, and for the rest.
const JOINS: [&str; 5] = ["q3", "q4", "q8", "q9", "q20"];
const AIM_OF_JOINS: f64 = 10.0;
const AIM: f64 = 20.0;
/// 25 seconds of event time.
const VERIFIED_EVENTS: u64 = 250_000;

type Oracle = fn(&[Event]) -> Vec<Value>;

struct Query {
    name: &'static str,
    /// Events of the timed run, in millions; some thirty CPU-seconds.
    millions: f64,
    /// Thousands of events per second and core of Flink 2.x.
    flink: Option<(f64, f64)>,
    oracle: Option<Oracle>,
}

const fn query(name: &'static str, millions: f64, flink: Option<(f64, f64)>, oracle: Option<Oracle>) -> Query {
    Query { name, millions, flink, oracle }
}

const QUERIES: &[Query] = &[
    query("q0", 400.0, Some((155.0, 190.0)), Some(oracle::q0)),
    query("q1", 300.0, None, Some(oracle::q1)),
    query("q2", 400.0, None, Some(oracle::q2)),
    query("q3", 120.0, Some((130.0, 150.0)), Some(oracle::q3)),
    query("q4", 40.0, Some((13.0, 34.0)), None),
    query("q5", 50.0, Some((22.0, 32.0)), Some(oracle::q5)),
    query("q7", 150.0, Some((12.0, 14.0)), Some(oracle::q7)),
    query("q8", 120.0, Some((117.0, 146.0)), Some(oracle::q8)),
    query("q9", 40.0, Some((8.0, 14.0)), Some(oracle::q9)),
    query("q11", 60.0, Some((40.0, 40.0)), Some(oracle::q11)),
    query("q12", 150.0, Some((76.0, 114.0)), None),
    query("q15", 60.0, None, Some(oracle::q15)),
    query("q16", 20.0, Some((12.0, 19.0)), Some(oracle::q16)),
    query("q17", 120.0, None, Some(oracle::q17)),
    query("q18", 40.0, Some((31.0, 54.0)), Some(oracle::q18)),
    query("q19", 40.0, None, Some(oracle::q19)),
    query("q20", 25.0, Some((11.0, 19.0)), Some(oracle::q20)),
];

/// Runs the benchmark.
///
/// # Errors
/// When a query fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let generator = Generator::new(&NexmarkConfig::default())?;
    let events: Vec<Event> = (0..VERIFIED_EVENTS).map(|number| generator.event(number)).collect();
    let mut measured: Vec<Vec<(f64, f64, f64)>> = QUERIES.iter().map(|_| Vec::new()).collect();
    let verified: Vec<bool> = QUERIES.iter().map(|query| verify(query, &events)).collect::<Result<_>>()?;
    for _ in 0..ctx.rounds.max(1) {
        for (query, runs) in QUERIES.iter().zip(&mut measured) {
            runs.push(time(query, ctx.scale)?);
        }
    }
    Ok(QUERIES
        .iter()
        .zip(measured)
        .zip(verified)
        .map(|((query, runs), verified)| figure(query, &runs, verified))
        .collect())
}

fn events_of(query: &Query, scale: f64) -> u64 {
    ((query.millions * 1e6 * scale) as u64).max(100_000)
}

/// Thousands of events per CPU-second and per second, and the most memory in MiB.
fn time(query: &Query, scale: f64) -> Result<(f64, f64, f64)> {
    let events = events_of(query, scale);
    let mut job = Job::new(
        Binary::Weir,
        &format!("nexmark-{}", query.name),
        json!({"events": events, "sink": "blackhole", "splits": SLOTS}),
    )?;
    job.set("worker", "slots", SLOTS);
    let ended = job.finish(LIMIT).with_context(|| format!("nexmark-{}", query.name))?;
    let thousands = events as f64 / 1e3;
    let resident = ended.report["peakRssBytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
    let (per_cpu, per_second) = (thousands / ended.cpu_s, thousands / ended.wall_s);
    eprintln!("nexmark {}: {per_cpu:.0} K events per CPU-second in {:.1} s", query.name, ended.wall_s);
    Ok((per_cpu, per_second, resident))
}

/// Compares the rows that the query writes with those of the loop. q4 and q12 have tests, and no rows that a loop could
/// know: of them, every bid must be in some row.
fn verify(query: &Query, events: &[Event]) -> Result<bool> {
    let args = json!({"events": VERIFIED_EVENTS, "splits": 1});
    let mut job = Job::new(Binary::Weir, &format!("nexmark-{}", query.name), args)?;
    let output = job.path("rows");
    job.set("args", "output", output.to_string_lossy().into_owned());
    job.set("worker", "slots", SLOTS);
    job.set("checkpoint", "interval", "200ms");
    job.finish(LIMIT).with_context(|| format!("nexmark-{}", query.name))?;
    let mut found = Vec::new();
    for file in files_below(&output)? {
        for line in std::fs::read_to_string(&file)?.lines() {
            found.push(serde_json::from_str::<Value>(line)?);
        }
    }
    let sum = |rows: &[Value], field: &str| rows.iter().filter_map(|row| row[field].as_u64()).sum::<u64>();
    let verified = match (query.oracle, query.name) {
        (Some(oracle), _) => sorted(&oracle(events)) == sorted(&found),
        (None, "q4") => found.len() == oracle::q9(events).len(),
        (None, "q12") => {
            let bids = events.iter().filter(|event| matches!(event, Event::Bid(_))).count() as u64;
            sum(&found, "bids") == bids
        }
        (None, other) => bail!("{other} has no oracle"),
    };
    Ok(verified)
}

fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

fn figure(query: &Query, runs: &[(f64, f64, f64)], verified: bool) -> Figure {
    let value = median(runs.iter().map(|run| run.0));
    let figure = Figure::new(NAME, query.name, value, "K events per CPU-second", verified)
        .with("k_events_per_second", median(runs.iter().map(|run| run.1)))
        .with("peak_rss_mib", median(runs.iter().map(|run| run.2)));
    match query.flink {
        Some((least, most)) => {
            let aim = if JOINS.contains(&query.name) { AIM_OF_JOINS } else { AIM };
            let figure = figure.beside(f64::midpoint(least, most)).against(Bar::RatioAtLeast(aim));
            figure.with("flink_k_events_per_core", vec![least, most])
        }
        None => figure,
    }
}
