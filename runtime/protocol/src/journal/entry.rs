//! A journal entry, as stored.

use serde::{Deserialize, Serialize};

use super::attempt::AttemptId;
use super::head::{Head, Owner, RestorePoint};
use crate::ids::{CheckpointId, Millis, Sequence};
use crate::layout;
use crate::stored::{self, Formats, StoredError};

/// What an entry records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum EntryKind {
    /// A generation begins.
    Claim {
        /// Who claims.
        owner: Owner,
        /// What the deployment starts from.
        restored_from: RestorePoint,
        /// The owner displaced by this claim.
        adopted_from: Option<Owner>,
    },
    /// A checkpoint is complete. This entry *is* the checkpoint.
    Checkpoint {
        /// Its id.
        checkpoint: CheckpointId,
    },
    /// A savepoint's copy is complete; its sources need no longer be kept for it.
    Savepoint {
        /// The user's name for it.
        name: String,
        /// The checkpoint it is a copy of.
        checkpoint: CheckpointId,
    },
    /// Checkpoint ids are reserved; nothing else changed.
    Reserve,
    /// Checkpoints were dropped without a new one being completed.
    Retire,
    /// The job was stopped on request.
    Stopped,
    /// The job's input ended and all output is committed.
    Finished,
    /// The job gave up.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its owner deleted the job: everything but this entry goes. Begins a generation, as a claim does. Since format 2.
    Deleted,
}

impl EntryKind {
    /// The kind's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "claim",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Savepoint { .. } => "savepoint",
            Self::Reserve => "reserve",
            Self::Retire => "retire",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::Deleted => "deleted",
        }
    }
}

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalEntry {
    /// Version of this record's format.
    pub format: u32,
    /// Its position.
    pub sequence: Sequence,
    /// Which attempt wrote it.
    pub attempt: AttemptId,
    /// When it was written, by the writer's clock.
    pub written_at: Millis,
    /// What it records.
    pub kind: EntryKind,
    /// Everything a coordinator must know from here on.
    pub head: Head,
}

impl JournalEntry {
    /// The format this build writes once it has completed a checkpoint.
    pub const FORMAT: u32 = 2;
    /// The oldest format this build reads, and goes on writing in a journal that has it until its first checkpoint.
    pub const OLDEST_FORMAT: u32 = 1;
    /// The first format with [`Head::consumed_before`].
    const SINCE_CONSUMED_BEFORE: u32 = 2;

    /// The format of an entry of this kind after one of format `found`: the found one until a checkpoint completes, so that the older
    /// version that wrote it can still take over.
    pub fn next_format(found: Option<u32>, kind: &EntryKind) -> u32 {
        match kind {
            EntryKind::Checkpoint { .. } | EntryKind::Deleted => Self::FORMAT,
            EntryKind::Claim { .. }
            | EntryKind::Savepoint { .. }
            | EntryKind::Reserve
            | EntryKind::Retire
            | EntryKind::Stopped
            | EntryKind::Finished
            | EntryKind::Failed { .. } => found.unwrap_or(Self::FORMAT),
        }
    }

    /// Leaves out of a head what its entry's format does not know: an older version can take over from an entry of its own
    /// format, whatever is lost by that. Without older consumed `restoreFrom`s, `allowDuplicates` is still asked for.
    pub fn fit_format(format: u32, head: &mut Head) {
        if format < Self::SINCE_CONSUMED_BEFORE {
            head.consumed_before.clear();
        }
    }

    /// Name of the object that holds this entry.
    pub fn key(&self) -> String {
        layout::journal_key(self.sequence)
    }

    /// Encodes and seals the entry.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.head.check(), Ok(()), "an inconsistent head must not be written");
        stored::encode(self)
    }

    /// Decodes the entry stored as `sequence`.
    ///
    /// # Errors
    /// When the object is damaged, cut short, of an unknown format, stored under another entry's name, or contradicts
    /// itself; names the object.
    pub fn decode(sequence: Sequence, bytes: &[u8]) -> Result<Self, StoredError> {
        let key = layout::journal_key(sequence);
        let formats = Formats { oldest: Self::OLDEST_FORMAT, newest: Self::FORMAT };
        let entry: Self = stored::decode(&key, bytes, formats)?;
        if entry.sequence != sequence {
            let detail = format!("it says that it is entry {}", entry.sequence);
            return Err(StoredError::Inconsistent { key, detail });
        }
        if entry.format < Self::SINCE_CONSUMED_BEFORE && !entry.head.consumed_before.is_empty() {
            let detail = format!("format {} knows no consumed_before", entry.format);
            return Err(StoredError::Inconsistent { key, detail });
        }
        entry.head.check().map_err(|detail| StoredError::Inconsistent { key, detail })?;
        Ok(entry)
    }
}
