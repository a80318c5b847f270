//! The job of the benchmarks that look at a whole process: it replaces incompressible values of keyed state, at full speed
//! or at a rate, and writes down when it has output.
//!
//! First every key is written once (*fill*), then the first `hot` keys are written again and again in the same order.
//! Every record says what the state must hold when it comes, so a record that was lost, doubled or taken out of order
//! fails the job.

mod probe;
mod touches;
mod update;

use std::path::PathBuf;

use weir::prelude::*;

use probe::Probe;
use touches::{Plan, Touch, Touches};
use update::Update;

fn build(args: &mut Args) -> Result<Graph, JobError> {
    let splits = args.within("splits", 1..=64_u64, 1, "parts of the input, each with its own keys");
    let keys = args.within("keys", 1..=1_000_000_000_u64, 1_000_000, "keys of all splits");
    let plan = Plan {
        splits,
        keys: (keys / splits).max(1),
        hot: (args.get("hot", keys, "keys that are written after the fill") / splits).max(1),
        records: args.optional::<u64>("records", "records after the fill; without end if left out").map(|n| n / splits),
        rate: args.optional::<u64>("rate", "records per second after the fill; as fast as possible if left out"),
        hold: args.get("hold", false, "stop after the fill, and wait"),
    };
    let value = args.get("valueBytes", 100_usize, "bytes of a value");
    let output = args.required::<PathBuf>("output", "directory for what the sink writes down");

    let graph = Graph::new();
    graph
        .source("touches", Touches::new(plan), WatermarkStrategy::none())
        .key_by(|touch: &Touch| touch.key)
        .process("update", move |states: &mut States<'_, u64>| Update::open(states, value))
        .sink("probe", Probe::new(output));
    Ok(graph)
}

fn main() -> std::process::ExitCode {
    weir::main(Jobs::new().job("update", "replaces values of keyed state", build))
}
