//! What was read, as values.

use serde::Serialize;
use weir_protocol::journal::{CheckpointEntry, JournalEntry};
use weir_protocol::{Manifest, RunKind, Sequence};

/// A job's journal head and its retained checkpoints.
#[derive(Debug, Clone)]
pub struct History {
    /// Where the job is.
    pub uri: String,
    /// The newest journal entry.
    pub newest: JournalEntry,
    /// All entries there are, newest first.
    pub entries: Vec<Sequence>,
    /// The retained checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
}

/// A retained checkpoint.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What the journal says about it.
    pub entry: CheckpointEntry,
    /// Its manifest, or why it cannot be read.
    pub manifest: Result<Manifest, String>,
}

/// What the journal says about a checkpoint, as reports show it. Points in time are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointFacts {
    /// Its id.
    pub id: u64,
    /// Why it was taken.
    pub kind: String,
    /// The generation that took it.
    pub generation: u64,
    /// When it was triggered.
    pub triggered_at: i64,
    /// When its last part was durable.
    pub completed_at: i64,
    /// Milliseconds between the two.
    pub duration_ms: u64,
    /// Bytes of all objects it names.
    pub bytes_full: u64,
    /// Bytes uploaded for it.
    pub bytes_incremental: u64,
}

impl Checkpoint {
    /// What the journal says about it.
    pub fn facts(&self) -> CheckpointFacts {
        let entry = &self.entry;
        CheckpointFacts {
            id: entry.id.0,
            kind: entry.kind.to_string(),
            generation: entry.generation.0,
            triggered_at: entry.triggered_at.0,
            completed_at: entry.completed_at.0,
            duration_ms: self.duration_ms(),
            bytes_full: entry.bytes_full,
            bytes_incremental: entry.bytes_incremental,
        }
    }

    /// Milliseconds from the trigger until its last part was durable.
    pub fn duration_ms(&self) -> u64 {
        self.entry.completed_at.since(self.entry.triggered_at)
    }
}

/// A savepoint below the job.
#[derive(Debug, Clone)]
pub struct Savepoint {
    /// The user's name for it.
    pub name: String,
    /// Its objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its manifest, or why there is none to read. It is written last: a copy that is under way has none.
    pub manifest: Result<Manifest, String>,
}

/// Numbers of runs and of bases in a chain.
pub(super) fn chain_parts(manifest: &Manifest) -> (u64, u64) {
    let bases = manifest.chain.iter().filter(|run| run.kind == RunKind::Base).count() as u64;
    (manifest.chain.len() as u64 - bases, bases)
}
