//! What was read, as values.

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

impl Checkpoint {
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
