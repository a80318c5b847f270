//! Which objects may be deleted: those of dropped checkpoints, those disowned, and garbage of older generations, as far
//! as no live manifest names them.
//!
//! Nothing is guessed: while the objects of one live manifest are unknown, nothing is deleted. A damaged one therefore
//! holds back deletions until it is itself dropped.

use std::collections::{BTreeMap, BTreeSet};

use super::config::DELETE_BATCH;
use crate::ids::{CheckpointId, Generation, Sequence};
use crate::journal::Head;
use crate::layout;

#[cfg(test)]
mod tests;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Objects {
    /// Being loaded.
    Awaited,
    Known(BTreeSet<String>),
    /// The manifest is damaged.
    Unknowable,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    manifest: String,
    objects: Objects,
}

/// Keeps account of live and dropped objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Retirement {
    live: BTreeMap<CheckpointId, Named>,
    dropped: BTreeMap<CheckpointId, Named>,
    /// Disowned objects, with the last checkpoint triggered before: while it is under way it may still name them.
    disowned: BTreeMap<String, CheckpointId>,
    candidates: BTreeSet<String>,
    /// Manifests asked for.
    requested: BTreeSet<CheckpointId>,
    deleting: bool,
}

impl Retirement {
    /// Follows the journal's head: checkpoints that appeared are live, those that vanished are dropped.
    pub fn handle_head(&mut self, head: &Head) {
        let retained: BTreeSet<CheckpointId> = head.checkpoints.iter().map(|entry| entry.id).collect();
        for entry in &head.checkpoints {
            let manifest = entry.manifest.key.clone();
            self.live.entry(entry.id).or_insert(Named { manifest, objects: Objects::Awaited });
        }
        let (live, dropped) = std::mem::take(&mut self.live).into_iter().partition(|(id, _)| retained.contains(id));
        self.live = live;
        self.dropped.append(&mut { dropped });
        self.settle_dropped();
        self.settle_disowned(head.newest().map(|entry| entry.id).unwrap_or_default());
    }

    /// The objects that a live or dropped manifest names; `None`: it is damaged.
    pub fn handle_loaded(&mut self, id: CheckpointId, objects: Option<BTreeSet<String>>) {
        if let Some(named) = self.live.get_mut(&id).or(self.dropped.get_mut(&id)) {
            named.objects = objects.map_or(Objects::Unknowable, Objects::Known);
        }
        self.settle_dropped();
    }

    /// Objects that a worker names in no chain of a checkpoint triggered after `last_triggered`.
    pub fn handle_disowned(&mut self, keys: Vec<String>, last_triggered: CheckpointId) {
        self.disowned.extend(keys.into_iter().map(|key| (key, last_triggered)));
    }

    /// The manifest of a checkpoint that was given up; it may have been stored.
    pub fn handle_abandoned(&mut self, manifest: String) {
        self.candidates.insert(manifest);
    }

    /// Objects found in the store: adds those that are garbage of older generations.
    pub fn handle_listed(&mut self, keys: Vec<String>, generation: Generation, trimmed_below: Sequence) {
        self.candidates.extend(keys.into_iter().filter(|key| is_of_older_reign(key, generation, trimmed_below)));
    }

    /// The live checkpoints whose objects are not known and were not asked for yet.
    pub fn take_unrequested(&mut self) -> BTreeSet<CheckpointId> {
        let awaited = |(id, named): (&CheckpointId, &Named)| (named.objects == Objects::Awaited).then_some(*id);
        let unrequested: BTreeSet<_> =
            self.live.iter().filter_map(awaited).filter(|id| !self.requested.contains(id)).collect();
        self.requested.extend(&unrequested);
        unrequested
    }

    /// The next objects to delete, at most [`DELETE_BATCH`]; empty while a deletion is under way.
    ///
    /// Manifests are few bytes and would be a request each: they wait until so many can go `together`, or until a run goes.
    pub fn begin_delete(&mut self, together: usize) -> Vec<String> {
        let mut named = BTreeSet::new();
        for live in self.live.values() {
            let Objects::Known(objects) = &live.objects else { return Vec::new() };
            named.insert(&live.manifest);
            named.extend(objects);
        }
        if self.deleting {
            return Vec::new();
        }
        let keys: Vec<String> =
            self.candidates.iter().filter(|key| !named.contains(key)).take(DELETE_BATCH).cloned().collect();
        if keys.len() < together && keys.iter().all(|key| layout::parse_manifest_key(key).is_some()) {
            return Vec::new();
        }
        self.deleting = !keys.is_empty();
        keys
    }

    /// A deletion ended; what is not known to be gone stays a candidate.
    pub fn handle_deleted(&mut self, keys: &[String], gone: bool) {
        self.deleting = false;
        if gone {
            for key in keys {
                self.candidates.remove(key);
            }
        }
    }

    fn settle_dropped(&mut self) {
        for (id, named) in std::mem::take(&mut self.dropped) {
            match named.objects {
                Objects::Awaited => {
                    self.dropped.insert(id, named);
                }
                Objects::Known(objects) => {
                    self.candidates.extend(objects);
                    self.candidates.insert(named.manifest);
                }
                Objects::Unknowable => {
                    self.candidates.insert(named.manifest);
                }
            }
        }
    }

    fn settle_disowned(&mut self, newest: CheckpointId) {
        let (settled, waiting) = std::mem::take(&mut self.disowned).into_iter().partition(|(_, last)| *last <= newest);
        let settled: BTreeMap<String, CheckpointId> = settled;
        self.candidates.extend(settled.into_keys());
        self.disowned = waiting;
    }
}

/// True if an object's name says that it was written by an older reign than `generation`'s, or is a journal entry below
/// the trimming watermark. Whether it may go is for the live manifests to say.
pub fn is_of_older_reign(key: &str, generation: Generation, trimmed_below: Sequence) -> bool {
    let run = layout::parse_run_generation(key).is_some_and(|found| found < generation);
    let manifest = layout::parse_manifest_key(key).is_some_and(|(_, found)| found < generation);
    let entry = layout::parse_journal_key(key).is_some_and(|found| found < trimmed_below);
    run || manifest || entry
}
