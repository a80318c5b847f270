//! Weir: streaming jobs in Rust, exactly once from end to end.
//!
//! A job is a graph of sources, operators and sinks. It is written with the typed API, registered under a name, and run by
//! [`main`](fn@main) from a manifest, on a laptop or on a cluster, with the same command line as the stock `weir` binary.
//!
//! # A complete job
//!
//! Clicks come as JSON Lines files into a directory. Every minute of event time each user's clicks are counted; clicks that
//! come too late for their minute are kept apart; and users who have not clicked for a while are told of, by a timer.
//!
//! ```no_run
//! use serde::{Deserialize, Serialize};
//! use weir::prelude::*;
//!
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! struct Click {
//!     user: u64,
//!     page: String,
//!     at: i64, // event time, milliseconds since the Unix epoch
//! }
//!
//! /// A row of the results.
//! #[derive(Debug, Clone, Serialize, Deserialize)]
//! struct Clicks {
//!     user: u64,
//!     minute: i64,
//!     clicks: u64,
//! }
//!
//! /// Tells of a user who has been silent for `limit`: one value and one timer for each user.
//! struct Silence {
//!     limit: Duration,
//!     last: ValueHandle<i64>,
//! }
//!
//! impl KeyedProcessFunction<u64, Click> for Silence {
//!     type Out = u64;
//!
//!     fn process(&mut self, click: &Click, ctx: &mut ProcessContext<'_, '_, u64, u64>) -> Result<(), UserError> {
//!         let last = ctx.value(self.last).entry()?.get_or_insert(click.at);
//!         *last = click.at.max(*last);
//!         let due = *last + self.limit.as_millis() as i64;
//!         Ok(ctx.set_timer(TimeDomain::Event, due)?)
//!     }
//!
//!     // Timers of earlier clicks fire too; only the one of the last click finds nothing newer.
//!     fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, u64>) -> Result<(), UserError> {
//!         let last = ctx.value(self.last).get()?.copied();
//!         if last.is_some_and(|last| last + self.limit.as_millis() as i64 == timer.time) {
//!             ctx.value(self.last).clear()?;
//!             let user = *ctx.key();
//!             ctx.emit(user)?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! fn clicks(args: &mut Args) -> Result<Graph, JobError> {
//!     // Asked for by name, with a default and a description: `weir jobs` lists them, wrong ones are refused.
//!     let input: String = args.required("input", "directory that files of clicks come into");
//!     let output: String = args.required("output", "directory for the results");
//!     let limit = args.get("silence", Duration::from_secs(600), "how long a user must be silent");
//!
//!     let graph = Graph::new();
//!     let files = FileSource::new(input, JsonLines::new()).follow(Duration::from_secs(1));
//!     // Clicks may be five seconds out of order.
//!     let times = WatermarkStrategy::bounded(|click: &Click| click.at, Duration::from_secs(5));
//!     let by_user = graph.source("clicks", files, times).key_by(|click| click.user);
//!
//!     let late = OutputTag::new("late");
//!     let counts = by_user
//!         .window(Tumbling::of(Duration::from_secs(60)))
//!         .allowed_lateness(Duration::from_secs(10))
//!         .late_output(&late)
//!         .aggregate("count", Count::new());
//!     counts.side_output(&late).sink("late", FileSink::json_lines(format!("{output}/late")));
//!     counts
//!         .map(|counted| Clicks { user: counted.key, minute: counted.window.start, clicks: counted.value })
//!         .sink("counts", FileSink::json_lines(format!("{output}/counts")));
//!     by_user
//!         .process("silence", move |states| Ok(Silence { limit, last: states.value("last")? }))
//!         .sink("silent", FileSink::json_lines(format!("{output}/silent")));
//!     Ok(graph)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     weir::main(Jobs::new().job("clicks", "clicks per user and minute, and who fell silent", clicks))
//! }
//! ```
//!
//! With this manifest, `cargo run --release -- run clicks.yaml` runs it, takes a checkpoint every ten seconds into
//! `weir-data/` below the current directory, and goes on from the newest one whatever happened to the process:
//!
//! ```yaml
//! apiVersion: weir.dev/v1alpha1
//! kind: StreamJob
//! metadata: {name: clicks}
//! spec:
//!   job: clicks
//!   args: {input: incoming, output: results, silence: 5m}
//! ```
//!
//! # Where things are
//!
//! * [`prelude`]: what jobs are written with; [`connectors`] and [`engine`] have the rest.
//! * [`Jobs`] and [`Args`]: graphs by name, and their arguments.
//! * [`main`](fn@main): the command line: `run`, `jobs`, `check`, `checkpoint`, `savepoint`, `stop`, `status`, `inspect`; and
//!   what pods run: `worker`, `delete`, with `ctl` to ask them.
//! * [`Source`] and [`Sink`]: the contracts of connectors of your own.
//! * [`stock`]: the graphs of the stock binary; [`inspect`] and [`report`]: what is stored and reported, as values.
//!
//! # The allocator
//!
//! This crate makes jemalloc the allocator of the process, for RocksDB too. A binary that brings its own leaves out the
//! default feature `jemalloc`.

pub mod args;
mod cli;
pub mod inspect;
pub mod jobs;
pub mod manifest;
mod memory;
pub mod prelude;
pub mod report;
mod run;
mod show;
pub mod stock;
mod suggest;
mod worker;

pub use args::{ArgDefault, ArgInfo, ArgValue, Args};
pub use jobs::{JobError, JobInfo, Jobs, JobsError};
pub use memory::OwnMemory;

pub use weir_engine::sink::{Handle, Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
pub use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};

pub use weir_api as api;
pub use weir_connectors as connectors;
pub use weir_engine as engine;
pub use weir_state as state;

/// The whole command line of a binary that offers these graphs: `run`, `jobs`, `check`, `inspect` and the rest. Returns
/// the exit code; everything else has been said.
///
/// | code | meaning |
/// |---|---|
/// | 0 | done: finished, stopped with a final checkpoint, nothing left to do, nothing damaged |
/// | 1 | the job failed, or what was looked at is damaged or cannot be read |
/// | 2 | refused before anything ran: the manifest, the arguments, the storage or the command line must change |
/// | 3 | another process has taken the job over |
/// | 130, 143 | ended at once by a second Ctrl-C or SIGTERM, without a final checkpoint |
pub fn main(jobs: Jobs) -> std::process::ExitCode {
    cli::main(jobs)
}

/// The README and the guide: their examples compile.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../README.md")]
    mod readme {}
    #[doc = include_str!("../../docs/guide/getting-started.md")]
    mod getting_started {}
    #[doc = include_str!("../../docs/guide/time-and-windows.md")]
    mod time_and_windows {}
    #[doc = include_str!("../../docs/guide/state.md")]
    mod state {}
    #[doc = include_str!("../../docs/guide/connectors.md")]
    mod connectors {}
}
