//! `weir-bench [NAME…] [--json FILE] [--rounds N] [--scale S]`: benchmarks of the engine, each against a baseline.
//!
//! Every leg (the engine's side, the baseline's side) runs in a process of its own, so that CPU time and memory are its
//! own; legs are interleaved over several rounds, because machines are shared and noisy, and a result is a ratio of
//! medians. A leg prints a checksum of what it computed; a ratio counts only if the checksums agree.

mod harness;
mod job;
mod legs;
mod usage;
mod zipf;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Benchmarks of Weir, each against a baseline in the same run, interleaved, on verified output.
#[derive(Parser)]
struct Cli {
    /// Benchmarks to run; all if none is named.
    names: Vec<String>,
    /// Write one JSON object per measurement to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Rounds over which legs are interleaved.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Multiplies the number of records.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Runs one leg in this process and prints its measurement; used by the harness itself.
    #[arg(long, hide = true)]
    leg: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.leg {
        Some(leg) => legs::run(leg, cli.scale).and_then(|measured| {
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }),
        None => harness::run(&cli.names, cli.json.as_deref(), cli.rounds, cli.scale),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
