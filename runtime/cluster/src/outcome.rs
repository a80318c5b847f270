//! How a run ends.

use weir_engine::source::ConnectorError;
use weir_protocol::journal::{FencedBy, JobStatus, StartRefusal};
use weir_protocol::{CheckpointId, OperatorId};
use weir_storage::{ProbeError, StoreError, StoreErrorKind};

use crate::fit::Misfit;
use crate::journal::JournalError;
use crate::restore_from::RestoreFromError;
use crate::retry::is_final;

/// What helps against a start that did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Waiting: the storage may answer later, or be mended from outside (credentials, bucket, space).
    Wait,
    /// Starting again, which looks at everything anew.
    Restart,
    /// A change by the user.
    Change,
}

impl Remedy {
    /// What helps when a call to the store failed.
    pub(crate) fn of(error: &StoreError) -> Self {
        match error.kind {
            // Retired between two looks, by the generation before. What is gone for good is found so again.
            StoreErrorKind::NotFound => Self::Restart,
            _ if error.can_retry() || !is_final(error) => Self::Wait,
            _ => Self::Change,
        }
    }
}

/// A run that ended as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    /// Stopped on request; the entry is in the journal.
    Stopped {
        /// What the job will go on from.
        checkpoint: Option<CheckpointId>,
    },
    /// The input ended and all output is committed.
    Finished {
        /// The final checkpoint.
        checkpoint: Option<CheckpointId>,
    },
    /// The journal says that the job is settled: nothing was deployed, nothing was written.
    Settled(JobStatus),
    /// Left at once on request, without a final checkpoint and without a journal entry.
    Cancelled,
    /// Another coordinator reigns. Nothing was written since that was noticed.
    Fenced {
        /// Who.
        by: FencedBy,
    },
}

/// A run that could not begin, or gave up.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The store cannot carry a job.
    #[error("the job's storage was refused")]
    Storage(#[source] ProbeError),
    /// The graph could not be made.
    #[error("job graph: {0}")]
    Graph(String),
    /// A source or sink refused before anything ran.
    #[error("operator {operator}: {source}")]
    Connector {
        /// The operator.
        operator: OperatorId,
        /// Why.
        source: ConnectorError,
    },
    /// The job does not fit itself, or what it is to be restored from.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// `restoreFrom` cannot be resolved.
    #[error("restoreFrom: {0}")]
    RestoreFrom(#[source] RestoreFromError),
    /// The journal cannot be looked at.
    #[error("the job cannot start")]
    Journal(#[source] JournalError),
    /// The journal's head forbids the start; nothing was written.
    #[error("the job cannot start: {0}")]
    Refused(StartRefusal),
    /// A journal entry is damaged.
    #[error("journal entry {key} cannot be read: {reason}")]
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The job failed for good; the entry is in the journal.
    #[error("the job failed: {reason}")]
    Failed {
        /// Why: the failing operator, its record and where it was read, or the object that cannot be read.
        reason: String,
    },
    /// The system gives this process no thread.
    #[error("no thread for the job's pulse: raise the limit of threads (ulimit -u, pids of the cgroup)")]
    Thread(#[source] std::io::Error),
    /// Two metrics of one name in the registry that was given.
    #[error("metrics cannot be registered")]
    Metrics(#[source] prometheus::Error),
}
