//! `weir-bench [NAME…] [--json FILE] [--rounds N] [--scale S]`: benchmarks of the engine, each against a baseline.
//!
//! Whatever is measured runs in a process of its own, so that CPU time and memory are its own, and is looked at from
//! outside: by its output, the files and the timeline in its bucket, and `/proc`. A figure counts only if the output was
//! verified.

mod bucket;
mod cgroup;
mod checkpoint_size;
mod checkpoint_time;
mod comparisons;
mod csv;
mod figure;
mod footprint;
mod harness;
mod job;
mod legs;
mod nexmark;
mod pause;
mod probe;
mod process;
mod recovery;
mod server;
mod state_job;
mod usage;
mod zipf;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use harness::Context;

// Brings the allocator of every Weir binary.
use weir as _;

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
    /// Multiplies sizes and times: 1 is what the bars are meant for, 0.01 takes seconds.
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
        None => harness::run(&cli.names, cli.json.as_deref(), &Context { rounds: cli.rounds, scale: cli.scale }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
