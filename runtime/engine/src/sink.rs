//! The contract of sinks: freeze, prepare, commit, abort.
//!
//! A transactional sink writes an epoch's output hidden, *freezes* it at the barrier in O(1), makes it durable behind the
//! stream (*prepare*) and returns handles that are stored in the checkpoint. After the checkpoint's journal entry exists
//! the handles are *committed*, idempotently; commits are replayed at a restore before any new record is written.
//! Handles of an aborted checkpoint travel with the next one: sources do not rewind on an abort. *Abort* happens only at
//! a restore, for hidden output that no restored handle names.

use weir_protocol::CheckpointId;

use crate::batch::Batch;
use crate::record::Record;
use crate::source::ConnectorError;

/// What a prepared piece of output is called, in the connector's own terms; stored as JSON in the manifest.
pub type Handle = serde_json::Value;

/// Who writes: names the output of one subtask in one generation.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// The job's id, drawn by its first claim.
    pub job_id: String,
    /// The sink's operator id.
    pub operator: String,
    /// Index of the writing subtask.
    pub subtask: u32,
    /// Number of subtasks of this sink.
    pub parallelism: u32,
    /// The coordinator's generation; hidden names must carry it.
    pub generation: u64,
    /// The last completed checkpoint that this deployment was restored from, 0 if none.
    pub restored_epoch: u64,
}

/// Somewhere records go. Shared by all subtasks.
pub trait Sink: Send + Sync + 'static {
    /// What it takes.
    type Item: Record;

    /// Opens the writer of one subtask. Called after commits were replayed.
    ///
    /// # Errors
    /// When the target cannot be written.
    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = Self::Item>>, ConnectorError>;

    /// What commits and aborts; `None` for sinks without transactions (print, blackhole).
    fn committer(&self) -> Option<Box<dyn SinkCommitter>>;

    /// Checks before anything runs that the target can be written; changes nothing.
    ///
    /// # Errors
    /// Names the target and the way out.
    fn check(&self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Writes one subtask's output.
pub trait SinkWriter: Send {
    /// What it takes.
    type Item;

    /// Writes the batch; it may drain `batch` or leave it.
    ///
    /// # Errors
    /// When the output cannot be written.
    fn write(&mut self, batch: &mut Batch<Self::Item>) -> Result<(), ConnectorError>;

    /// Ends the epoch's output in O(1) and returns what is left to do behind the stream; `None` if the epoch had none.
    ///
    /// # Errors
    /// When the output so far is known to be lost.
    fn freeze(&mut self, epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError>;

    /// Called when the stream goes idle: pass buffered output on if others look at it (print does).
    ///
    /// # Errors
    /// When the output cannot be written.
    fn flush(&mut self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// The part of an epoch's output that is left to make durable, off the record path.
pub trait Prepare: Send {
    /// Makes the output durable and names it. Runs on a blocking thread.
    ///
    /// # Errors
    /// When it could not be made durable; may be called again on a transient error.
    fn prepare(&mut self) -> Result<Vec<Handle>, ConnectorError>;
}

/// Makes prepared output visible, or removes it. Used by the coordinator, for all subtasks, at any parallelism.
pub trait SinkCommitter: Send + Sync {
    /// Makes the output visible; doing it twice is the same as once.
    ///
    /// # Errors
    /// When neither the hidden nor the visible output exists, or the target cannot be written.
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError>;

    /// At a restore: removes hidden output of this job and operator that `keep` does not name and that belongs to
    /// generations below `generation`.
    ///
    /// # Errors
    /// When the target cannot be listed or written.
    fn abort_except(&self, ctx: &SinkContext, keep: &[Handle]) -> Result<(), ConnectorError>;
}
