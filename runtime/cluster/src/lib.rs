//! The shells around Weir's decisions: a coordinator that takes checkpoints, restarts and recovers a job, and a worker that
//! runs its subtasks. Both in one process for now, talking in messages.
//!
//! [`run_job`] is the way in. Everything that is decided is decided in [`weir_protocol`]; everything that flows, flows in
//! [`weir_engine`]. Here is the I/O between them: the journal's calls, manifests, commits, savepoints, deletions, deployments.
//!
//! **Contract.** The object store is the only truth: whatever dies, the next run goes on from the newest completed checkpoint,
//! loses nothing and doubles nothing. An outage of the store ends nothing and restarts nothing. A run that finds
//! another coordinator reigning writes nothing more and returns.

mod command;
mod commit;
mod coordinator;
mod copy;
mod delete;
mod fit;
mod io;
pub mod journal;
mod memory;
mod message;
pub mod metrics;
mod options;
mod outcome;
mod preview;
mod pulse;
mod random;
mod restore;
mod restore_from;
mod retry;
mod run;
mod savepoint;
pub mod status;
mod sweep;
mod worker;

pub use command::{JobCommand, Reply, SavepointSummary, StopSummary};
pub use delete::{DeleteError, Deleted, delete_job};
pub use fit::Misfit;
pub use memory::{PlainMemory, ProcessMemory};
pub use options::{Defects, GraphFactory, RunOptions, StoreOpener};
pub use outcome::{JobError, JobOutcome, Remedy};
pub use preview::{Preview, PreviewError, preview};
pub use restore_from::RestoreFromError;
pub use run::{check_job, run_job};
pub use status::{
    CheckpointSummary, FailureRecord, JobState, JobStatus, JournalStatus, OperatorStatus, RestartRecord, StateBytes,
    StorageStatus, SubtaskLoad,
};
