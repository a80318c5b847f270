//! What is deployed, and what its parts acknowledge.

use std::collections::BTreeSet;

use crate::ids::{CheckpointId, Generation, JobId, OperatorId, SubtaskIndex, WorkerIndex};
use crate::journal::{CheckpointEntry, RestorePoint};
use crate::key_group::MaxParallelism;
use crate::manifest::{RunRef, SinkHandle, SplitPosition, StateInfo};
use crate::timeline::SubtaskTimeline;

/// Names a task: one subtask of a chain, called after the chain's first operator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The chain's first operator.
    pub operator: OperatorId,
    /// The subtask.
    pub subtask: SubtaskIndex,
}

impl TaskId {
    /// Subtask `subtask` of the chain that begins with `operator`.
    pub fn new(operator: impl Into<OperatorId>, subtask: u32) -> Self {
        Self { operator: operator.into(), subtask: SubtaskIndex(subtask) }
    }
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.operator, self.subtask)
    }
}

/// A deployment to be made, of a claim that is confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The job's id.
    pub job_id: JobId,
    /// The reigning generation.
    pub generation: Generation,
    /// What to restore.
    pub restore: RestorePoint,
    /// The checkpoint restored, if it is one of this journal.
    pub checkpoint: Option<CheckpointEntry>,
    /// Completed checkpoints whose sinks are to be committed (again) before any new record, oldest first.
    pub replay: Vec<CheckpointEntry>,
    /// No barrier up to this id is valid in this deployment.
    pub used_ids: CheckpointId,
}

/// An operator as deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorPlan {
    /// The operator.
    pub operator: OperatorId,
    /// Number of its subtasks.
    pub parallelism: u32,
    /// True if it has keyed state.
    pub stateful: bool,
}

/// What runs in a deployment: who has to acknowledge, and what stands in the manifest about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The job's parallelism.
    pub parallelism: u32,
    /// Operators in the order of the job graph.
    pub operators: Vec<OperatorPlan>,
    /// Every task.
    pub tasks: BTreeSet<TaskId>,
    /// Those that read a bounded source; when all of them have ended the job finishes. Empty if any source is unbounded.
    pub bounded_sources: BTreeSet<TaskId>,
    /// Every worker that has a store.
    pub stores: BTreeSet<WorkerIndex>,
}

/// What one operator of a task reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorReport {
    /// The operator.
    pub operator: OperatorId,
    /// Its watermark in milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
    /// Records taken in since the deployment.
    pub records_in: u64,
    /// Records passed on since the deployment.
    pub records_out: u64,
}

/// A task's part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskAck {
    /// The deployment.
    pub generation: Generation,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The task.
    pub task: TaskId,
    /// Every operator of its chain.
    pub operators: Vec<OperatorReport>,
    /// Positions of all its splits.
    pub splits: Vec<SplitPosition>,
    /// Output prepared since its last acknowledgement.
    pub sinks: Vec<SinkHandle>,
    /// How it went.
    pub timeline: SubtaskTimeline,
}

/// A worker's state of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAck {
    /// The deployment.
    pub generation: Generation,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The worker.
    pub worker: WorkerIndex,
    /// Its whole chain, oldest first.
    pub chain: Vec<RunRef>,
    /// The states it holds.
    pub states: Vec<StateInfo>,
    /// Bytes it uploaded for this checkpoint.
    pub bytes_uploaded: u64,
}
