//! What happens to a coordinator.

use std::collections::BTreeSet;

use super::plan::{Plan, StoreAck, TaskAck, TaskId};
use crate::ids::{CheckpointId, Generation, Sequence, WorkerIndex};
use crate::journal::machine::{CreateOutcome, ReadOutcome};
use crate::manifest::Manifest;

/// Names a request by hand, so that its answer finds its way back. Drawn by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Why a checkpoint could not be taken somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeclineCause {
    /// The storage did not answer; never counts as a failure of the job.
    Storage(String),
    /// Anything else.
    Other(String),
}

/// Something that happened. Events of tasks and stores carry their generation; those of another one are ignored.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Begin: open the journal, claim it, deploy.
    Start,
    /// Time has passed.
    Tick,
    /// The process stood still, and somebody else may reign by now: nothing is written before the journal says otherwise.
    PauseSuspected,

    /// Answer to [`JournalAction::List`](crate::journal::JournalAction::List): newest first, or `None` if it failed.
    JournalListed(Option<Vec<Sequence>>),
    /// Answer to [`JournalAction::Read`](crate::journal::JournalAction::Read).
    JournalRead(Sequence, ReadOutcome),
    /// Answer to [`JournalAction::Create`](crate::journal::JournalAction::Create).
    JournalCreated(Sequence, CreateOutcome),
    /// Answer to [`JournalAction::Delete`](crate::journal::JournalAction::Delete): is it known to be gone?
    JournalDeleted(Sequence, bool),

    /// Answer to [`Action::Deploy`](super::Action::Deploy): commits are replayed, all tasks run.
    Deployed {
        /// Which deployment.
        generation: Generation,
        /// What runs.
        plan: Plan,
        /// The manifest restored, if any.
        restored: Option<Box<Manifest>>,
    },
    /// A task failed, a worker is lost, a deployment did not succeed, a commit is impossible.
    Failed {
        /// Which deployment.
        generation: Generation,
        /// What happened, for humans.
        reason: String,
        /// Uniform in 0 to 1; spreads the restart delay.
        random: f64,
    },
    /// Something that trying again cannot mend: the job fails for good.
    Fatal {
        /// What happened, for humans.
        reason: String,
    },
    /// A source task has read all its input.
    InputEnded {
        /// Which deployment.
        generation: Generation,
        /// The source task.
        task: TaskId,
    },
    /// Records and bytes read by all sources since the deployment.
    Progress {
        /// Which deployment.
        generation: Generation,
        /// Records.
        records: u64,
        /// Bytes.
        bytes: u64,
    },

    /// A task's part of a checkpoint is durable. A task acknowledges its epochs in order, those of aborted checkpoints
    /// included: their output belongs to the next one.
    TaskAck(TaskAck),
    /// A task's part of a checkpoint is done but for what its worker's store still writes and uploads; its acknowledgement
    /// follows. Only tells who is awaited.
    Sealed {
        /// Which deployment.
        generation: Generation,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// The task.
        task: TaskId,
    },
    /// A worker's store holds all state of a checkpoint.
    StoreAck(StoreAck),
    /// A task or store cannot take part.
    Declined {
        /// Which deployment.
        generation: Generation,
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        cause: DeclineCause,
    },
    /// A storage call of this job failed and is being repeated; an abort of the checkpoint under way will not count.
    StorageTrouble,
    /// Whether a worker's uploads wait that failed and have not succeeded since. As long as they do, an abort of a checkpoint
    /// will not count: what it waits for comes after them.
    UploadsWaiting {
        /// Which deployment.
        generation: Generation,
        /// Do they?
        waiting: bool,
    },
    /// Answer to [`Action::PutManifest`](super::Action::PutManifest): is it known to be stored?
    ManifestStored(CheckpointId, bool),
    /// Answer to a guarded [`Action::PutManifest`](super::Action::PutManifest): the process stood still since it was asked for,
    /// so it was not sent.
    ManifestWithdrawn(CheckpointId),
    /// Answer to [`Action::Commit`](super::Action::Commit): all handles are committed. What cannot be committed is
    /// [`Event::Failed`].
    Committed(CheckpointId),
    /// A worker will name these objects in no later chain.
    Disowned {
        /// Which deployment.
        generation: Generation,
        /// The worker.
        worker: WorkerIndex,
        /// The objects' names.
        keys: Vec<String>,
    },

    /// Answer to [`Action::CopySavepoint`](super::Action::CopySavepoint). Only what repeating cannot mend is an error.
    SavepointCopied(String, Result<(), String>),
    /// Answer to [`Action::LoadManifest`](super::Action::LoadManifest): the objects it names, `None` if it is damaged.
    ManifestLoaded(CheckpointId, Option<BTreeSet<String>>),
    /// Answer to [`Action::ListObjects`](super::Action::ListObjects); may come in several parts.
    ObjectsListed(Vec<String>),
    /// Answer to [`Action::DeleteObjects`](super::Action::DeleteObjects): are all of them known to be gone?
    ObjectsDeleted(Vec<String>, bool),

    /// Take a checkpoint now.
    CheckpointRequest(RequestId),
    /// Take a savepoint.
    SavepointRequest(RequestId, String),
    /// Stop with a final checkpoint.
    StopRequest {
        /// Whom to answer.
        request: RequestId,
        /// Milliseconds after which the job stops with its latest completed checkpoint instead.
        final_checkpoint_timeout_ms: u64,
        /// Also keep the final checkpoint as a savepoint of this name.
        savepoint: Option<String>,
    },
}
