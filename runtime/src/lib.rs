//! Weir: streaming jobs exactly once. The public crate.
//!
//! [`prelude`] has everything that most jobs need; the crates below are there for the rest.

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

pub use args::{ArgDefault, ArgInfo, ArgValue, Args};
pub use jobs::{JobError, JobInfo, Jobs, JobsError};

pub use weir_connectors as connectors;
pub use weir_engine as engine;
pub use weir_state as state;

/// The whole command line of a binary that offers these graphs: `run`, `jobs`, `check`, `inspect` and the rest. Returns
/// the exit code; everything else has been said.
pub fn main(jobs: Jobs) -> std::process::ExitCode {
    cli::main(jobs)
}
