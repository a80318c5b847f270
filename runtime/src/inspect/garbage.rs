//! Who needs which object. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use weir_protocol::layout;

use super::model::History;

/// Every object below a job's root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Lengths by key.
    pub objects: BTreeMap<String, u64>,
    /// Keys of multipart uploads that were begun and neither completed nor aborted.
    pub uploads: Vec<String>,
}

/// A number of objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Heap {
    /// How many.
    pub objects: u64,
    /// How large together.
    pub bytes: u64,
}

impl Heap {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// The objects of a job by what keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// All of them.
    pub total: Heap,
    /// Named by a retained checkpoint, manifests included.
    pub referenced: Heap,
    /// Journal entries.
    pub journal: Heap,
    /// Below `savepoints/`: they belong to the user.
    pub savepoints: Heap,
    /// Of the reigning generation and not named yet: the next checkpoint may name them.
    pub unnamed: Heap,
    /// Of older generations and named by nothing: garbage that a sweep removes.
    pub unreferenced: Heap,
    /// Neither of Weir's names: somebody else's.
    pub foreign: Heap,
    /// Objects that a retained checkpoint names and that are missing, or have another length.
    pub missing: Vec<String>,
    /// Keys of unfinished multipart uploads.
    pub open_uploads: Vec<String>,
}

/// Sorts the objects of `inventory` by what keeps them.
pub(super) fn sort(history: &History, inventory: &Inventory) -> Storage {
    let mut storage = Storage { open_uploads: inventory.uploads.clone(), ..Storage::default() };
    let mut needed: BTreeMap<&str, u64> = BTreeMap::new();
    for checkpoint in &history.checkpoints {
        needed.insert(&checkpoint.entry.manifest.key, checkpoint.entry.manifest.length);
        let chain = checkpoint.manifest.iter().flat_map(|manifest| &manifest.chain);
        needed.extend(chain.map(|run| (run.object.key.as_str(), run.object.length)));
    }
    let mut missing = BTreeSet::new();
    for (key, length) in &needed {
        match inventory.objects.get(*key) {
            None => _ = missing.insert(format!("{key}: missing")),
            Some(found) if found != length => _ = missing.insert(format!("{key}: {found} bytes instead of {length}")),
            Some(_) => {}
        }
    }
    storage.missing = missing.into_iter().collect();
    let reigning = history.newest.head.generation;
    for (key, length) in &inventory.objects {
        storage.total.add(*length);
        let generation =
            layout::parse_run_generation(key).or_else(|| layout::parse_manifest_key(key).map(|(_, of)| of));
        let heap = if needed.contains_key(key.as_str()) {
            &mut storage.referenced
        } else if layout::parse_journal_key(key).is_some() {
            &mut storage.journal
        } else if key.starts_with(layout::SAVEPOINTS) {
            &mut storage.savepoints
        } else {
            match generation {
                Some(of) if of >= reigning => &mut storage.unnamed,
                Some(_) => &mut storage.unreferenced,
                None => &mut storage.foreign,
            }
        };
        heap.add(*length);
    }
    storage
}
