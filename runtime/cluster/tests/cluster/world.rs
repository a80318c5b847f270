//! A small world for a job: a store, a ledger, a valve, and processes that can be started, crashed and replaced.
//!
//! A process is a tokio runtime of its own with a work directory of its own. A crash drops the runtime without any clean
//! end, as `kill -9` would: whatever was not in the store or the ledger is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use weir_api::{ResolvedJob, StreamJob, Surface};
use weir_cluster::{
    CheckpointSummary, Defects, GraphFactory, JobCommand, JobError, JobOutcome, JobStatus, RunOptions,
    SavepointSummary, StopSummary, journal, run_job,
};
use weir_protocol::journal::JournalEntry;
use weir_storage::{MemoryStore, ObjectStore};

use crate::parts::{Ledger, Numbers, Trap, Valve, counting_graph};

/// Longest wait for anything a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that survives a process.
pub struct World {
    pub store: MemoryStore,
    pub ledger: Ledger,
    pub valve: Valve,
    pub trap: Trap,
    pub numbers: Numbers,
    pub job: ResolvedJob,
    pub defects: Defects,
    dirs: tempfile::TempDir,
    started: std::cell::Cell<u32>,
}

/// A job that takes checkpoints by hand only.
pub fn quiet_job(slots: u32) -> ResolvedJob {
    let manifest = serde_json::json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": {"name": "test"},
        "spec": {
            "job": "count",
            "worker": {"slots": slots, "memory": "128Mi"},
            "checkpoint": {"interval": "24h"},
            "restart": {"strategy": "ExponentialDelay", "initial": "20ms", "max": "50ms"},
        },
    });
    let job: StreamJob = serde_json::from_value(manifest).unwrap();
    weir_api::resolve(&job, Surface::CommandLine).unwrap()
}

impl World {
    /// Two splits, parallelism 2, unbounded.
    pub fn new() -> Self {
        let valve = Valve::default();
        let numbers = Numbers { valve: valve.clone(), splits: 2, end: None, times: Default::default() };
        Self {
            store: MemoryStore::new(),
            ledger: Ledger::default(),
            valve,
            trap: Trap::default(),
            numbers,
            job: quiet_job(2),
            defects: Defects::default(),
            dirs: tempfile::tempdir().unwrap(),
            started: std::cell::Cell::new(0),
        }
    }

    pub fn graph(&self) -> GraphFactory {
        let (numbers, trap, ledger) = (self.numbers.clone(), self.trap.clone(), self.ledger.clone());
        Arc::new(move || counting_graph(&numbers, &trap, &ledger))
    }

    /// A directory that no other process has.
    pub fn fresh_dir(&self) -> PathBuf {
        self.started.set(self.started.get() + 1);
        self.dirs.path().join(format!("process-{}", self.started.get()))
    }

    pub fn options(&self) -> RunOptions {
        let mut options =
            RunOptions::new(self.job.clone(), self.graph(), Arc::new(self.store.clone()), self.fresh_dir());
        options.defects = self.defects;
        options.sample_interval = Duration::from_millis(10);
        let store = self.store.clone();
        options.opener = Some(Arc::new(move |uri: String| {
            let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
            Box::pin(async move {
                let below = uri.strip_prefix("s3://elsewhere").ok_or(format!("{uri} is nowhere"))?;
                Ok(weir_storage::prefixed(store, below))
            })
        }));
        options
    }

    pub fn start(&self) -> Process {
        Process::start(self.options())
    }

    /// The newest journal entry.
    pub fn head(&self) -> JournalEntry {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(journal::read_newest(&self.store)).unwrap().expect("there is a journal")
    }
}

/// A process that runs a job.
pub struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    commands: mpsc::Sender<JobCommand>,
    status: watch::Receiver<Arc<JobStatus>>,
    ended: Option<JoinHandle<Result<JobOutcome, JobError>>>,
}

impl Process {
    pub fn start(options: RunOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (commands, received) = mpsc::channel(16);
        let (sender, status) = watch::channel(Arc::new(JobStatus::default()));
        let ended = Some(runtime.spawn(run_job(options, received, sender)));
        Self { runtime: Some(runtime), commands, status, ended }
    }

    pub fn status(&self) -> Arc<JobStatus> {
        self.status.borrow().clone()
    }

    /// Waits until the status is as wished.
    pub fn wait_for(&self, what: &str, wished: impl Fn(&JobStatus) -> bool) -> Arc<JobStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wished(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "waiting for {what}: {status:#?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the job runs and the source has delivered `count` numbers since this process began.
    pub fn wait_read(&self, count: u64) {
        let read = |status: &JobStatus| status.operators.get(&"numbers".into()).map_or(0, |source| source.records_out);
        let counted = |status: &JobStatus| status.operators.get(&"count".into()).map_or(0, |count| count.records_in);
        self.wait_for(&format!("{count} numbers"), |status| read(status) >= count && counted(status) >= count);
    }

    pub fn wait_running(&self) {
        self.wait_for("the job to run", |status| status.state.name() == "running");
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> JobCommand) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        self.commands.blocking_send(command(reply)).expect("the job takes commands");
        let runtime = self.runtime.as_ref().expect("the process lives");
        runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await.expect("an answer").expect("answered") })
    }

    pub fn try_checkpoint(&self) -> Result<CheckpointSummary, String> {
        self.ask(|reply| JobCommand::Checkpoint { reply })
    }

    pub fn checkpoint(&self) -> CheckpointSummary {
        self.try_checkpoint().unwrap()
    }

    pub fn savepoint(&self, name: &str) -> Result<SavepointSummary, String> {
        self.ask(|reply| JobCommand::Savepoint { name: name.to_owned(), reply })
    }

    pub fn command(&self, command: JobCommand) {
        self.commands.blocking_send(command).expect("the job takes commands");
    }

    /// Asks for a checkpoint and does not wait.
    pub fn request_checkpoint(&self) {
        self.command(JobCommand::Checkpoint { reply: oneshot::channel().0 });
    }

    /// Stops with a final checkpoint.
    pub fn stop(self) -> StopSummary {
        let summary = self.ask(|reply| JobCommand::Stop { savepoint: None, timeout: None, reply }).unwrap();
        assert!(matches!(self.outcome(), Ok(JobOutcome::Stopped { .. })));
        summary
    }

    /// Stops with a final checkpoint that stays as a savepoint.
    pub fn stop_with_savepoint(self, name: &str) -> StopSummary {
        let summary =
            self.ask(|reply| JobCommand::Stop { savepoint: Some(name.to_owned()), timeout: None, reply }).unwrap();
        assert!(matches!(self.outcome(), Ok(JobOutcome::Stopped { .. })));
        summary
    }

    /// Waits for the end.
    pub fn outcome(mut self) -> Result<JobOutcome, JobError> {
        let runtime = self.runtime.take().expect("the process lives");
        let ended = self.ended.take().expect("ended once");
        let outcome = runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, ended).await {
                Ok(outcome) => outcome.expect("the run did not panic"),
                Err(_) => panic!("the run does not end: {:#?}", self.status()),
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        outcome
    }

    /// `kill -9`.
    pub fn crash(mut self) {
        self.runtime.take().expect("the process lives").shutdown_timeout(Duration::from_secs(5));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Polls until `condition` holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
    format!("{error}{cause}")
}
