//! What a coordinator wants done.

use super::event::RequestId;
use super::plan::Deployment;
use crate::ids::{CheckpointId, Generation, Millis};
use crate::journal::{CheckpointEntry, FencedBy, JobStatus, JournalAction, StartRefusal};
use crate::manifest::{ManifestKind, SinkHandle};

/// Something to be done by the shell. Actions of one list may run concurrently, except that what concerns one subtask,
/// and what concerns the journal, keeps its order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A call to the store; only `List`, `Read`, `Create` and `Delete` appear here. The shell waits between repetitions of a failing call.
    Journal(JournalAction),

    /// Restore, replay commits, run the tasks; answer with `Deployed` or `Failed`.
    Deploy(Box<Deployment>),
    /// Cancel all tasks of this and older generations. No answer is expected.
    Cancel {
        /// The reason, for humans.
        reason: String,
    },
    /// Sources store their positions and emit the barrier; stores begin the epoch before that.
    Trigger(Barrier),
    /// Tell tasks and stores that the checkpoint is given up. The job goes on.
    Abort {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Why.
        cause: AbortCause,
    },
    /// Store a manifest; answer with `ManifestStored`, or `ManifestWithdrawn`.
    PutManifest {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// The object's name.
        key: String,
        /// Its content.
        bytes: Vec<u8>,
        /// To be sent at once or not at all: withdrawn after a pause of the process.
        guarded: bool,
    },
    /// Commit sinks' output, in order of checkpoints; answer with `Committed`. The journal entry exists.
    Commit {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What to commit.
        handles: Vec<SinkHandle>,
    },
    /// Tell tasks and stores that the checkpoint is complete.
    Acknowledge {
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// All output is committed: sources send `End`, tasks leave. No answer is expected.
    EndTasks,

    /// A checkpoint's output is committed: copy its objects below the savepoint's prefix, its manifest last; repeat until it works; answer with
    /// `SavepointCopied`.
    CopySavepoint {
        /// The user's name for it.
        name: String,
        /// The checkpoint to copy.
        checkpoint: CheckpointEntry,
    },
    /// Read a retained manifest, without hurry; repeat until it works; answer with `ManifestLoaded`.
    LoadManifest(CheckpointEntry),
    /// List runs, manifests and journal, without hurry; answer with `ObjectsListed`.
    ListObjects,
    /// Delete objects that nothing names; answer with `ObjectsDeleted`. To be sent at once or not at all: after a pause of
    /// the process answer that it was not done.
    DeleteObjects(Vec<String>),

    /// A checkpoint is complete; for metrics and logs.
    Completed(CheckpointEntry),
    /// Answer a request by hand.
    Answer {
        /// The request.
        request: RequestId,
        /// The outcome; an error says why, for humans.
        result: Result<Answer, String>,
    },
    /// The job is stopped, finished or failed, durably: serve the status, run nothing.
    Settled(JobStatus),
    /// The start is refused; nothing was written.
    Refused(StartRefusal),
    /// Leave, and write nothing any more.
    Leave(LeaveReason),
}

/// A barrier to be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The reigning generation.
    pub generation: Generation,
    /// Why it is taken. After the barrier of a final one sources read nothing any more, without moving watermarks.
    pub kind: ManifestKind,
    /// When it was triggered.
    pub triggered_at: Millis,
}

/// Why a checkpoint was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AbortCause {
    /// It took too long.
    Timeout {
        /// Who had not acknowledged.
        awaited: String,
    },
    /// A task or store declined.
    Declined(String),
    /// The storage did not answer; does not count.
    Storage(String),
    /// What was acknowledged does not fit together.
    Inconsistent(String),
}

impl AbortCause {
    /// A short name for metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Declined(_) => "declined",
            Self::Storage(_) => "storage",
            Self::Inconsistent(_) => "inconsistent",
        }
    }
}

impl std::fmt::Display for AbortCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Timeout { awaited } => write!(f, "timed out waiting for {awaited}"),
            Self::Declined(reason) => write!(f, "declined: {reason}"),
            Self::Storage(reason) => write!(f, "storage: {reason}"),
            Self::Inconsistent(reason) => write!(f, "inconsistent: {reason}"),
        }
    }
}

/// A good answer to a request by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The checkpoint is complete.
    Checkpoint(CheckpointEntry),
    /// The savepoint is complete and self-contained.
    Savepoint {
        /// Its name.
        name: String,
        /// The checkpoint it is a copy of.
        checkpoint: CheckpointId,
    },
    /// The job is stopped.
    Stopped {
        /// The checkpoint it will go on from.
        restore: Option<CheckpointId>,
        /// False if no final checkpoint was completed in time.
        with_final_checkpoint: bool,
    },
}

/// Why the process must leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaveReason {
    /// Another coordinator reigns.
    Fenced(FencedBy),
    /// The journal cannot be read.
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}
