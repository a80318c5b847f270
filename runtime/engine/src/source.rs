//! The contract of sources: splits, positions and readers.
//!
//! A source consists of splits (a file, a partition, a range of a generator). Each split is read by one subtask, and its
//! position is stored in every checkpoint. After a restore a reader opened at a stored position must deliver exactly the
//! records that followed it the first time; that, not any acknowledgement, is what exactly-once input rests on.

use std::time::Duration;

use crate::record::Record;

/// Where a reader stands, in the connector's own terms; stored as JSON in the manifest and shown by `weir inspect`.
pub type Position = serde_json::Value;

/// Name of a split, unique within its source and stable for the life of the job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct SplitId(pub String);

impl std::fmt::Display for SplitId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl SplitId {
    /// The subtask that reads this split: a pure function of the id and the parallelism. Ids that end in `-<number>` are
    /// dealt round robin by that number, all others by the hash of the id.
    pub fn subtask(&self, parallelism: u32) -> u32 {
        let number = self.0.rsplit_once('-').and_then(|(_, tail)| tail.parse::<u64>().ok());
        let index = number.unwrap_or_else(|| xxhash_rust::xxh3::xxh3_64(self.0.as_bytes()));
        (index % u64::from(parallelism.max(1))) as u32
    }
}

/// A failure of a connector. The message says what failed on which object; `transient` says whether trying again can help.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectorError {
    /// What failed, on which object, and what to do about it.
    pub message: String,
    /// True if the same call may succeed later without any change by the user.
    pub transient: bool,
    /// The underlying cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ConnectorError {
    /// An error that repeats until the user changes something.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false, source: None }
    }

    /// An error that may go away by itself.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true, source: None }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What a reader has to say after a call to [`SplitReader::read`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may be read at once.
    Ready,
    /// Nothing more for now; ask again after this time at the latest.
    WaitFor(Duration),
    /// The split ended; it will never deliver another record.
    End,
}

/// Something that can be read in splits. Shared by all subtasks; readers are opened per split.
pub trait Source: Send + Sync + 'static {
    /// What it delivers.
    type Item: Record;

    /// All splits that exist now, in a stable order. Called at the first start of a job and, if
    /// [`Source::discovery_interval`] says so, again while it runs; a split once reported must stay readable.
    ///
    /// # Errors
    /// When the outside cannot be asked, or is not what the job's arguments say (missing directory, wrong format).
    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError>;

    /// Opens a split at `position` (as returned by [`SplitReader::position`]), or at its start.
    ///
    /// # Errors
    /// When the split is gone, or the position does not fit it any more.
    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = Self::Item>>, ConnectorError>;

    /// True if all splits end and no new one will appear: the job finishes by itself.
    fn is_bounded(&self) -> bool;

    /// How often to look for new splits while the job runs; `None`: never.
    fn discovery_interval(&self) -> Option<Duration> {
        None
    }
}

/// Reads one split. Lives on one subtask; calls may block for as long as a local file read does, not longer.
pub trait SplitReader: Send {
    /// What it delivers.
    type Item;

    /// Appends at most `max` records to `out`.
    ///
    /// # Errors
    /// When reading or decoding fails; the message carries the position (file and line, offset).
    fn read(&mut self, max: usize, out: &mut Vec<Self::Item>) -> Result<Progress, ConnectorError>;

    /// The position after the last record delivered.
    fn position(&self) -> Position;

    /// Records (or bytes, for files) that are known to wait behind the position.
    fn lag(&self) -> Option<u64> {
        None
    }
}
