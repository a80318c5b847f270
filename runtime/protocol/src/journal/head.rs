//! The head: everything a coordinator must know, carried in full by every journal entry.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, Generation, JobId, Millis, Sequence};
use crate::manifest::ManifestKind;
use crate::object::ObjectRef;

/// Who may claim a journal: the uid of a StreamJob, or `local`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(pub String);

impl Owner {
    /// The owner of jobs that are run from the command line.
    pub fn local() -> Self {
        Self("local".to_owned())
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Which resolved job a claim runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRevision {
    /// Counts up with every change that may run a settled job again.
    pub number: u64,
    /// Hash of the resolved job.
    pub hash: String,
}

/// What the job is meant to do, durably.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum JobStatus {
    /// It runs, or will as soon as someone claims it.
    Running,
    /// Stopped on request.
    Stopped,
    /// Its input ended and all output is committed.
    Finished,
    /// It gave up.
    Failed {
        /// Why.
        reason: String,
    },
    /// Its owner deleted it: nothing of it is left, and this owner never begins again.
    Deleted,
}

impl JobStatus {
    /// True for stopped, finished, failed and deleted: nothing is deployed before a higher revision asks for it.
    pub fn is_settled(&self) -> bool {
        match self {
            Self::Running => false,
            Self::Stopped | Self::Finished | Self::Failed { .. } | Self::Deleted => true,
        }
    }
}

impl std::fmt::Display for JobStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Running => f.pad("running"),
            Self::Stopped => f.pad("stopped"),
            Self::Finished => f.pad("finished"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Deleted => f.pad("deleted"),
        }
    }
}

/// A completed checkpoint that is still retained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointEntry {
    /// Its id.
    pub id: CheckpointId,
    /// The generation that took it.
    pub generation: Generation,
    /// Why it was taken.
    pub kind: ManifestKind,
    /// Its manifest.
    pub manifest: ObjectRef,
    /// When it was triggered.
    pub triggered_at: Millis,
    /// When its last part was durable.
    pub completed_at: Millis,
    /// Bytes of all objects it names.
    pub bytes_full: u64,
    /// Bytes uploaded for it.
    pub bytes_incremental: u64,
}

/// A savepoint whose objects are still being copied out of the job's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendingSavepoint {
    /// The user's name for it.
    pub name: String,
    /// The checkpoint it is a copy of.
    pub checkpoint: CheckpointId,
}

/// What a deployment starts from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum RestorePoint {
    /// No state; sources start at their beginning.
    Empty,
    /// A checkpoint of this journal.
    Checkpoint(CheckpointId),
    /// A savepoint, or a checkpoint of another stopped journal.
    Imported {
        /// Where its objects are: the URI that the manifest's names are relative to.
        source: String,
        /// Its manifest.
        manifest: ObjectRef,
        /// Its id there. Ids given out here are higher.
        checkpoint: CheckpointId,
    },
}

impl RestorePoint {
    /// The checkpoint restored, if any.
    pub fn checkpoint(&self) -> Option<CheckpointId> {
        match self {
            Self::Empty => None,
            Self::Checkpoint(id) | Self::Imported { checkpoint: id, .. } => Some(*id),
        }
    }
}

/// Values of `restoreFrom` that a head remembers besides the one consumed last. Who brings back one that is older yet must
/// still say `allowDuplicates` before output is repeated.
pub const CONSUMED_REMEMBERED: usize = 64;

/// Earlier owners that a head remembers. One that is forgotten is refused as a stranger still.
pub const DISPLACED_REMEMBERED: usize = 64;

/// A `restoreFrom` that a claim has consumed: the same value from the same owner is ignored afterwards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RestoreRecord(pub String);

/// Everything a coordinator must know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The job's id, drawn by the journal's first claim.
    pub job_id: JobId,
    /// Who may claim the journal.
    pub owner: Owner,
    /// Earlier owners, oldest first; none of them ever claims again.
    pub displaced: Vec<Owner>,
    /// The reigning generation.
    pub generation: Generation,
    /// The resolved job that runs.
    pub revision: JobRevision,
    /// What the job is meant to do.
    pub status: JobStatus,
    /// What the next deployment starts from.
    pub restore: RestorePoint,
    /// The `restoreFrom` consumed last.
    pub consumed_restore: Option<RestoreRecord>,
    /// Those consumed before it by the same owner, oldest first: a manifest of old days that comes back must not take the
    /// job back with it. Since format 2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumed_before: Vec<RestoreRecord>,
    /// No checkpoint id up to this one is ever given out again. Runs a little ahead of the ids used, because aborted
    /// checkpoints leave no entry.
    pub reserved_ids: CheckpointId,
    /// Retained checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointEntry>,
    /// Completed checkpoints whose output may not be committed yet, oldest first.
    pub pending_commits: Vec<CheckpointId>,
    /// Savepoints whose copy may not be complete.
    pub savepoints: Vec<PendingSavepoint>,
    /// All journal entries below this one are deleted.
    pub trimmed_below: Sequence,
}

impl Head {
    /// The head of a journal that begins.
    pub fn new(job_id: JobId, owner: Owner, revision: JobRevision) -> Self {
        Self {
            job_id,
            owner,
            displaced: Vec::new(),
            generation: Generation(0),
            revision,
            status: JobStatus::Running,
            restore: RestorePoint::Empty,
            consumed_restore: None,
            consumed_before: Vec::new(),
            reserved_ids: CheckpointId(0),
            checkpoints: Vec::new(),
            pending_commits: Vec::new(),
            savepoints: Vec::new(),
            trimmed_below: Sequence(1),
        }
    }

    /// Hands the journal to another owner.
    pub fn displace(&mut self, owner: &Owner) {
        if self.owner != *owner {
            self.displaced.push(std::mem::replace(&mut self.owner, owner.clone()));
            let surplus = self.displaced.len().saturating_sub(DISPLACED_REMEMBERED);
            self.displaced.drain(..surplus);
        }
    }

    /// True if the owner's claims have consumed this `restoreFrom`.
    pub fn has_consumed(&self, record: &RestoreRecord) -> bool {
        self.consumed_restore.iter().chain(&self.consumed_before).any(|consumed| consumed == record)
    }

    /// Remembers a consumed `restoreFrom`, and forgets the oldest beyond [`CONSUMED_REMEMBERED`].
    pub fn consume(&mut self, record: RestoreRecord) {
        self.consumed_before.extend(self.consumed_restore.replace(record));
        let surplus = self.consumed_before.len().saturating_sub(CONSUMED_REMEMBERED);
        self.consumed_before.drain(..surplus);
    }

    /// The newest completed checkpoint.
    pub fn newest(&self) -> Option<&CheckpointEntry> {
        self.checkpoints.last()
    }

    /// The retained checkpoint with this id.
    pub fn checkpoint(&self, id: CheckpointId) -> Option<&CheckpointEntry> {
        self.checkpoints.iter().find(|entry| entry.id == id)
    }

    /// Adds a completed checkpoint: later deployments start from it, and its output is to be committed.
    pub fn complete(&mut self, entry: CheckpointEntry) {
        self.restore = RestorePoint::Checkpoint(entry.id);
        self.pending_commits.push(entry.id);
        self.reserved_ids = self.reserved_ids.max(entry.id);
        self.checkpoints.push(entry);
    }

    /// Checkpoints that may not be dropped whatever their age: restore point, pending commits, sources of savepoints.
    pub fn pinned(&self) -> BTreeSet<CheckpointId> {
        let mut pinned: BTreeSet<CheckpointId> = self.pending_commits.iter().copied().collect();
        pinned.extend(self.savepoints.iter().map(|savepoint| savepoint.checkpoint));
        if let RestorePoint::Checkpoint(id) = self.restore {
            pinned.insert(id);
        }
        pinned
    }

    /// Drops checkpoints beyond the newest `retained` (at least 1) that nothing pins, and returns them, oldest first.
    pub fn retire(&mut self, retained: usize) -> Vec<CheckpointEntry> {
        let pinned = self.pinned();
        let surplus = self.checkpoints.len().saturating_sub(retained.max(1));
        let (old, newest) = self.checkpoints.split_at(surplus);
        let (kept, dropped): (Vec<_>, Vec<_>) = old.iter().cloned().partition(|entry| pinned.contains(&entry.id));
        self.checkpoints = kept.into_iter().chain(newest.iter().cloned()).collect();
        dropped
    }

    /// Checks what must hold in any head before it is written and after it is read.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        let mut previous = CheckpointId(0);
        for entry in &self.checkpoints {
            if entry.id <= previous || entry.id > self.reserved_ids || entry.generation > self.generation {
                return Err(format!("checkpoint {} of generation {} is out of order", entry.id, entry.generation));
            }
            previous = entry.id;
            ids.insert(entry.id);
        }
        if let Some(id) = self.pinned().iter().find(|id| !ids.contains(id)) {
            return Err(format!("checkpoint {id} is needed, but not retained"));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.savepoints.iter().find(|savepoint| !names.insert(&savepoint.name)) {
            return Err(format!("savepoint {} is named twice", twice.name));
        }
        if self.displaced.contains(&self.owner) {
            return Err(format!("owner {} is also displaced", self.owner));
        }
        Ok(())
    }
}
