//! Bids as CSV files of about 109 bytes a row, and three jobs over them: pass through, count per auction, tumbling window
//! per bidder. Thousands of rows per second of CPU time, beside what Flink 2.3 does on two cores over the same bytes.
//!
//! The timed runs drop their output. A run of its own over the same files writes it, and plain loops over the rows say
//! what it must be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::figure::{Bar, Figure, median};
use crate::harness::Context;
use crate::process::{Binary, Job, files_below};

const NAME: &str = "csv";
const SLOTS: u32 = 2;
/// Of all kinds; 46 in 50 are bids.
const EVENTS: f64 = 40e6;
/// As Nexmark counts it, which leaves out channel and URL: gives rows of about 109 bytes.
const BID_BYTES: u64 = 35;
/// Events whose rows are compared.
const VERIFIED_EVENTS: u64 = 500_000;
const LIMIT: Duration = Duration::from_secs(3600);
const WINDOW_MS: i64 = 10_000;

/// What to aim at, in multiples of Flink, whose figures are there for orientation: they are from another machine.
const AIM: f64 = 10.0;
/// Graph, and thousands of rows per CPU-second of Flink.
const JOBS: [(&str, f64); 3] = [("csv-pass-through", 423.0), ("csv-count", 401.0), ("csv-window", 321.0)];

/// Runs the benchmark.
///
/// # Errors
/// When a job fails.
pub fn run(ctx: &Context) -> Result<Vec<Figure>> {
    let (few, _) = write(VERIFIED_EVENTS)?;
    let verified: Vec<bool> =
        JOBS.iter().map(|(graph, _)| verify(graph, &few.path("events/bid"))).collect::<Result<_>>()?;
    let (written, rows) = write(((EVENTS * ctx.scale) as u64).max(500_000))?;
    let input = written.path("events/bid");
    let bytes: u64 = files_below(&input)?.iter().map(|file| file.metadata().map_or(0, |meta| meta.len())).sum();
    let mut measured: [Vec<(f64, f64)>; 3] = Default::default();
    for _ in 0..ctx.rounds.max(1) {
        for ((graph, _), runs) in JOBS.iter().zip(&mut measured) {
            let ended = job(graph, &input, json!({"sink": "blackhole"}))?.finish(LIMIT)?;
            ensure!(ended.report["recordsIn"] == rows, "{graph} read {} of {rows} rows", ended.report["recordsIn"]);
            let thousands = rows as f64 / 1e3;
            eprintln!("{graph}: {:.0} K rows per CPU-second in {:.1} s", thousands / ended.cpu_s, ended.wall_s);
            runs.push((thousands / ended.cpu_s, thousands / ended.wall_s));
        }
    }
    let figures = JOBS.iter().zip(measured).zip(verified).map(|(((graph, flink), runs), verified)| {
        let value = median(runs.iter().map(|run| run.0));
        Figure::new(NAME, *graph, value, "K rows per CPU-second", verified)
            .beside(*flink)
            .against(Bar::RatioAtLeast(AIM))
            .with("k_rows_per_second", median(runs.iter().map(|run| run.1)))
            .with("rows", rows)
            .with("bytes_of_row", bytes as f64 / rows as f64)
    });
    Ok(figures.collect())
}

fn job(graph: &str, input: &Path, output: Value) -> Result<Job> {
    let mut job = Job::new(Binary::Weir, graph, output)?;
    job.set("args", "input", input.to_string_lossy().into_owned());
    job.set("worker", "slots", SLOTS);
    Ok(job)
}

/// Writes the files; returns the job that holds them and their number of rows.
fn write(events: u64) -> Result<(Job, u64)> {
    let mut job = Job::new(
        Binary::Weir,
        "nexmark-events",
        json!({"events": events, "format": "csv", "splits": SLOTS, "bidBytes": BID_BYTES}),
    )?;
    job.set("args", "output", job.path("events").to_string_lossy().into_owned());
    job.set("worker", "slots", SLOTS);
    let ended = job.finish(LIMIT)?;
    let rows = ended.report["operators"]["bid"]["recordsIn"].as_u64().context("the report has the sink `bid`")?;
    Ok((job, rows))
}

/// Auction, bidder, price and time of every row.
fn read(input: &Path) -> Result<Vec<(u64, u64, u64, i64)>> {
    let mut rows = Vec::new();
    for file in files_below(input)? {
        for line in std::fs::read_to_string(&file)?.lines() {
            let columns: Vec<&str> = line.split(',').collect();
            ensure!(columns.len() == 7, "{line} has no seven columns");
            rows.push((columns[0].parse()?, columns[1].parse()?, columns[2].parse()?, columns[5].parse()?));
        }
    }
    Ok(rows)
}

/// The rows that a plain loop over the input finds.
fn expected(graph: &str, input: &Path) -> Result<Vec<Value>> {
    let rows = read(input)?;
    Ok(match graph {
        "csv-pass-through" => rows.iter().map(|row| json!({"auction": row.0, "price": row.2})).collect(),
        "csv-count" => {
            let mut counts = BTreeMap::<u64, u64>::new();
            let count = |row: &(u64, u64, u64, i64)| {
                let count = counts.entry(row.0).or_default();
                *count += 1;
                json!({"auction": row.0, "bids": *count})
            };
            rows.iter().map(count).collect()
        }
        _ => {
            let mut windows = BTreeMap::<(u64, i64), u64>::new();
            rows.iter().for_each(|row| *windows.entry((row.1, row.3.div_euclid(WINDOW_MS))).or_default() += 1);
            let row = |((bidder, window), bids): (&(u64, i64), &u64)| {
                let start = window * WINDOW_MS;
                json!({"bidder": bidder, "windowStart": start, "windowEnd": start + WINDOW_MS, "bids": bids})
            };
            windows.iter().map(row).collect()
        }
    })
}

fn verify(graph: &str, input: &Path) -> Result<bool> {
    let mut job = job(graph, input, json!({}))?;
    let output = job.path("rows");
    job.set("args", "output", output.to_string_lossy().into_owned());
    job.finish(LIMIT)?;
    let mut found = Vec::new();
    for file in files_below(&output)? {
        found.extend(
            std::fs::read_to_string(&file)?
                .lines()
                .map(serde_json::from_str::<Value>)
                .collect::<Result<Vec<_>, _>>()?,
        );
    }
    let sorted = |rows: Vec<Value>| {
        let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
        rows.sort();
        rows
    };
    Ok(sorted(found) == sorted(expected(graph, input)?))
}
