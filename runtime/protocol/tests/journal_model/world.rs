//! The store, what really happened (ghost state), and the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use weir_protocol::ids::{CheckpointId, Generation, Sequence};
use weir_protocol::journal::{EntryKind, JournalEntry};

/// An object's content; hashed once.
#[derive(Clone)]
pub struct Blob {
    pub bytes: Arc<[u8]>,
    hash: u64,
}

impl Blob {
    pub fn new(bytes: Arc<[u8]>) -> Self {
        let hash = weir_protocol::key_hash(&bytes);
        Self { bytes, hash }
    }
}

impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Blob {}

impl PartialOrd for Blob {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Blob {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

/// An entry of the true history.
#[derive(Clone)]
pub struct Landed {
    pub entry: Arc<JournalEntry>,
    pub blob: Blob,
}

impl Hash for Landed {
    /// Of an entry that something was built on, only who wrote it and what it recorded matters to the checks.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry.attempt.hash(state);
        self.entry.kind.hash(state);
    }
}

/// The object store and the truth about it.
#[derive(Clone, Default, Hash)]
pub struct World {
    pub journal: BTreeMap<Sequence, Blob>,
    /// Manifests deleted. All others are taken as stored.
    pub deleted: BTreeSet<String>,
    /// Creates whose answer was lost and that may still arrive.
    pub in_transit: BTreeSet<(Sequence, Blob)>,
    /// Every entry that ever landed on top of all others, in order.
    pub history: Vec<Landed>,
    /// Checkpoints that their coordinator gave up.
    pub aborted: BTreeSet<CheckpointId>,
    pub triggered: u8,
    pub late_duplicates: bool,
}

/// The writer of an entry: the part of its attempt id before the last dash.
pub fn writer(entry: &JournalEntry) -> &str {
    entry.attempt.0.rsplit_once('-').map_or("", |(writer, _)| writer)
}

impl World {
    /// The newest two entries, newest first.
    pub fn newest(&self) -> Vec<Sequence> {
        self.journal.keys().rev().take(2).copied().collect()
    }

    /// A create is sent and its answer lost; it may arrive later.
    pub fn lose(&mut self, sequence: Sequence, blob: Blob) {
        let index = usize::try_from(sequence.0 - 1).expect("small");
        let has_landed = self.history.get(index).is_some_and(|landed| landed.blob == blob);
        if self.late_duplicates || !has_landed {
            self.in_transit.insert((sequence, blob));
        }
    }

    /// A create arrives: `Ok(true)` if the slot was free. Checks what lands on top.
    pub fn land(&mut self, sequence: Sequence, blob: &Blob) -> Result<bool, String> {
        if self.journal.contains_key(&sequence) {
            return Ok(false);
        }
        self.journal.insert(sequence, blob.clone());
        if !self.late_duplicates {
            self.in_transit.remove(&(sequence, blob.clone()));
        }
        let next = self.history.len() as u64 + 1;
        if sequence.0 > next {
            return Err(format!("entry {sequence} lands beyond {next}"));
        }
        if sequence.0 == next {
            let entry = JournalEntry::decode(sequence, &blob.bytes).map_err(|error| error.to_string())?;
            self.check_follows(&entry)?;
            self.history.push(Landed { entry: Arc::new(entry), blob: blob.clone() });
        }
        Ok(true)
    }

    /// True if a slot holds something other than what the history says: a win of an emptied slot.
    pub fn has_junk(&self) -> bool {
        let oldest_kept = self.history.len() as u64;
        self.journal
            .iter()
            .any(|(sequence, _)| sequence.0 + 1 < oldest_kept && !self.journal.contains_key(&sequence.next()))
    }

    /// The entry at `sequence` is part of the history and was written by `writer`.
    pub fn counts(&self, sequence: Sequence, who: &str) -> bool {
        let index = usize::try_from(sequence.0 - 1).expect("small");
        self.history.get(index).is_some_and(|landed| writer(&landed.entry) == who)
    }

    /// Somebody other than `who` wrote an entry after `sequence`.
    pub fn has_foreign_after(&self, sequence: Option<Sequence>, who: &str) -> bool {
        let known = usize::try_from(sequence.map_or(0, |sequence| sequence.0)).expect("small");
        self.history.iter().skip(known).any(|landed| writer(&landed.entry) != who)
    }

    /// A checkpoint is given up by its coordinator.
    pub fn abort(&mut self, checkpoint: CheckpointId) -> Result<(), String> {
        self.aborted.insert(checkpoint);
        self.check_published()
    }

    /// Manifests are deleted, at once: a later deletion could find no more violations, because a name that is retained
    /// later on is found missing then.
    pub fn delete(&mut self, keys: Vec<String>) -> Result<(), String> {
        self.deleted.extend(keys);
        self.check()
    }

    /// What must hold in every state.
    pub fn check(&self) -> Result<(), String> {
        let Some(last) = self.history.last() else { return Ok(()) };
        let newest = self.journal.last_key_value();
        if newest.is_none_or(|(sequence, blob)| *sequence != last.entry.sequence || *blob != last.blob) {
            return Err(format!("the newest entry is not the history's last, {}", last.entry.sequence));
        }
        let mut named = last.entry.head.checkpoints.iter().map(|entry| &entry.manifest.key);
        match named.find(|key| self.deleted.contains(*key)) {
            Some(key) => Err(format!("{key} is deleted, which is retained")),
            None => Ok(()),
        }
    }

    fn check_follows(&self, entry: &JournalEntry) -> Result<(), String> {
        let (generation, reigning) = match self.history.last() {
            Some(last) => (last.entry.head.generation, self.reigning_writer()),
            None => (Generation(0), ""),
        };
        let (expected, who) = match entry.kind {
            EntryKind::Claim { .. } => (generation.next(), writer(entry)),
            _ => (generation, reigning),
        };
        if entry.head.generation != expected || writer(entry) != who {
            let (sequence, found) = (entry.sequence, entry.head.generation);
            return Err(format!(
                "entry {sequence} of {} in generation {found} follows {generation} of {reigning}",
                writer(entry)
            ));
        }
        if let EntryKind::Checkpoint { checkpoint } = entry.kind
            && self.aborted.contains(&checkpoint)
        {
            return Err(format!("checkpoint {checkpoint} is both aborted and published"));
        }
        Ok(())
    }

    fn check_published(&self) -> Result<(), String> {
        for landed in &self.history {
            if let EntryKind::Checkpoint { checkpoint } = landed.entry.kind
                && self.aborted.contains(&checkpoint)
            {
                return Err(format!("checkpoint {checkpoint} is both aborted and published"));
            }
        }
        Ok(())
    }

    fn reigning_writer(&self) -> &str {
        let claim = self.history.iter().rev().find(|landed| matches!(landed.entry.kind, EntryKind::Claim { .. }));
        claim.map_or("", |landed| writer(&landed.entry))
    }
}
