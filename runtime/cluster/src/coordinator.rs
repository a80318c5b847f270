//! The coordinator's shell: feeds [`Coordinator`] with what happens, and has its actions carried out.
//!
//! The loop decides nothing. One event goes in, actions come out, and each action is a small function in [`actions`] that
//! starts some I/O, tells the worker something, or ends the run. All I/O runs in tasks of this shell's own, which end with
//! it: dropping a run leaves nothing behind that could still write.

mod actions;
mod config;
mod deploy;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use weir_protocol::coordinator::{Coordinator, Event, LeaveReason, Status};
use weir_protocol::journal::{Attempts, JobStatus as SettledStatus, StartRefusal, StartRequest};
use weir_protocol::{CheckpointId, Millis};

use crate::command::{JobCommand, Waiting};
use crate::commit::CommitLane;
use crate::io::Io;
use crate::message::{Order, Report, WorkerHandle};
use crate::metrics::Metrics;
use crate::options::RunOptions;
use crate::outcome::{JobError, JobOutcome};
use crate::pulse::Pulse;
use crate::random::{random_id, random_unit};
use crate::status::{JobState, StatusSender, View};
use crate::worker::Worker;
pub(crate) use deploy::make_graph;

/// How long background work (deletions, a savepoint's last bytes) may go on after the job has settled.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long the worker may take to end its subtasks; one that is in the middle of a blocking call is left behind.
const WORKER_STOP_LIMIT: Duration = Duration::from_secs(2);

/// Why the loop ends.
#[derive(Debug)]
enum Exit {
    Settled(SettledStatus),
    Refused(StartRefusal),
    Leave(LeaveReason),
    Cancelled,
}

/// One run of a coordinator with its worker.
pub(crate) struct Shell {
    machine: Coordinator,
    io: Arc<Io>,
    worker: WorkerHandle,
    commits: CommitLane,
    waiting: Waiting,
    view: View,
    metrics: Arc<Metrics>,
    events: mpsc::UnboundedReceiver<Event>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// I/O under way.
    jobs: JoinSet<()>,
    /// The worker and the commit lane.
    actors: JoinSet<()>,
    deploying: Option<AbortHandle>,
    /// Inputs that ended before the coordinator was told that their deployment runs.
    early_ends: Vec<Event>,
    publishing: Option<(CheckpointId, AbortHandle)>,
    was_deployed: bool,
    /// Gaps in the pulse that the coordinator knows of.
    gaps: u64,
    exit: Option<Exit>,
}

impl Shell {
    /// A shell around a coordinator that will ask the journal for `request`.
    pub(crate) fn new(
        options: RunOptions,
        request: StartRequest,
        metrics: Metrics,
        status: StatusSender,
        pulse: Pulse,
    ) -> Self {
        let (events_tx, events) = mpsc::unbounded_channel();
        let (reports_tx, reports) = mpsc::unbounded_channel();
        let (orders_tx, orders) = mpsc::unbounded_channel();
        let attempts = match &options.process[..] {
            "" => Attempts::new(random_id()),
            name => Attempts::named(name, &random_id()),
        };
        let machine = Coordinator::new(config::coordinator_config(&options.job), request, attempts)
            .with_defects(options.defects.protocol);
        let now = Millis(options.clock.now_ms());
        let mut actors = JoinSet::new();
        let (commits, lane) = CommitLane::new(events_tx.clone());
        actors.spawn(lane);
        actors.spawn(Worker::new(options.clone(), reports_tx).run(orders));
        Self {
            machine,
            io: Arc::new(Io::new(options, pulse, events_tx)),
            worker: WorkerHandle::new(orders_tx),
            commits,
            waiting: Waiting::default(),
            view: View::new(status, now),
            metrics: Arc::new(metrics),
            events,
            reports,
            jobs: JoinSet::new(),
            actors,
            deploying: None,
            early_ends: Vec::new(),
            publishing: None,
            was_deployed: false,
            gaps: 0,
            exit: None,
        }
    }

    /// Runs until the job has settled, is cancelled, or another coordinator reigns.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<JobCommand>) -> Result<JobOutcome, JobError> {
        self.handle(Event::Start);
        let mut is_listening = true;
        while self.exit.is_none() {
            let now = self.now();
            let due = Duration::from_millis(self.machine.next_wakeup(now).since(now).max(1));
            tokio::select! {
                Some(event) = self.events.recv() => self.handle(event),
                Some(report) = self.reports.recv() => self.handle_report(report),
                command = commands.recv(), if is_listening => match command {
                    Some(command) => self.handle_command(command),
                    None => is_listening = false,
                },
                Some(ended) = self.jobs.join_next() => reap(ended),
                Some(ended) = self.actors.join_next() => reap(ended),
                () = tokio::time::sleep(due) => self.handle(Event::Tick),
            }
        }
        self.leave().await
    }

    fn now(&self) -> Millis {
        Millis(self.io.options.clock.now_ms())
    }

    fn handle(&mut self, event: Event) {
        let now = self.now();
        if event == Event::StorageTrouble {
            self.metrics.count_storage_trouble();
            self.view.note_trouble(self.io.trouble.last(), now);
        } else if is_answer(&event) {
            self.view.note_answer();
        }
        if matches!(event, Event::ManifestWithdrawn(_)) {
            self.metrics.count_withdrawn();
        }
        let is_deployed = matches!(event, Event::Deployed { .. });
        let cause = match &event {
            Event::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        };
        let restarts = self.machine.stats().restarts;
        self.look_for_gap(now);
        let decision = self.io.pulse.decide();
        for action in self.machine.handle(event, now) {
            self.perform(action, &decision, now);
        }
        if self.machine.stats().restarts > restarts {
            self.note_restart(cause, now);
        }
        self.view.show(&self.machine, now);
        if is_deployed {
            std::mem::take(&mut self.early_ends).into_iter().for_each(|event| self.handle(event));
        }
    }

    /// Has the coordinator look whether it still reigns, if the process stood still.
    fn look_for_gap(&mut self, now: Millis) {
        let gaps = self.io.pulse.gaps();
        if gaps != std::mem::replace(&mut self.gaps, gaps) {
            tracing::debug!("the process stood still for a moment");
            let decision = self.io.pulse.decide();
            for action in self.machine.handle(Event::PauseSuspected, now) {
                self.perform(action, &decision, now);
            }
        }
    }

    /// The coordinator gave a deployment up: for `cause`, or because of its checkpoints.
    fn note_restart(&mut self, cause: Option<String>, now: Millis) {
        let kind = match (&cause, self.view.failed_kind()) {
            (Some(_), Some(kind)) => kind,
            (Some(_), None) => "deployment",
            (None, _) => "checkpoints",
        };
        let reason = match self.machine.status() {
            Status::Restarting { reason, .. } => reason,
            _ => cause.unwrap_or_default(),
        };
        tracing::warn!(reason, "the job restarts");
        self.metrics.count_restart(kind);
        self.view.note_restart(reason, kind, now);
    }

    fn handle_command(&mut self, command: JobCommand) {
        let timeout = self.io.options.job.wishes.upgrade.final_checkpoint_timeout.as_std();
        if matches!(command, JobCommand::Cancel) {
            self.exit = Some(Exit::Cancelled);
        } else if let Some(event) = self.waiting.ask(command, timeout) {
            self.handle(event);
        }
    }

    fn handle_report(&mut self, report: Report) {
        let event = match report {
            Report::TaskAck(ack) => {
                self.metrics.observe_timeline(&ack.timeline);
                Event::TaskAck(ack)
            }
            Report::Sealed(generation, checkpoint, task) => Event::Sealed { generation, checkpoint, task },
            Report::StoreAck(ack) => Event::StoreAck(ack),
            Report::Declined(generation, checkpoint, cause) => Event::Declined { generation, checkpoint, cause },
            Report::InputEnded(generation, task) => {
                let event = Event::InputEnded { generation, task };
                if self.machine.status() == Status::Deploying {
                    return self.early_ends.push(event);
                }
                event
            }
            Report::Failed(generation, failure) => {
                if self.machine.generation() == Some(generation) {
                    self.view.note_failure(failure.operator, failure.kind);
                }
                Event::Failed { generation, reason: failure.reason, random: random_unit() }
            }
            Report::Disowned(generation, worker, keys) => Event::Disowned { generation, worker, keys },
            Report::Sample(sample) => {
                let now = self.now();
                self.metrics.observe_sample(&sample, now);
                self.metrics.note_coordinator(self.machine.stats().skipped_ticks, self.view.last_completed(), now);
                if self.view.has_new_upload_failures(&sample) {
                    self.io.trouble.note("an upload failed and is being repeated");
                    self.handle(Event::StorageTrouble);
                }
                let waiting = sample.store.uploads_waiting > 0;
                self.handle(Event::UploadsWaiting { generation: sample.generation, waiting });
                let (generation, records, bytes) = (sample.generation, sample.source_records, sample.source_bytes);
                self.view.take_sample(*sample);
                Event::Progress { generation, records, bytes }
            }
        };
        self.handle(event);
    }

    async fn leave(mut self) -> Result<JobOutcome, JobError> {
        let exit = self.exit.take().expect("the loop ends with a reason");
        let now = self.now();
        let generation = self.machine.generation().unwrap_or_default();
        if matches!(exit, Exit::Settled(_)) {
            let drained = async { while self.jobs.join_next().await.is_some() {} };
            // What is not done by then is found and done by the next start.
            let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
        }
        self.jobs.abort_all();
        self.worker.tell(Order::Cancel(generation));
        let Self { machine, worker, commits, mut actors, mut waiting, mut view, was_deployed, .. } = self;
        drop((worker, commits));
        let ended = async { while actors.join_next().await.is_some() {} };
        if tokio::time::timeout(WORKER_STOP_LIMIT, ended).await.is_err() {
            tracing::warn!("the worker is in the middle of a blocking call and is left behind");
        }
        let checkpoint = machine.head().and_then(|head| head.restore.checkpoint());
        let (state, outcome) = conclude(exit, was_deployed, checkpoint);
        if let (Err(JobError::Failed { reason }), true) = (&outcome, was_deployed) {
            view.note_given_up(reason.clone(), now);
        }
        waiting.refuse_all(&match &outcome {
            Ok(outcome) => format!("the run ended: {outcome:?}"),
            Err(error) => format!("the run ended: {error}"),
        });
        view.end(&machine, state, now);
        outcome
    }
}

/// True for what the object store said of the journal, or took.
fn is_answer(event: &Event) -> bool {
    use weir_protocol::journal::machine::{CreateOutcome, ReadOutcome};

    match event {
        Event::JournalListed(listed) => listed.is_some(),
        Event::JournalRead(_, outcome) => !matches!(outcome, ReadOutcome::Failed),
        Event::JournalCreated(_, outcome) => matches!(outcome, CreateOutcome::Done | CreateOutcome::Exists),
        Event::ManifestStored(_, is_stored) => *is_stored,
        _ => false,
    }
}

fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

fn conclude(
    exit: Exit,
    was_deployed: bool,
    checkpoint: Option<CheckpointId>,
) -> (JobState, Result<JobOutcome, JobError>) {
    match exit {
        Exit::Settled(status) => {
            let outcome = match status.clone() {
                status if !was_deployed => Ok(JobOutcome::Settled(status)),
                SettledStatus::Stopped | SettledStatus::Running | SettledStatus::Deleted => {
                    Ok(JobOutcome::Stopped { checkpoint })
                }
                SettledStatus::Finished => Ok(JobOutcome::Finished { checkpoint }),
                SettledStatus::Failed { reason } => Err(JobError::Failed { reason }),
            };
            (JobState::of(&status), outcome)
        }
        Exit::Refused(refusal) => (JobState::Left { reason: refusal.to_string() }, Err(JobError::Refused(refusal))),
        Exit::Leave(LeaveReason::Fenced(by)) => {
            (JobState::Left { reason: format!("fenced by {by}") }, Ok(JobOutcome::Fenced { by }))
        }
        Exit::Leave(LeaveReason::Unreadable { key, reason }) => {
            let error = JobError::Unreadable { key, reason };
            (JobState::Left { reason: error.to_string() }, Err(error))
        }
        Exit::Cancelled => (JobState::Left { reason: "cancelled".to_owned() }, Ok(JobOutcome::Cancelled)),
    }
}
