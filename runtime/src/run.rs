//! `weir run`: one job in this process, from the manifest to the exit code.
//!
//! [`weir_cluster`] runs the job. What is here surrounds it: the runtime, signals, the live line or log, metrics over HTTP,
//! the socket for requests, and the report.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use weir_api::ResolvedJob;
use weir_cluster::journal::JournalError;
use weir_cluster::{GraphFactory, JobError, JobOutcome, PreviewError, ProcessMemory, RunOptions, StoreOpener, preview};
use weir_storage::{ObjectStore, StoreOptions, prefixed};

use crate::cli::{Exit, Refusal, RunFlags, chain};
use crate::jobs::Jobs;
use crate::manifest::{Loaded, Place, place_of};
use crate::memory::OwnMemory;
use crate::report::{self, Ending, Report};

mod console;
pub(crate) mod control;
mod http;
mod live;
mod lock;
mod log;
mod machine;
mod recorder;
mod session;
mod signals;

pub(crate) use http::{Address, Shown, serve as serve_http};
pub(crate) use log::{Format as LogFormat, init as init_log};
pub(crate) use session::registry;
pub(crate) use signals::Signals;

pub(crate) use console::Console;
use live::Ends;
pub(crate) use lock::take as take_work_dir;
use session::{End, Session};

/// Threads for the coordinator and everything else behind the stream. Subtasks have one for each slot.
const CONTROL_THREADS: usize = 1;
/// How long blocking work may hold up the end of the process.
const SHUTDOWN: Duration = Duration::from_millis(500);
/// Below the work directory: what the job itself keeps there.
const WORKER: &str = "worker-0";

/// Runs the job of `flags`.
pub(crate) fn run(flags: RunFlags, jobs: Jobs) -> Result<Exit, Refusal> {
    let started = (Instant::now(), Timestamp::now().as_millisecond());
    let loaded = flags.manifest.load().map_err(Refusal::bad_input)?;
    let graph = loaded.graph(&jobs).map_err(Refusal::bad_input)?;
    let place = place_of(&loaded.job).map_err(Refusal::bad_input)?;
    let work_dir = loaded.work_dir(flags.work_dir.as_deref());
    if let Some(path) = &flags.report {
        check_writable(path)?;
    }
    let _lock = lock::take(&work_dir).map_err(Refusal::bad_input)?;
    let console = Console::new();
    log::init(flags.log, &console);
    let live = Console::is_terminal() && flags.log == LogFormat::Text;
    if let Some(records) = console.records().filter(|_| live) {
        weir_connectors::print::instead_of_stdout(Arc::new(parking_lot::Mutex::new(records)));
    }
    let runtime = threads("weir", CONTROL_THREADS)?;
    let flow = threads("weir-flow", loaded.job.slots as usize)?;
    let ended = runtime.block_on(async {
        let options = options(loaded.job.clone(), graph_of(&loaded, jobs), &place, &work_dir).await?;
        let memory: Arc<dyn ProcessMemory> = Arc::new(OwnMemory);
        let options = RunOptions { flow: Some(flow.handle().clone()), memory: Some(memory), ..options };
        refuse_early(&options).await?;
        let session = Session { console, ends: Ends::of(&graph), live };
        session.run(options, &work_dir, flags.metrics_addr.as_ref().unwrap_or(&Address::Default), &place.job_uri).await
    })?;
    flow.shutdown_timeout(SHUTDOWN);
    runtime.shutdown_timeout(SHUTDOWN);
    let report = report_of(&loaded, &place, &ended, started);
    let written = flags.report.as_deref().map_or(Ok(()), |path| write_report(&report, path));
    let exit = conclude(ended, &report)?;
    written.map(|()| exit)
}

pub(crate) fn threads(name: &str, count: usize) -> Result<tokio::runtime::Runtime, Refusal> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(count).enable_all().thread_name(name).build();
    runtime.map_err(Refusal::failed)
}

/// Makes a manifest's graph, anew for every deployment; what is wrong with its arguments is told at their lines.
pub(crate) fn graph_of(loaded: &Loaded, jobs: Jobs) -> GraphFactory {
    let loaded = loaded.clone();
    Arc::new(move || loaded.graph(&jobs).map_err(|error| chain(&error)))
}

/// What a run is given. Nothing is asked of the storage yet.
pub(crate) async fn options(
    job: ResolvedJob,
    graph: GraphFactory,
    place: &Place,
    work_dir: &Path,
) -> Result<RunOptions, Refusal> {
    let objects = open(place).await.map_err(Refusal::bad_input)?;
    let opener = opener(place.options.clone());
    Ok(RunOptions { opener: Some(opener), ..RunOptions::new(job, graph, objects, work_dir.join(WORKER)) })
}

/// Opens the job's own place.
pub(crate) async fn open(place: &Place) -> Result<Arc<dyn ObjectStore>, weir_storage::OpenError> {
    let store = weir_storage::open(&place.storage_uri, &place.options).await?;
    let below = place.job_uri.strip_prefix(place.storage_uri.trim_end_matches('/')).unwrap_or_default();
    Ok(prefixed(store, below))
}

/// Opens other places the way this one is opened.
fn opener(options: StoreOptions) -> StoreOpener {
    Arc::new(move |uri| {
        let options = options.clone();
        Box::pin(async move { weir_storage::open(&uri, &options).await.map_err(|error| chain(&error)) })
    })
}

/// What would be refused after the claim is refused before it, and leaves no trace in the journal. Storage that does not
/// answer is left to the run itself, which probes it and says more.
async fn refuse_early(options: &RunOptions) -> Result<(), Refusal> {
    match preview(options).await {
        Ok(_) | Err(PreviewError::Journal(JournalError::Store(_))) => Ok(()),
        Err(unanswered) if unanswered.can_retry() => Ok(()),
        Err(refused) => Err(Refusal::bad_input(refused)),
    }
}

/// A report that cannot be written must not be noticed after hours.
fn check_writable(path: &Path) -> Result<(), Refusal> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Without a name: a process that is killed here leaves nothing behind.
    let written = match path.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => tempfile::tempfile_in(directory).map(drop),
    };
    written.map_err(|source| Refusal::bad_input(ReportError { file: path.to_owned(), source }))
}

fn write_report(report: &Report, path: &Path) -> Result<(), Refusal> {
    report.write(path).map_err(|source| Refusal::failed(ReportError { file: path.to_owned(), source }))
}

/// The report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the report {file}")]
struct ReportError {
    file: PathBuf,
    #[source]
    source: std::io::Error,
}

fn report_of(loaded: &Loaded, place: &Place, ended: &End, (started, started_at): (Instant, i64)) -> Report {
    let (status, job) = (&ended.status, &loaded.job);
    let (records_in, records_out) = ended.recorder.records(status);
    Report {
        format: report::FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: job.name.to_string(),
        job: job.job.clone(),
        storage: place.job_uri.clone(),
        parallelism: job.parallelism,
        outcome: ending(ended),
        error: ended.outcome.as_ref().and_then(|outcome| outcome.as_ref().err()).map(|error| chain(error)),
        job_id: status.job_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        generation: status.generation.map_or(0, |generation| generation.0),
        restored_from: ended.restored_from,
        started_at,
        ended_at: Timestamp::now().as_millisecond(),
        wall_seconds: started.elapsed().as_secs_f64(),
        cpu_seconds: machine::cpu_seconds(),
        peak_rss_bytes: machine::peak_rss(),
        records_in,
        records_out,
        operators: status.operators.iter().map(|(id, counters)| (id.to_string(), counters.into())).collect(),
        checkpoints: ended.recorder.checkpoints(status),
        restarts: status.restarts.iter().map(Into::into).collect(),
        samples: ended.recorder.samples(),
    }
}

fn ending(ended: &End) -> Ending {
    match &ended.outcome {
        None => Ending::Interrupted,
        Some(Err(_)) => Ending::Failed,
        Some(Ok(JobOutcome::Stopped { .. })) => Ending::Stopped,
        Some(Ok(JobOutcome::Finished { .. })) => Ending::Finished,
        Some(Ok(JobOutcome::Settled(_))) => Ending::Settled,
        Some(Ok(JobOutcome::Cancelled)) => Ending::Interrupted,
        Some(Ok(JobOutcome::Fenced { .. })) => Ending::Fenced,
    }
}

/// Says how it ended, and with which code.
fn conclude(ended: End, report: &Report) -> Result<Exit, Refusal> {
    let Some(outcome) = ended.outcome else { return Ok(Exit::Signal(ended.signal)) };
    let outcome = outcome.map_err(|error| match error {
        JobError::Failed { .. } => Refusal::failed(error),
        other => Refusal::bad_input(other),
    })?;
    let seconds = report.wall_seconds;
    let (records_in, records_out) = (report.records_in, report.records_out);
    let (checkpoints, restarts) = (report.checkpoints.completed, report.restarts.len());
    let told = |how: &str| tracing::info!(records_in, records_out, seconds, checkpoints, restarts, "{how}");
    let from = |checkpoint: Option<weir_protocol::CheckpointId>| match checkpoint {
        Some(id) => format!("goes on from checkpoint {id}"),
        None => "begins anew".to_owned(),
    };
    Ok(match outcome {
        JobOutcome::Finished { .. } => {
            told("finished: all input is read, all output is committed");
            Exit::Done
        }
        JobOutcome::Stopped { checkpoint } => {
            told(&format!("stopped; the next run {}", from(checkpoint)));
            Exit::Done
        }
        JobOutcome::Settled(status) => {
            tracing::info!(
                "nothing to run: the job is {status}; change it, or run it with --restore-from empty to begin anew"
            );
            Exit::Done
        }
        JobOutcome::Cancelled => Exit::Signal(ended.signal),
        JobOutcome::Fenced { by } => {
            tracing::error!("another process has taken the job over: {by}");
            Exit::Fenced
        }
    })
}

#[cfg(test)]
mod tests;
