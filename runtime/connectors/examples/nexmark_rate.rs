//! How fast the generator makes and the file source reads nexmark events, on one core:
//! `cargo run --release -p weir-connectors --example nexmark_rate`.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

use serde::Serialize;
use weir_connectors::files::FileSource;
use weir_connectors::format::{Csv, CsvRow, CsvRows, Encode, FormatError, FromCsvRow, JsonLines};
use weir_connectors::nexmark::{Bid, NexmarkBids, NexmarkConfig, NexmarkEvents};
use weir_engine::source::{Progress, Source};

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
    let csv = directory.path().join("bids.csv");
    let json = directory.path().join("bids.jsonl");
    write(&csv, Csv::new())?;
    write(&json, JsonLines::new())?;
    for _ in 0..3 {
        measure("parse bids from CSV by hand", &FileSource::new(&csv, CsvRows::<Bid>::new()))?;
        measure("parse three columns of them", &FileSource::new(&csv, CsvRows::<NarrowBid>::new()))?;
        measure("parse bids from CSV by serde", &FileSource::new(&csv, Csv::<Bid>::new()))?;
        measure("parse bids from JSON Lines", &FileSource::new(&json, JsonLines::<Bid>::new()))?;
    }
    Ok(())
}

fn measure<S: Source>(name: &str, source: &S) -> Result<(), Box<dyn Error>> {
    let mut reader = source.open(&source.discover()?[0], None)?;
    let mut batch = Vec::with_capacity(BATCH);
    let (start, mut records) = (Instant::now(), 0u64);
    loop {
        let progress = reader.read(BATCH, &mut batch)?;
        records += batch.len() as u64;
        black_box(&batch);
        batch.clear();
        if progress == Progress::End {
            break;
        }
    }
    println!("{name:40} {:8.2} M/s", records as f64 / start.elapsed().as_secs_f64() / 1e6);
    Ok(())
}

/// Writes bids to a file and says how fast they were encoded.
fn write(path: &std::path::Path, mut format: impl Encode<Bid>) -> Result<(), Box<dyn Error>> {
    let config = NexmarkConfig { events: Some(ROWS), splits: 1, average_bid_bytes: 0, ..NexmarkConfig::default() };
    let source = NexmarkBids::new(config)?;
    let mut bids = Vec::new();
    source.open(&source.discover()?[0], None)?.read(usize::MAX, &mut bids)?;
    let (start, mut text) = (Instant::now(), Vec::new());
    for (index, bids) in bids.chunks(256).enumerate() {
        format.encode(bids, index == 0, &mut text)?;
    }
    let rate = bids.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    println!(
        "{:40} {rate:8.2} M/s ({} bytes a row)",
        format!("encode bids as {}", format.extension()),
        text.len() / bids.len()
    );
    fs::write(path, text)?;
    Ok(())
}

/// The columns that a count or a window needs.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
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
