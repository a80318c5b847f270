//! A running job and what surrounds it: one loop that watches status, clock and signals until the job has ended.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use weir_cluster::{JobCommand, JobError, JobOutcome, JobState, JobStatus, RunOptions, StopSummary, run_job};

use super::console::Console;
use super::http::{self, Address};
use super::live::{self, Ends, Rates};
use super::recorder::Recorder;
use super::signals::Signals;
use super::{control, machine};
use crate::cli::Refusal;

/// How often the live line is drawn.
const DRAW: Duration = Duration::from_millis(250);
/// How often a line is logged where there is no live line.
const LOG: Duration = Duration::from_secs(10);
/// Requests that wait for the job's attention.
const COMMANDS: usize = 16;

/// What a run shows itself on.
pub(crate) struct Session {
    pub console: Console,
    pub ends: Ends,
    /// Whether a live line is drawn.
    pub live: bool,
}

/// How a run ended.
pub(crate) struct End {
    /// `None`: at once, by a signal.
    pub outcome: Option<Result<JobOutcome, JobError>>,
    /// The last signal; 0 if there was none.
    pub signal: u8,
    /// The last status.
    pub status: Arc<JobStatus>,
    /// The checkpoint that the first deployment was restored from.
    pub restored_from: Option<u64>,
    pub recorder: Recorder,
}

impl Session {
    /// Runs the job until it ends, or a second signal comes.
    pub(crate) async fn run(
        self,
        mut options: RunOptions,
        work_dir: &Path,
        metrics: &Address,
        job_uri: &str,
    ) -> Result<End, Refusal> {
        let signals = Signals::new().map_err(Refusal::failed)?;
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (shown, status) = watch::channel(Arc::new(JobStatus::default()));
        options.metrics = registry();
        let pages = http::OneRun { metrics: options.metrics.clone(), status: status.clone() };
        let served = http::serve(metrics, Arc::new(pages)).await.map_err(Refusal::bad_input)?;
        let _control = control::serve(work_dir, commands.clone(), status.clone()).map_err(Refusal::bad_input)?;
        let at =
            served.as_ref().map_or_else(|| "off".to_owned(), |server| format!("http://{}/metrics", server.address));
        tracing::info!(job = %options.job.name, graph = options.job.job, storage = job_uri, metrics = at, "starting");
        let job = tokio::spawn(run_job(options, taken, shown));
        let recorder = Recorder::new(self.ends.clone());
        let watcher = Watcher {
            session: self,
            recorder,
            rates: Rates::default(),
            status,
            commands,
            stopping: None,
            restored_from: None,
        };
        Ok(watcher.watch(job, signals).await)
    }
}

/// A registry that counts the process too.
pub(crate) fn registry() -> Registry {
    let registry = Registry::new();
    // Memory, CPU, files and threads of the process; a machine without /proc has none.
    let _ = registry.register(Box::new(ProcessCollector::for_self()));
    registry
}

struct Watcher {
    session: Session,
    recorder: Recorder,
    rates: Rates,
    status: watch::Receiver<Arc<JobStatus>>,
    commands: mpsc::Sender<JobCommand>,
    /// Set by the first signal.
    stopping: Option<oneshot::Receiver<Result<StopSummary, String>>>,
    restored_from: Option<Option<u64>>,
}

impl Watcher {
    async fn watch(mut self, mut job: JoinHandle<Result<JobOutcome, JobError>>, mut signals: Signals) -> End {
        let mut draw = interval(if self.session.live { DRAW } else { LOG });
        draw.set_missed_tick_behavior(MissedTickBehavior::Skip);
        draw.tick().await;
        let mut signal = 0;
        let outcome = loop {
            tokio::select! {
                ended = &mut job => break Some(ended.unwrap_or_else(|panic| Err(JobError::Failed { reason: format!("weir itself failed: {panic}") }))),
                changed = self.status.changed(), if self.status.has_changed().is_ok() => if changed.is_ok() { self.take_status() },
                _ = draw.tick() => self.show(),
                number = signals.next() => {
                    signal = number;
                    if !self.stop() {
                        job.abort();
                        break None;
                    }
                }
                answer = stopped(&mut self.stopping) => self.note_stop(answer),
            }
        };
        self.take_status();
        if self.session.live {
            self.session.console.draw("");
        }
        let status = self.status.borrow().clone();
        End { outcome, signal, status, restored_from: self.restored_from.flatten(), recorder: self.recorder }
    }

    fn take_status(&mut self) {
        let status = self.status.borrow_and_update().clone();
        self.recorder.take(&status);
        if matches!(status.state, JobState::Running) && self.restored_from.is_none() {
            self.restored_from = Some(status.restored_from.map(|id| id.0));
        }
    }

    fn show(&mut self) {
        let status = self.status.borrow().clone();
        let now = Timestamp::now().as_millisecond();
        let (rate_in, rate_out) = self.rates.update(now, self.recorder.records(&status));
        if self.session.live {
            self.session.console.draw(&live::line(&status, (rate_in, rate_out), now));
            return;
        }
        let checkpoint = status.last_checkpoint.as_ref();
        tracing::info!(
            state = status.state.name(),
            in_per_s = rate_in.round(),
            out_per_s = rate_out.round(),
            checkpoint = checkpoint.map(|last| last.id.0),
            checkpoint_age_ms = checkpoint.map(|last| now - last.completed_at.0),
            state_bytes = live::state_size(&status.state_bytes),
            rss_bytes = machine::rss(),
            lag_ms = status.lag_ms,
            restarts = status.restart_count,
            "progress"
        );
    }

    /// The first time, asks for a final checkpoint and returns true. Before the journal is claimed there is nothing to
    /// keep, and the second time nothing is waited for.
    fn stop(&mut self) -> bool {
        if self.stopping.is_some() || self.status.borrow().generation.is_none() {
            return false;
        }
        let (reply, answered) = oneshot::channel();
        self.stopping = Some(answered);
        tracing::info!("stopping with a final checkpoint; once more ends at once");
        self.commands.try_send(JobCommand::Stop { savepoint: None, timeout: None, reply }).is_ok()
    }

    fn note_stop(&mut self, answer: Result<StopSummary, String>) {
        match answer {
            Ok(StopSummary { with_final_checkpoint: true, .. }) => {}
            Ok(StopSummary { checkpoint, with_final_checkpoint: false }) => {
                tracing::warn!(checkpoint = checkpoint.map(|id| id.0), "no final checkpoint was complete in time");
            }
            Err(reason) => tracing::warn!(reason, "the job did not stop as it should"),
        }
    }
}

/// The answer to the request to stop; waits for ever if there was none, or it was answered already.
async fn stopped(stopping: &mut Option<oneshot::Receiver<Result<StopSummary, String>>>) -> Result<StopSummary, String> {
    match stopping {
        Some(answered) if !answered.is_terminated() => match answered.await {
            Ok(answer) => answer,
            // The job's own end says why.
            Err(_) => std::future::pending().await,
        },
        Some(_) | None => std::future::pending().await,
    }
}
