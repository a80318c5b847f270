//! What lies in the bucket, read from outside the process.

use std::collections::BTreeMap;

use tokio::runtime::Runtime;
use weir::inspect::{History, InspectError, JobRoot, read_entries, read_history, read_inventory};
use weir_protocol::journal::JournalEntry;
use weir_protocol::layout;
use weir_storage::{StoreOptions, prefixed};

/// A job's place in its storage.
pub struct Store {
    root: JobRoot,
    runtime: Runtime,
}

/// How many bytes below a job's root are needed, may be, or are not.
#[derive(Debug, Default, Clone, Copy)]
pub struct Heaps {
    pub named: u64,
    /// Of the reigning generation: the next manifest may name them.
    pub unnamed: u64,
    pub garbage: u64,
    pub garbage_objects: u64,
    pub open_uploads: usize,
    /// The largest retained checkpoint.
    pub full: u64,
}

impl Store {
    pub fn open(uri: &str, name: &str, options: &StoreOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = runtime.block_on(weir_storage::open(uri, options)).unwrap();
        let below = format!("local/{name}");
        Self { root: JobRoot { store: prefixed(store, &below), uri: format!("{uri}/{below}") }, runtime }
    }

    /// Head and retained checkpoints; `None` before the first claim.
    pub fn history(&self) -> Option<History> {
        match self.runtime.block_on(read_history(&self.root)) {
            Ok(history) => Some(history),
            Err(InspectError::NotAJob { .. }) => None,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }

    /// Generation and newest checkpoint; zeros before the first.
    pub fn head(&self) -> (u64, u64) {
        self.history().map_or((0, 0), |history| {
            let newest = history.newest.head.checkpoints.last().map_or(0, |entry| entry.id.0);
            (history.newest.head.generation.0, newest)
        })
    }

    /// All journal entries that are still there, oldest first. Every one must be whole.
    pub fn entries(&self) -> Vec<JournalEntry> {
        let mut entries: Vec<_> = self
            .runtime
            .block_on(read_entries(&self.root))
            .unwrap()
            .into_iter()
            .map(|(_, entry)| entry.unwrap())
            .collect();
        entries.reverse();
        entries
    }

    pub fn objects(&self) -> BTreeMap<String, u64> {
        self.runtime.block_on(read_inventory(&self.root)).unwrap().objects
    }

    /// Sorts the objects by who needs them. The job must not run.
    pub fn heaps(&self) -> Heaps {
        let history = self.history().expect("the job has a journal");
        let inventory = self.runtime.block_on(read_inventory(&self.root)).unwrap();
        let mut heaps = Heaps { open_uploads: inventory.uploads.len(), ..Heaps::default() };
        let mut named: BTreeMap<String, u64> = BTreeMap::new();
        for checkpoint in &history.checkpoints {
            let manifest = checkpoint.manifest.as_ref().unwrap_or_else(|error| panic!("{error}"));
            heaps.full = heaps.full.max(manifest.chain.iter().map(|run| run.object.length).sum());
            named.insert(checkpoint.entry.manifest.key.clone(), checkpoint.entry.manifest.length);
            named.extend(manifest.chain.iter().map(|run| (run.object.key.clone(), run.object.length)));
        }
        for (key, length) in &named {
            assert_eq!(inventory.objects.get(key), Some(length), "{key} is named by a retained checkpoint");
        }
        let reigning = history.newest.head.generation;
        for (key, length) in inventory.objects.iter().filter(|(key, _)| !named.contains_key(*key)) {
            let manifest = layout::parse_manifest_key(key).map(|(_, generation)| generation);
            match layout::parse_run_generation(key).or(manifest) {
                Some(generation) if generation < reigning => {
                    heaps.garbage += length;
                    heaps.garbage_objects += 1;
                }
                Some(_) => heaps.unnamed += length,
                // Of a process that was killed while it probed; removed when it is an hour old.
                None if key.starts_with("probe/") => {
                    heaps.garbage += length;
                    heaps.garbage_objects += 1;
                }
                None => assert!(layout::parse_journal_key(key).is_some(), "{key} is none of Weir's names"),
            }
        }
        heaps.named = named.values().sum();
        heaps
    }
}
