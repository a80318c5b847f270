//! The job that the chaos tests run, kill and run again.
//!
//! It reads JSON Lines with unique ids and writes what an outside observer can check line by line: every event as it is
//! (`ids`), tumbling and session windows (`windows`), and what a function with timers and four kinds of state remembers
//! (`timers`). Nothing in its output depends on the order in which files are read, so a plain loop over the input knows
//! every line of it.

mod ledger;
mod paced;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use weir::prelude::*;

use ledger::Ledger;
use paced::Paced;

/// An event of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Event {
    id: u64,
    key: u32,
    /// Milliseconds since the Unix epoch.
    time: i64,
    value: i64,
}

/// The events of one key in one window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct InWindow {
    kind: String,
    key: u32,
    start: i64,
    end: i64,
    count: u64,
    sum: i64,
}

/// Counts events and adds their values up.
#[derive(Debug, Clone)]
struct Totals;

impl Aggregate for Totals {
    type In = Event;
    type Acc = (u64, i64);
    type Out = (u64, i64);

    fn create(&self) -> (u64, i64) {
        (0, 0)
    }

    fn add(&self, acc: &mut (u64, i64), event: &Event) {
        *acc = (acc.0 + 1, acc.1 + event.value);
    }

    fn merge(&self, acc: &mut (u64, i64), other: (u64, i64)) {
        *acc = (acc.0 + other.0, acc.1 + other.1);
    }

    fn result(&self, acc: &(u64, i64)) -> (u64, i64) {
        *acc
    }
}

fn in_window(kind: &str, windowed: Windowed<u32, (u64, i64)>) -> InWindow {
    let Windowed { key, window, value: (count, sum) } = windowed;
    InWindow { kind: kind.to_owned(), key, start: window.start, end: window.end, count, sum }
}

fn build(args: &mut Args) -> Result<Graph, JobError> {
    let input = args.required::<PathBuf>("input", "directory of JSON Lines");
    let output = args.required::<PathBuf>("output", "directory for ids, windows and timers");
    let rows = args.within("rows", 1..=1_000_000_usize, 1_000_000, "records that a file delivers before it pauses");
    let pause = args.optional::<Duration>("pause", "how long it pauses; not at all if left out");
    let disorder = args.get("disorder", Duration::from_millis(400), "how far event times may be out of order");
    let tumbling = args.get("tumbling", Duration::from_secs(2), "size of tumbling windows");
    let gap = args.get("gap", Duration::from_millis(1501), "gap that ends a session");
    let bucket = args.get("bucket", Duration::from_secs(1), "how often a key's timer is due");
    let padding = args.within("padding", 0..=65_536_usize, 16, "bytes that state keeps beside each event");

    let graph = Graph::new();
    let source = Paced::new(FileSource::new(input, JsonLines::<Event>::new()), rows, pause);
    let events = graph.source("events", source, WatermarkStrategy::bounded(|event: &Event| event.time, disorder));
    events.sink("ids", FileSink::json_lines(output.join("ids")));
    let keyed = events.key_by(|event| event.key);
    let fixed = keyed.window(Tumbling::of(tumbling)).aggregate("tumbling", Totals).map(|w| in_window("tumbling", w));
    let sessions = keyed.window(Session::with_gap(gap)).aggregate("sessions", Totals).map(|w| in_window("session", w));
    fixed.union(&sessions).sink("windows", FileSink::json_lines(output.join("windows")));
    keyed
        .process("ledger", move |states: &mut States<'_, u32>| Ledger::open(states, bucket, padding))
        .sink("timers", FileSink::json_lines(output.join("timers")));
    Ok(graph)
}

fn main() -> std::process::ExitCode {
    weir::main(Jobs::new().job("ledger", "keeps books that an outsider can check", build))
}
