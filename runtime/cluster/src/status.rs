//! What a run shows of itself: sampled several times a second, read by the live line, the report and the control API.
//!
//! A cache of the truth, never the truth: the journal says what the job is, this says what this process sees.

mod view;

use std::collections::BTreeMap;

use serde::Serialize;
use weir_protocol::journal::{CheckpointEntry, JobRevision, JobStatus as SettledStatus};
use weir_protocol::manifest::ManifestKind;
use weir_protocol::{CheckpointId, Generation, JobId, Millis, OperatorId};

pub(crate) use view::{StatusSender, View};

/// The newest restarts that are remembered.
pub const MAX_RESTART_RECORDS: usize = 32;

/// Where a job stands, as this process sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "camelCase")]
pub enum JobState {
    /// The journal is being opened and claimed.
    #[default]
    Starting,
    /// State is being restored, tasks are being started.
    Deploying,
    /// Tasks run.
    Running,
    /// The final checkpoint is under way.
    Ending,
    /// Waiting before the next attempt.
    Restarting {
        /// When it will be made.
        at: Millis,
        /// Why the last one ended.
        reason: String,
    },
    /// Stopped on request.
    Stopped,
    /// All input was read and all output is committed.
    Finished,
    /// The job gave up.
    Failed {
        /// Why.
        reason: String,
    },
    /// This process has no part in the job any more.
    Left {
        /// Why.
        reason: String,
    },
}

impl JobState {
    /// The state that a settled job is in.
    pub(crate) fn of(status: &SettledStatus) -> Self {
        match status {
            SettledStatus::Running => Self::Running,
            SettledStatus::Stopped => Self::Stopped,
            SettledStatus::Finished => Self::Finished,
            SettledStatus::Failed { reason } => Self::Failed { reason: reason.clone() },
            SettledStatus::Deleted => Self::Left { reason: "the job was deleted".to_owned() },
        }
    }

    /// A short name, for metrics and the live line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Deploying => "deploying",
            Self::Running => "running",
            Self::Ending => "ending",
            Self::Restarting { .. } => "restarting",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::Left { .. } => "left",
        }
    }
}

/// A restart and why it was needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestartRecord {
    /// When the failure was noticed.
    pub at: Millis,
    /// What failed, with operator, record and source position where known.
    pub reason: String,
    /// The failing operator, if one is to blame.
    pub operator: Option<OperatorId>,
    /// What kind of failure: the label `reason` of the metric of restarts.
    pub kind: &'static str,
    /// The checkpoint that was restored; `None` while waiting, and if the job began anew.
    pub restored: Option<CheckpointId>,
    /// Milliseconds waited before the next attempt.
    pub delay_ms: u64,
}

/// A failure, whether or not the job came back from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailureRecord {
    /// When it was noticed.
    pub at: Millis,
    /// What failed.
    pub reason: String,
    /// The failing operator, if one is to blame.
    pub operator: Option<OperatorId>,
    /// As in [`RestartRecord`].
    pub kind: &'static str,
}

/// What the journal says of the job, as of its newest entry that this process has read or written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct JournalStatus {
    /// What the job is meant to do.
    pub status: SettledStatus,
    /// The revision that this is about.
    pub revision: JobRevision,
}

/// Whether the object store answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StorageStatus {
    /// Since when calls fail; `None` while they succeed.
    pub trouble_since: Option<Millis>,
    /// What the store said last, while it is in trouble.
    pub message: String,
    /// Calls of this process that failed.
    pub failures: u64,
}

/// A completed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointSummary {
    /// Its id.
    pub id: CheckpointId,
    /// The generation that took it.
    pub generation: Generation,
    /// Why it was taken.
    pub kind: ManifestKind,
    /// When its last part was durable.
    pub completed_at: Millis,
    /// From its trigger to its last part, in milliseconds.
    pub duration_ms: u64,
    /// Bytes of all objects it names.
    pub bytes_full: u64,
    /// Bytes uploaded for it.
    pub bytes_incremental: u64,
}

impl CheckpointSummary {
    /// What a journal's head says of a checkpoint.
    pub fn of(entry: &CheckpointEntry) -> Self {
        Self {
            id: entry.id,
            generation: entry.generation,
            kind: entry.kind,
            completed_at: entry.completed_at,
            duration_ms: entry.completed_at.since(entry.triggered_at),
            bytes_full: entry.bytes_full,
            bytes_incremental: entry.bytes_incremental,
        }
    }
}

/// Counters of an operator over all its subtasks and all deployments of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct OperatorStatus {
    /// Records taken in.
    pub records_in: u64,
    /// Records passed on.
    pub records_out: u64,
    /// Bytes taken in, estimated.
    pub bytes_in: u64,
    /// Records behind the watermark.
    pub late: u64,
    /// Records that went to a dead-letter output.
    pub dead: u64,
    /// The lowest watermark of its subtasks, milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
}

/// Where one subtask's time went since the last sample, as shares of 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct SubtaskLoad {
    /// Working.
    pub busy: f64,
    /// Waiting for input.
    pub idle: f64,
    /// Waiting for room downstream or in a bound of its state.
    pub backpressured: f64,
    /// Holding inputs back at a barrier.
    pub aligning: f64,
}

/// State by layer, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StateBytes {
    /// Changes since the last barrier, and sealed ones being written.
    pub write: u64,
    /// The cache of values.
    pub clean: u64,
    /// Timers and broadcast state.
    pub pinned: u64,
    /// In the local database.
    pub past: u64,
    /// What the newest chain names in the object store.
    pub chain: u64,
    /// Written, not uploaded yet.
    pub pending: u64,
}

/// What a run shows of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JobStatus {
    /// Where the job stands.
    pub state: JobState,
    /// The job's id.
    pub job_id: Option<JobId>,
    /// The reigning generation.
    pub generation: Option<Generation>,
    /// When this process began.
    pub started_at: Millis,
    /// When this was sampled.
    pub sampled_at: Millis,
    /// What the current deployment was restored from.
    pub restored_from: Option<CheckpointId>,
    /// Restarts of this process, the newest [`MAX_RESTART_RECORDS`].
    pub restarts: Vec<RestartRecord>,
    /// All restarts of this process.
    pub restart_count: u64,
    /// They by kind.
    pub restarts_by_kind: BTreeMap<&'static str, u64>,
    /// The last failure of this process.
    pub last_failure: Option<FailureRecord>,
    /// Whether the object store answers.
    pub storage: StorageStatus,
    /// The newest completed checkpoint, also of earlier processes.
    pub last_checkpoint: Option<CheckpointSummary>,
    /// Retained checkpoints.
    pub retained: u64,
    /// They themselves, newest first.
    pub checkpoints: Vec<CheckpointSummary>,
    /// The journal's last word; `None` before it was read.
    pub journal: Option<JournalStatus>,
    /// Checkpoints completed by this process.
    pub completed: u64,
    /// Checkpoints aborted by this process, by reason.
    pub failed: BTreeMap<&'static str, u64>,
    /// Periodic triggers that found something in the way.
    pub skipped: u64,
    /// The checkpoint under way.
    pub in_flight: Option<CheckpointId>,
    /// By operator.
    pub operators: BTreeMap<OperatorId, OperatorStatus>,
    /// By operator (head of its chain) and subtask, written `operator[subtask]`.
    pub loads: BTreeMap<String, SubtaskLoad>,
    /// State by layer.
    pub state_bytes: StateBytes,
    /// Milliseconds from the lowest watermark of the running operators to now; `None` without event time.
    pub lag_ms: Option<u64>,
}
