//! How fast the generator makes, the file source reads and the file sink writes nexmark events, per second of CPU time:
//! `cargo run --release -p weir-connectors --example nexmark_rate`.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_connectors::blackhole::Blackhole;
use weir_connectors::compression::Compression;
use weir_connectors::file_sink::FileSink;
use weir_connectors::files::FileSource;
use weir_connectors::format::{Csv, CsvRow, CsvRows, Encode, FormatError, FromCsvRow, JsonLines};
use weir_connectors::nexmark::{Bid, NexmarkBids, NexmarkConfig, NexmarkEvents};
use weir_engine::batch::Batch;
use weir_engine::sink::{Sink, SinkContext};
use weir_engine::source::{Progress, Source};
use weir_protocol::CheckpointId;

const EVENTS: u64 = 20_000_000;
const ROWS: u64 = 2_000_000;
const BATCH: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, average_bid_bytes) in [("", 100), (" without extra", 0)] {
        let config = NexmarkConfig { events: Some(EVENTS), splits: 1, average_bid_bytes, ..NexmarkConfig::default() };
        measure(&format!("generate mixed events{name}"), &NexmarkEvents::new(config.clone())?)?;
        measure(&format!("generate bids{name}"), &NexmarkBids::new(config)?)?;
    }
    let directory = tempfile::tempdir()?;
    let config = NexmarkConfig { events: Some(ROWS), splits: 1, average_bid_bytes: 0, ..NexmarkConfig::default() };
    let source = NexmarkBids::new(config)?;
    let mut bids = Vec::new();
    source.open(&source.discover()?[0], None)?.read(usize::MAX, &mut bids)?;
    drain("drop bids", &bids, &Blackhole::new())?;
    drain("write bids as CSV", &bids, &FileSink::csv(directory.path().join("sink")))?;
    drain("write bids as JSON Lines", &bids, &FileSink::json_lines(directory.path().join("sink")))?;
    let zstd = FileSink::json_lines(directory.path().join("sink")).compression(Compression::Zstd);
    drain("write bids as JSON Lines, zstd", &bids, &zstd)?;

    let csv = directory.path().join("bids.csv");
    let json = directory.path().join("bids.jsonl");
    println!("CSV: {} bytes a row", save(&csv, &bids, Csv::new())? / bids.len());
    println!("JSON Lines: {} bytes a row", save(&json, &bids, JsonLines::new())? / bids.len());
    for _ in 0..3 {
        measure("parse bids from CSV by hand", &FileSource::new(&csv, CsvRows::<Bid>::new()))?;
        measure("parse three columns of them", &FileSource::new(&csv, CsvRows::<NarrowBid>::new()))?;
        measure("parse bids from CSV by serde", &FileSource::new(&csv, Csv::<Bid>::new()))?;
        measure("parse bids from JSON Lines", &FileSource::new(&json, JsonLines::<Bid>::new()))?;
    }
    Ok(())
}

/// CPU time of this thread in seconds.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = statistics.split_whitespace().next().ok_or("no CPU time")?.parse()?;
    Ok(nanos / 1e9)
}

fn report(name: &str, records: u64, since: f64) -> Result<(), Box<dyn Error>> {
    println!("{name:40} {:8.2} M/s", records as f64 / (cpu_seconds()? - since) / 1e6);
    Ok(())
}

fn measure<S: Source>(name: &str, source: &S) -> Result<(), Box<dyn Error>> {
    let start = cpu_seconds()?;
    let mut reader = source.open(&source.discover()?[0], None)?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut records = 0u64;
    loop {
        let progress = reader.read(BATCH, &mut batch)?;
        records += batch.len() as u64;
        black_box(&batch);
        batch.clear();
        if progress == Progress::End {
            break;
        }
    }
    report(name, records, start)
}

/// Writes an epoch of bids and makes it durable. The copies that the sink consumes are made outside the measurement.
fn drain(name: &str, bids: &[Bid], sink: &impl Sink<Item = Bid>) -> Result<(), Box<dyn Error>> {
    let ctx = SinkContext {
        job_id: "rate".into(),
        operator: "bids".into(),
        subtask: 0,
        parallelism: 1,
        generation: 1,
        restored_epoch: 0,
    };
    let mut batches: Vec<_> = bids.chunks(BATCH).map(|bids| Batch::untimed(bids.to_vec())).collect();
    let start = cpu_seconds()?;
    let mut writer = sink.open(&ctx)?;
    for batch in &mut batches {
        writer.write(batch)?;
    }
    if let Some(mut frozen) = writer.freeze(CheckpointId(1))? {
        frozen.prepare()?;
    }
    report(name, bids.len() as u64, start)
}

/// Writes bids to a file; returns its length.
fn save(path: &Path, bids: &[Bid], mut format: impl Encode<Bid>) -> Result<usize, Box<dyn Error>> {
    let mut text = Vec::new();
    format.encode(bids, true, &mut text)?;
    fs::write(path, &text)?;
    Ok(text.len())
}

/// The columns that a count or a window needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NarrowBid {
    auction: u64,
    bidder: u64,
    date_time: i64,
}

impl FromCsvRow for NarrowBid {
    const COLUMNS: &'static [&'static str] = Bid::COLUMNS;

    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError> {
        let (auction, bidder) = (row.u64()?, row.u64()?);
        for _ in 0..3 {
            row.bytes()?;
        }
        let date_time = row.i64()?;
        row.bytes()?;
        Ok(Self { auction, bidder, date_time })
    }
}
