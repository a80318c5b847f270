//! Gathers what the status shows, out of the coordinator's state and the workers' samples.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use weir_protocol::coordinator::{AbortCause, Coordinator, Deployment, Status};
use weir_protocol::journal::CheckpointEntry;
use weir_protocol::{Millis, OperatorId};

use super::{
    CheckpointSummary, FailureRecord, JobState, JobStatus, JournalStatus, MAX_RESTART_RECORDS, OperatorStatus,
    RestartRecord, StateBytes, SubtaskLoad,
};
use crate::message::{LoadSample, OperatorSample, WorkerSample};

/// Where the status goes.
pub(crate) type StatusSender = watch::Sender<Arc<JobStatus>>;

/// Gathers what the status shows.
#[derive(Debug)]
pub(crate) struct View {
    sender: StatusSender,
    status: JobStatus,
    /// Counters of deployments before the current one.
    before: BTreeMap<OperatorId, OperatorStatus>,
    sample: WorkerSample,
    failed_operator: Option<(OperatorId, &'static str)>,
}

impl View {
    pub(crate) fn new(sender: StatusSender, now: Millis) -> Self {
        let status = JobStatus { started_at: now, ..JobStatus::default() };
        Self { sender, status, before: BTreeMap::new(), sample: WorkerSample::default(), failed_operator: None }
    }

    /// A deployment begins: its counters begin at zero.
    pub(crate) fn note_deployment(&mut self, deployment: &Deployment) {
        self.before = self.status.operators.clone();
        // A late sample of the deployment before is in `before` already.
        self.sample = WorkerSample { generation: deployment.generation, ..WorkerSample::default() };
        self.failed_operator = None;
        self.status.restored_from = deployment.restore.checkpoint();
        if let Some(last) = self.status.restarts.last_mut() {
            last.restored = deployment.restore.checkpoint();
        }
    }

    /// An operator is to blame for the failure that is about to be handled.
    pub(crate) fn note_failure(&mut self, operator: OperatorId, kind: &'static str) {
        self.failed_operator.get_or_insert((operator, kind));
    }

    /// What kind of failure the blamed operator had.
    pub(crate) fn failed_kind(&self) -> Option<&'static str> {
        self.failed_operator.as_ref().map(|(_, kind)| *kind)
    }

    pub(crate) fn note_restart(&mut self, reason: String, kind: &'static str, now: Millis) {
        let operator = self.failed_operator.as_ref().map(|(operator, _)| operator.clone());
        self.status.restart_count += 1;
        *self.status.restarts_by_kind.entry(kind).or_default() += 1;
        let (again, by) = (reason.clone(), operator.clone());
        self.status.last_failure = Some(FailureRecord { at: now, reason: again, operator: by, kind });
        self.status.restarts.push(RestartRecord { at: now, reason, operator, kind, restored: None, delay_ms: 0 });
        let surplus = self.status.restarts.len().saturating_sub(MAX_RESTART_RECORDS);
        self.status.restarts.drain(..surplus);
    }

    /// The job is given up.
    pub(crate) fn note_given_up(&mut self, reason: String, now: Millis) {
        let operator = self.failed_operator.as_ref().map(|(operator, _)| operator.clone());
        let kind = self.failed_kind().unwrap_or("deployment");
        self.status.last_failure = Some(FailureRecord { at: now, reason, operator, kind });
    }

    /// A call to the object store failed.
    pub(crate) fn note_trouble(&mut self, message: String, now: Millis) {
        let storage = &mut self.status.storage;
        storage.failures += 1;
        storage.trouble_since.get_or_insert(now);
        storage.message = message;
    }

    /// The journal's place in the object store has answered. Uploads may have trouble of their own.
    pub(crate) fn note_answer(&mut self) {
        if self.sample.store.uploads_waiting == 0 {
            self.status.storage.trouble_since = None;
            self.status.storage.message.clear();
        }
    }

    pub(crate) fn note_abort(&mut self, cause: &AbortCause) {
        *self.status.failed.entry(cause.name()).or_default() += 1;
    }

    pub(crate) fn note_completed(&mut self, entry: &CheckpointEntry) {
        self.status.last_checkpoint = Some(CheckpointSummary::of(entry));
    }

    /// When the last part of the newest completed checkpoint was durable.
    pub(crate) fn last_completed(&self) -> Option<Millis> {
        self.status.last_checkpoint.as_ref().map(|checkpoint| checkpoint.completed_at)
    }

    /// True if uploads failed since the sample before.
    pub(crate) fn has_new_upload_failures(&self, sample: &WorkerSample) -> bool {
        let is_same = sample.generation == self.sample.generation;
        sample.store.upload_failures > if is_same { self.sample.store.upload_failures } else { 0 }
    }

    /// Takes a worker's sample; older deployments' are passed over by the generation.
    pub(crate) fn take_sample(&mut self, sample: WorkerSample) {
        if sample.generation < self.sample.generation {
            return;
        }
        self.status.operators = totals(&self.before, &sample.operators);
        self.status.loads = loads(&self.sample.loads, &sample.loads);
        let store = &sample.store;
        self.status.state_bytes = StateBytes {
            write: store.write_bytes as u64,
            clean: store.clean_bytes as u64,
            pinned: store.pinned_bytes as u64,
            past: store.past_bytes,
            chain: store.chain_bytes,
            pending: store.pending_bytes,
        };
        self.sample = sample;
    }

    /// Publishes what the coordinator does, if it changed or a sample came.
    pub(crate) fn show(&mut self, machine: &Coordinator, now: Millis) {
        self.status.state = match machine.status() {
            Status::Starting => JobState::Starting,
            Status::Deploying => JobState::Deploying,
            Status::Running => JobState::Running,
            Status::Ending => JobState::Ending,
            Status::Restarting { at, reason } => {
                if let Some(last) = self.status.restarts.last_mut() {
                    last.delay_ms = at.since(last.at);
                }
                JobState::Restarting { at, reason }
            }
            Status::Settled(status) => JobState::of(&status),
            Status::Left => self.status.state.clone(),
        };
        self.publish(machine, now);
    }

    /// Publishes the end.
    pub(crate) fn end(&mut self, machine: &Coordinator, state: JobState, now: Millis) {
        self.status.state = state;
        self.publish(machine, now);
    }

    fn publish(&mut self, machine: &Coordinator, now: Millis) {
        let stats = machine.stats();
        let status = &mut self.status;
        status.job_id = machine.head().map(|head| head.job_id.clone());
        status.generation = machine.generation();
        status.completed = stats.completed;
        status.skipped = stats.skipped_ticks;
        status.in_flight = machine.in_flight();
        status.retained = machine.head().map_or(0, |head| head.checkpoints.len() as u64);
        status.journal =
            machine.head().map(|head| JournalStatus { status: head.status.clone(), revision: head.revision.clone() });
        let newest = machine.head().and_then(|head| head.newest()).map(|entry| entry.id);
        let is_same = status.checkpoints.first().map(|checkpoint| checkpoint.id) == newest
            && status.checkpoints.len() as u64 == status.retained;
        if let Some(head) = machine.head().filter(|_| !is_same) {
            status.checkpoints = head.checkpoints.iter().rev().map(CheckpointSummary::of).collect();
        }
        if status.last_checkpoint.is_none() {
            status.last_checkpoint = machine.head().and_then(|head| head.newest()).map(CheckpointSummary::of);
        }
        status.lag_ms = lag(&status.operators, now);
        let shown = JobStatus { sampled_at: self.sender.borrow().sampled_at, ..status.clone() };
        if **self.sender.borrow() != shown {
            status.sampled_at = now;
            self.sender.send_replace(Arc::new(JobStatus { sampled_at: now, ..shown }));
        }
    }
}

/// Counters over all subtasks, on top of those of earlier deployments.
fn totals(
    before: &BTreeMap<OperatorId, OperatorStatus>,
    samples: &BTreeMap<(OperatorId, u32), OperatorSample>,
) -> BTreeMap<OperatorId, OperatorStatus> {
    let mut totals = before.clone();
    for status in totals.values_mut() {
        status.watermark = None;
    }
    let mut lowest: BTreeMap<&OperatorId, Option<i64>> = BTreeMap::new();
    for ((operator, _), sample) in samples {
        let total = totals.entry(operator.clone()).or_default();
        let OperatorSample { records_in, records_out, bytes_in, late, dead, watermark } = *sample;
        total.records_in += records_in;
        total.records_out += records_out;
        total.bytes_in += bytes_in;
        total.late += late;
        total.dead += dead;
        let lowest = lowest.entry(operator).or_insert(watermark);
        *lowest = (*lowest).min(watermark);
    }
    for (operator, watermark) in lowest {
        if let Some(total) = totals.get_mut(operator) {
            total.watermark = watermark;
        }
    }
    totals
}

fn loads(
    before: &BTreeMap<(OperatorId, u32), LoadSample>,
    after: &BTreeMap<(OperatorId, u32), LoadSample>,
) -> BTreeMap<String, SubtaskLoad> {
    let load = |(name, now): (&(OperatorId, u32), &LoadSample)| {
        let then = before.get(name).copied().unwrap_or_default();
        let total = now.total_ns.saturating_sub(then.total_ns).max(1) as f64;
        let share = |now: u64, then: u64| (now.saturating_sub(then) as f64 / total).min(1.0);
        let idle = share(now.idle_ns, then.idle_ns);
        let backpressured = share(now.blocked_ns, then.blocked_ns);
        let aligning = share(now.aligning_ns, then.aligning_ns);
        let busy = (1.0 - idle - backpressured - aligning).max(0.0);
        (format!("{}[{}]", name.0, name.1), SubtaskLoad { busy, idle, backpressured, aligning })
    };
    after.iter().map(load).collect()
}

/// How far event time is behind; inputs that ended are not.
fn lag(operators: &BTreeMap<OperatorId, OperatorStatus>, now: Millis) -> Option<u64> {
    let watermarks = operators.values().filter_map(|operator| operator.watermark);
    watermarks.filter(|watermark| *watermark != i64::MAX).min().map(|lowest| now.since(Millis(lowest)))
}
