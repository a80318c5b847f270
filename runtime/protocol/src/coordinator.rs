//! The coordinator: decides when checkpoints are taken, when they are complete, what is committed and what is deleted,
//! and when the job is deployed again.
//!
//! Sans-IO: [`Coordinator::handle`] takes one [`Event`] and the time and returns [`Action`]s; [`Coordinator::next_wakeup`]
//! says when the next [`Event::Tick`] is due. The shell does the I/O, waits between repetitions of failing calls, and
//! reports every outcome. The order that everything rests on:
//!
//! claim → deploy (replay commits) → *trigger → acknowledgements → manifest → journal entry → commit → acknowledge → delete* → …
//!
//! * Nothing is committed before its checkpoint's entry counts; nothing is deleted before the entry that stopped naming
//!   it counts, and only at a moment when the store has just confirmed that this coordinator reigns.
//! * While an append is unresolved its checkpoint can neither abort nor be followed, whatever else happens.
//! * What an aborted checkpoint prepared passes on to the next one; ids are never given out twice.
//! * After a gap between events, in which the process may have been stopped and replaced, the reign is re-validated
//!   before anything is written.

mod action;
mod checkpoint;
mod config;
mod event;
mod in_flight;
mod lifecycle;
mod output;
mod plan;
mod reign;
mod requests;
mod retire;
mod trigger;

#[cfg(test)]
mod tests;

pub use action::{AbortCause, Action, Answer, Barrier, LeaveReason};
pub use config::{
    CoordinatorConfig, DELETE_BATCH, MAX_REOPENED, MAX_WAITING_REQUESTS, MAX_WITHDRAWN, PAUSE_SUSPECTED_MS,
    RESERVED_AHEAD, TICK_MS,
};
pub use event::{DeclineCause, Event, RequestId};
pub use plan::{Deployment, OperatorPlan, OperatorReport, Plan, StoreAck, TaskAck, TaskId};
pub use retire::is_of_older_reign;

use crate::defects::Defects;
use crate::ids::{CheckpointId, Generation, Millis};
use crate::journal::{Attempts, EntryKind, Head, JobStatus, StartRequest};
use crate::restart::Restarts;
use in_flight::{BaseCounts, InFlight};
use lifecycle::{Ending, StopWish};
use output::Output;
use reign::{Append, Reign};
use requests::Requests;
use retire::Retirement;
use trigger::Triggers;

/// Where a coordinator stands.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    /// Before the start.
    New,
    /// The journal is being opened.
    Opening,
    /// A claim is to be appended.
    Claiming { kind: Box<EntryKind>, head: Box<Head> },
    /// The claim counts; tasks are being deployed.
    Deploying,
    /// Tasks run.
    Running,
    /// Tasks are cancelled; the next claim is due then.
    Backoff { until: Millis, reason: String },
    /// A last entry is to be appended.
    Settling { status: JobStatus },
    /// Nothing runs, durably.
    Settled { status: JobStatus },
    /// Fenced, refused, or the journal is unreadable.
    Left,
}

/// What a coordinator is doing, for humans and status fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// The journal is being opened and claimed.
    Starting,
    /// State is being restored, tasks are being started.
    Deploying,
    /// Tasks run.
    Running,
    /// A stop was requested, or all input has ended; the final checkpoint is under way.
    Ending,
    /// Waiting before the next attempt.
    Restarting {
        /// When.
        at: Millis,
        /// Why.
        reason: String,
    },
    /// Stopped, finished or failed.
    Settled(JobStatus),
    /// This process has no part in the job any more.
    Left,
}

/// Counts since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Checkpoints triggered.
    pub triggered: u64,
    /// Checkpoints completed.
    pub completed: u64,
    /// Checkpoints aborted because the storage did not answer.
    pub aborted_by_storage: u64,
    /// Checkpoints aborted for any other reason.
    pub aborted: u64,
    /// Aborts that count, since the last completed checkpoint.
    pub failures_in_a_row: u32,
    /// Periodic triggers that found something in the way.
    pub skipped_ticks: u64,
    /// Deployments after the first.
    pub restarts: u64,
}

/// One job's coordinator.
#[derive(Debug, Clone)]
pub struct Coordinator {
    config: CoordinatorConfig,
    request: StartRequest,
    defects: Defects,
    stage: Stage,
    reign: Reign,
    append: Option<Append>,
    stop: Option<StopWish>,
    ending: Option<Ending>,
    restarts: Restarts,
    plan: Option<Plan>,
    base: BaseCounts,
    ended_inputs: std::collections::BTreeSet<TaskId>,
    triggers: Triggers,
    in_flight: Option<InFlight>,
    /// Uploads of this deployment wait after a failure.
    uploads_wait: bool,
    last_used: CheckpointId,
    /// After an abort nothing is triggered by request or for an ending before this.
    not_before: Millis,
    output: Output,
    requests: Requests,
    retirement: Retirement,
    stats: Stats,
}

impl Coordinator {
    /// A coordinator that will start `request` when told to. `attempts` is random per process.
    pub fn new(config: CoordinatorConfig, request: StartRequest, attempts: Attempts) -> Self {
        Self {
            reign: Reign::new(&config, attempts),
            restarts: Restarts::new(config.restart.clone()),
            config,
            request,
            defects: Defects::default(),
            stage: Stage::New,
            append: None,
            stop: None,
            ending: None,
            plan: None,
            base: BaseCounts::new(),
            ended_inputs: std::collections::BTreeSet::new(),
            triggers: Triggers::default(),
            in_flight: None,
            uploads_wait: false,
            last_used: CheckpointId(0),
            not_before: Millis(i64::MIN),
            output: Output::default(),
            requests: Requests::default(),
            retirement: Retirement::default(),
            stats: Stats::default(),
        }
    }

    /// Plants defects, for tests of tests.
    #[must_use]
    pub fn with_defects(mut self, defects: Defects) -> Self {
        self.defects = defects;
        self.reign.plant(defects);
        self
    }

    /// Takes an event at `now` and says what to do. Times of successive calls should not decrease; if they do, nothing
    /// breaks, but timeouts stretch.
    pub fn handle(&mut self, event: Event, now: Millis) -> Vec<Action> {
        let mut out = Vec::new();
        if self.stage == Stage::Left {
            return out;
        }
        self.reign.observe(now);
        self.dispatch(event, now, &mut out);
        self.advance(now, &mut out);
        out
    }

    /// When the next [`Event::Tick`] is due at the latest.
    pub fn next_wakeup(&self, now: Millis) -> Millis {
        let in_flight = self.in_flight.as_ref().map(|in_flight| in_flight.deadline);
        let stop = self.stop.as_ref().map(|stop| stop.deadline);
        let backoff = match &self.stage {
            Stage::Backoff { until, .. } => Some(*until),
            Stage::New
            | Stage::Opening
            | Stage::Claiming { .. }
            | Stage::Deploying
            | Stage::Running
            | Stage::Settling { .. }
            | Stage::Settled { .. }
            | Stage::Left => None,
        };
        let due = [in_flight, stop, backoff, self.triggers.next_wakeup(&self.config), Some(self.not_before)];
        due.into_iter().flatten().filter(|due| *due > now).fold(now.plus(TICK_MS), Millis::min)
    }

    /// What it is doing.
    pub fn status(&self) -> Status {
        match &self.stage {
            Stage::New | Stage::Opening | Stage::Claiming { .. } => Status::Starting,
            Stage::Deploying => Status::Deploying,
            Stage::Running if self.ending.is_some() => Status::Ending,
            Stage::Running => Status::Running,
            Stage::Settling { .. } => Status::Ending,
            Stage::Backoff { until, reason } => Status::Restarting { at: *until, reason: reason.clone() },
            Stage::Settled { status } => Status::Settled(status.clone()),
            Stage::Left => Status::Left,
        }
    }

    /// The journal's head as last read or written.
    pub fn head(&self) -> Option<&Head> {
        self.reign.head()
    }

    /// The reigning generation, once this coordinator's claim counts.
    pub fn generation(&self) -> Option<Generation> {
        self.reign.generation()
    }

    /// The checkpoint under way.
    pub fn in_flight(&self) -> Option<CheckpointId> {
        self.in_flight.as_ref().map(|in_flight| in_flight.id)
    }

    /// Counts since the process started.
    pub fn stats(&self) -> Stats {
        Stats { skipped_ticks: self.triggers.skipped(), ..self.stats.clone() }
    }

    fn dispatch(&mut self, event: Event, now: Millis, out: &mut Vec<Action>) {
        match event {
            Event::Start => self.start(out),
            Event::Tick => {}
            Event::PauseSuspected => self.reign.suspect(),
            Event::JournalListed(newest) => {
                let actions = self.reign.journal.handle_listed(newest.as_deref());
                self.handle_journal(actions, now, out);
            }
            Event::JournalRead(sequence, outcome) => {
                let actions = self.reign.journal.handle_read(sequence, outcome);
                self.handle_journal(actions, now, out);
            }
            Event::JournalCreated(sequence, outcome) => {
                let actions = self.reign.journal.handle_created(sequence, outcome);
                self.handle_journal(actions, now, out);
            }
            Event::JournalDeleted(sequence, gone) => {
                let actions = self.reign.journal.handle_deleted(sequence, gone);
                self.handle_journal(actions, now, out);
            }
            Event::Deployed { generation, plan, restored } => {
                self.handle_deployed(generation, plan, restored.as_deref(), now, out);
            }
            Event::Failed { generation, reason, random } => {
                if self.is_current(generation) {
                    self.fail(reason, random, now, out);
                }
            }
            Event::Fatal { reason } => self.handle_fatal(reason, now, out),
            Event::InputEnded { generation, task } => {
                if self.is_current(generation) {
                    self.ended_inputs.insert(task);
                }
            }
            Event::Progress { generation, records, bytes } => {
                if self.is_current(generation) {
                    self.triggers.handle_progress(records, bytes);
                }
            }
            Event::TaskAck(ack) => self.handle_task_ack(ack),
            Event::Sealed { generation, checkpoint, task } => {
                if self.is_current(generation) {
                    self.handle_sealed(checkpoint, task);
                }
            }
            Event::StoreAck(ack) => self.handle_store_ack(ack),
            Event::Declined { generation, checkpoint, cause } => {
                if self.is_current(generation) {
                    self.handle_declined(checkpoint, cause, now, out);
                }
            }
            Event::StorageTrouble => self.note_trouble("a call failed"),
            Event::UploadsWaiting { generation, waiting } => {
                if self.is_current(generation) {
                    self.handle_uploads_waiting(waiting);
                }
            }
            Event::ManifestStored(checkpoint, stored) => self.handle_manifest_stored(checkpoint, stored),
            Event::ManifestWithdrawn(checkpoint) => self.handle_manifest_withdrawn(checkpoint),
            Event::Committed(checkpoint) => self.output.handle_committed(checkpoint),
            Event::Disowned { generation, worker: _, keys } => {
                if self.is_current(generation) {
                    self.retirement.handle_disowned(keys, self.last_used);
                }
            }
            Event::SavepointCopied(name, result) => self.requests.handle_copied(name, result),
            Event::ManifestLoaded(checkpoint, objects) => self.retirement.handle_loaded(checkpoint, objects),
            Event::ObjectsListed(keys) => self.handle_objects_listed(keys),
            Event::ObjectsDeleted(keys, gone) => self.retirement.handle_deleted(&keys, gone),
            Event::CheckpointRequest(request) => self.handle_checkpoint_request(request, out),
            Event::SavepointRequest(request, name) => self.handle_savepoint_request(request, name, out),
            Event::StopRequest { request, final_checkpoint_timeout_ms, savepoint } => {
                self.handle_stop_request(request, now.plus(final_checkpoint_timeout_ms), savepoint, out);
            }
        }
    }

    /// Does whatever has become possible, in the order that things depend on each other.
    fn advance(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.stage == Stage::Left {
            return;
        }
        self.expire(now, out);
        self.advance_ending(now, out);
        self.publish(now, out);
        self.copy_savepoints(out);
        self.append_next(now, out);
        self.validate_if_due(now, out);
        self.trigger(now, out);
        self.delete(out);
    }

    fn is_current(&self, generation: Generation) -> bool {
        self.generation() == Some(generation)
    }

    fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }
}
