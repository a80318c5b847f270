//! The command line of every binary that hands its graphs to [`main`](crate::main()).
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done: finished, stopped with a final checkpoint, nothing left to do, nothing damaged; a worker that was asked to go |
//! | 1 | the job failed, or what was looked at is damaged or cannot be read |
//! | 2 | refused before anything ran: the manifest, the arguments, the storage or the command line must change |
//! | 3 | another process has taken the job over |
//! | 130, 143 | ended at once by a second Ctrl-C or SIGTERM, without a final checkpoint |

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::jobs::Jobs;
use crate::manifest::{self, Loaded, Set};
use crate::run::{Address, LogFormat};
use crate::worker::WorkerFlags;

mod ask;
mod check;
mod ctl;
mod delete;
mod inspect;
mod jobs;

/// Streaming jobs, exactly once.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed or damaged; 2 refused before anything ran; \
3 taken over by another process; 130 and 143 ended at once by a second Ctrl-C or SIGTERM."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a job on this machine
    Run(RunFlags),
    /// List the graphs of this binary with their arguments and defaults
    Jobs {
        /// Only this graph
        name: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a resolved job as a runtime pod does: with its control API, metrics and probes
    Worker(WorkerFlags),
    /// Ask a runtime pod: its status, a checkpoint, a savepoint, to stop or to end
    Ctl(ctl::Ctl),
    /// Look at a job, its storage and what it would start from; claims nothing, writes nothing that stays
    Check(check::CheckFlags),
    /// Remove a resolved job's checkpoints and journal from its storage; savepoints stay
    Delete(delete::DeleteFlags),
    /// Ask a running job for a checkpoint
    Checkpoint(AskFlags),
    /// Ask a running job for a savepoint: a checkpoint of its own objects that outlives the job
    Savepoint {
        #[command(flatten)]
        ask: AskFlags,
        /// Its name: it becomes the folder savepoints/NAME below the job
        #[arg(long)]
        name: String,
    },
    /// Ask a running job to take a final checkpoint and end
    Stop {
        #[command(flatten)]
        ask: AskFlags,
        /// Also keep the final checkpoint as a savepoint of this name
        #[arg(long, value_name = "NAME")]
        savepoint: Option<String>,
    },
    /// Ask a running job where it stands
    Status(AskFlags),
    /// Show what is in a bucket or directory
    Inspect(inspect::Inspect),
}

/// Which job, and what is different about it this time.
#[derive(Debug, Clone, Args)]
pub(crate) struct ManifestFlags {
    /// The manifest: a StreamJob
    #[arg(value_name = "JOB.yaml")]
    pub file: PathBuf,
    /// Replace a field, such as spec.args.events=1000; may be repeated. The value is JSON if it can be read as such, else a text
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<Set>,
    /// Start from this: empty, checkpoint:ID, a savepoint's URI or a job's URI. Consumed once: the same value is ignored afterwards
    #[arg(long, value_name = "URI|empty", value_parser = restore_from)]
    pub restore_from: Option<Set>,
}

/// How a job is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunFlags {
    #[command(flatten)]
    pub manifest: ManifestFlags,
    /// Write a summary of the run to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Directory for local files, a cache of the storage [default: weir-data/work/NAME]
    #[arg(long, value_name = "DIR")]
    pub work_dir: Option<PathBuf>,
    /// Where /metrics, /livez, /readyz and /status are served; off for nowhere [default: 127.0.0.1:9464, or a free port if that is taken]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_addr: Option<Address>,
    /// Form of the log on standard error; RUST_LOG says what is logged
    #[arg(long, value_enum, default_value_t)]
    pub log: LogFormat,
}

/// Which running job is asked.
#[derive(Debug, Clone, Args)]
struct AskFlags {
    /// The job's manifest
    #[arg(value_name = "JOB.yaml")]
    file: PathBuf,
    /// The directory that `weir run` was given, if it was given one
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn restore_from(text: &str) -> Result<Set, String> {
    manifest::parse_restore_from(text).map(|spec| Set::restore_from(&spec))
}

impl ManifestFlags {
    /// Reads the manifest and replaces what is to be replaced.
    pub fn load(&self) -> Result<Loaded, manifest::LoadError> {
        let set: Vec<Set> = self.restore_from.iter().chain(&self.set).cloned().collect();
        manifest::load(&self.file, &set)
    }
}

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The job failed, or something is damaged.
    Failed,
    /// Refused before anything ran.
    BadInput,
    /// Another process has taken the job over.
    Fenced,
    /// Ended at once by this signal.
    Signal(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Fenced => 3,
            Self::Signal(number) => 128 + number,
        }
    }
}

/// An error that ends a command, and with which code.
#[derive(Debug)]
pub(crate) struct Refusal {
    exit: Exit,
    error: Box<dyn Error + Send + Sync>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&chain(&*self.error))
    }
}

impl Refusal {
    /// The user must change something.
    pub(crate) fn bad_input(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::BadInput, error: error.into() }
    }

    /// With which code it ends the command.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// It did not work.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Failed, error: error.into() }
    }
}

/// Runs the command line of a binary with these graphs.
pub(crate) fn main(jobs: Jobs) -> ExitCode {
    crate::memory::configure();
    let cli = Cli::parse();
    let exit = match jobs.check().map_err(Refusal::bad_input).and_then(|()| dispatch(cli.command, jobs)) {
        Ok(exit) => exit,
        Err(refusal) => {
            // Nobody to tell is no other failure.
            let _ = writeln!(std::io::stderr(), "error: {refusal}");
            refusal.exit
        }
    };
    ExitCode::from(exit.code())
}

fn dispatch(command: Command, jobs: Jobs) -> Result<Exit, Refusal> {
    match command {
        Command::Run(flags) => crate::run::run(flags, jobs),
        Command::Jobs { name, json } => jobs::list(&jobs, name.as_deref(), json),
        Command::Worker(flags) => crate::worker::run(&flags, jobs),
        Command::Ctl(flags) => ctl::ctl(flags),
        Command::Check(flags) => check::check(&flags, &jobs),
        Command::Delete(flags) => delete::delete(&flags),
        Command::Checkpoint(flags) => ask::checkpoint(&flags),
        Command::Savepoint { ask, name } => ask::savepoint(&ask, name),
        Command::Stop { ask, savepoint } => ask::stop(&ask, savepoint),
        Command::Status(flags) => ask::status(&flags),
        Command::Inspect(flags) => inspect::inspect(flags),
    }
}

/// An error with its causes, in one line unless it is several refusals. A cause that its error repeats is left out.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Prints what was asked for. A reader that has gone (`| head`) is no failure.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Refusal> {
    let mut text = serde_json::to_string_pretty(value).map_err(Refusal::failed)?;
    text.push('\n');
    print(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner: no such file")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("no such file")));
        assert_eq!(chain(&error), "outer: inner: no such file");
    }

    #[test]
    fn flags_are_refused_with_what_is_allowed() {
        for (line, message) in [
            (
                "weir run job.yaml --set interval=1",
                "found \"interval\"; allowed: a path that begins with spec or metadata; write it as in messages, such as spec.args.events",
            ),
            (
                "weir run job.yaml --metrics-addr 9464",
                "found \"9464\"; allowed: HOST:PORT such as 127.0.0.1:9464, or off; port 0 takes any free one",
            ),
            (
                "weir run job.yaml --restore-from latest",
                "found \"latest\"; allowed: empty, checkpoint:ID, savepoint:URI or journal:URI; write the kind before the colon",
            ),
        ] {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains(message), "{line}: {error}");
        }
    }
}
