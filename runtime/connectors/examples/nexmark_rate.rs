//! How fast the generator is, on one core: `cargo run --release -p weir-connectors --example nexmark_rate`.

use std::hint::black_box;
use std::time::Instant;

use weir_connectors::nexmark::{Kind, Nexmark, NexmarkBids, NexmarkConfig, NexmarkEvents};
use weir_engine::source::{Progress, Source};

const EVENTS: u64 = 20_000_000;
const BATCH: usize = 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for (name, average_bid_bytes) in [("", 100), (" without extra", 0)] {
        let config = NexmarkConfig { events: Some(EVENTS), splits: 1, average_bid_bytes, ..NexmarkConfig::default() };
        generate(&format!("mixed events{name}"), &NexmarkEvents::new(config.clone())?)?;
        generate(&format!("bids{name}"), &NexmarkBids::new(config)?)?;
    }
    Ok(())
}

fn generate<E: Kind>(name: &str, source: &Nexmark<E>) -> Result<(), Box<dyn std::error::Error>> {
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
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:32} {:8.2} M/s", records as f64 / seconds / 1e6);
    Ok(())
}
