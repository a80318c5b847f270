//! Memory: budgets that are kept, early runs, eviction, pausing.

use weir_protocol::{CheckpointId, MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, MemoryBudget, RestoreChain, ValueHandle, WorkerStore, hash_key};

use crate::cluster::{MAX, Setup, wait_until};

const BUDGET: MemoryBudget = MemoryBudget { total: 6 << 20, write: 4 << 20, builders: 1 << 20 };

struct Counts {
    store: std::sync::Arc<WorkerStore>,
    backend: Backend<u64>,
    handle: ValueHandle<u64>,
}

fn checkpoint(store: &WorkerStore, backend: &mut Backend<u64>, epoch: CheckpointId) -> RestoreChain {
    let (tx, rx) = std::sync::mpsc::channel();
    store.begin_epoch(epoch, 1, Box::new(move |result| drop(tx.send(result))));
    store.submit(epoch, backend.seal(epoch));
    let result = rx.recv().unwrap().unwrap();
    RestoreChain { states: result.states, chain: result.chain, epoch }
}

impl Counts {
    fn open(setup: &Setup, generation: u64, restore: Option<RestoreChain>) -> Self {
        let store = WorkerStore::open(setup.config(0, generation), restore).unwrap();
        let max = MaxParallelism::new(MAX).unwrap();
        let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, max.all());
        let handle = backend.value::<u64>("count".into()).unwrap();
        Self { store, backend, handle }
    }

    fn add(&mut self, keys: impl Iterator<Item = u64>) {
        let hashed: Vec<(u64, u64)> = keys.map(|key| (hash_key(&key, &mut Vec::new()), key)).collect();
        for batch in hashed.chunks(1000) {
            wait_until("the store keeps up", || {
                self.backend.maintain();
                !self.backend.must_pause()
            });
            let table = self.backend.value_mut(self.handle);
            table.prefetch(batch.iter().map(|(hash, key)| (*hash, key))).unwrap();
            for (hash, key) in batch {
                let count = table.entry(*hash, key).unwrap();
                *count = Some(count.unwrap_or(0) + 1);
            }
        }
    }

    fn checkpoint(&mut self, epoch: u64) -> RestoreChain {
        checkpoint(&self.store, &mut self.backend, CheckpointId(epoch))
    }

    fn check(&mut self, keys: u64, expected: u64) {
        for key in 0..keys {
            let hash = hash_key(&key, &mut Vec::new());
            let table = self.backend.value_mut(self.handle);
            assert_eq!(table.get(hash, &key).unwrap().copied(), Some(expected), "{key}");
            if key % 1000 == 0 {
                self.backend.maintain();
            }
        }
    }
}

#[test]
fn state_ten_times_the_budget_stays_within_it_and_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.memory = BUDGET;
    let mut counts = Counts::open(&setup, 1, None);
    let keys = 400_000;
    let mut largest = 0;
    for epoch in 1..=3 {
        for part in 0..8 {
            counts.add((0..keys).filter(|key| key % 8 == part));
            let stats = counts.store.stats();
            largest = largest.max(stats.write_bytes + stats.clean_bytes);
        }
        counts.checkpoint(epoch);
    }
    let stats = counts.store.stats();
    assert!(stats.ingesting, "state that outgrows memory is ingested");
    assert!(largest < 3 * BUDGET.total / 2, "{largest} bytes in memory");
    counts.check(keys, 3);
    let checkpoint = counts.checkpoint(4);
    drop(counts);
    Counts::open(&setup, 2, Some(checkpoint)).check(keys, 3);
}

#[test]
fn what_new_values_own_on_the_heap_counts() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.memory = MemoryBudget { total: 128 << 20, write: 64 << 20, builders: 1 << 20 };
    let store = WorkerStore::open(setup.config(0, 1), None).unwrap();
    let max = MaxParallelism::new(MAX).unwrap();
    let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, max.all());
    let handle = backend.value::<Vec<u8>>("bytes".into()).unwrap();
    let (keys, length) = (10_000, 1000);
    for key in 0..keys {
        // Whoever fills a new place does so after the table has given it out, once.
        let place = backend.value_mut(handle).entry(hash_key(&key, &mut Vec::new()), &key).unwrap();
        *place = Some(vec![1; length]);
        if key % 100 == 99 {
            backend.maintain();
        }
    }
    let (counted, owned) = (store.stats().write_bytes, keys as usize * length);
    assert!(counted >= owned && counted < 2 * owned, "{counted} bytes are counted for {owned}");
}

/// A counter that is read for every key beside a large value that is set once, in a state that was restored.
struct Restored {
    store: std::sync::Arc<WorkerStore>,
    backend: Backend<u64>,
    count: ValueHandle<u64>,
    bytes: ValueHandle<Vec<u8>>,
    hashes: Vec<u64>,
    keys: Vec<u64>,
    owned: usize,
    _dir: tempfile::TempDir,
}

impl Restored {
    fn new(keys: u64, length: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
        setup.memory = MemoryBudget { total: 128 << 20, write: 64 << 20, builders: 1 << 20 };
        let max = MaxParallelism::new(MAX).unwrap();
        let open = |generation, restore| {
            let store = WorkerStore::open(setup.config(0, generation), restore).unwrap();
            let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, max.all());
            let count = backend.value::<u64>("count".into()).unwrap();
            let bytes = backend.value::<Vec<u8>>("bytes".into()).unwrap();
            (store, backend, count, bytes)
        };
        let keys: Vec<u64> = (0..keys).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| hash_key(key, &mut Vec::new())).collect();
        let (store, mut backend, count, bytes) = open(1, None);
        for (hash, key) in hashes.iter().zip(&keys) {
            backend.value_mut(count).set(*hash, key, 1).unwrap();
            backend.value_mut(bytes).set(*hash, key, vec![1; length]).unwrap();
        }
        let restore = checkpoint(&store, &mut backend, CheckpointId(1));
        drop((backend, store));
        let (store, backend, count, bytes) = open(2, Some(restore));
        let owned = keys.len() * length;
        Self { store, backend, count, bytes, hashes, keys, owned, _dir: dir }
    }

    /// Batches of all keys, as an operator has them; counts up, and reads the large value too if asked to.
    fn run(&mut self, reads_bytes: bool) {
        for (hashes, keys) in self.hashes.chunks(100).zip(self.keys.chunks(100)) {
            self.backend.prefetch(hashes, &keys.to_vec()).unwrap();
            for (hash, key) in hashes.iter().zip(keys) {
                let count = self.backend.value_mut(self.count).entry(*hash, key).unwrap();
                *count = count.map(|count| count + 1);
                assert!(*count > Some(1), "{key}");
                if reads_bytes {
                    assert!(self.backend.value_mut(self.bytes).get(*hash, key).unwrap().is_some(), "{key}");
                }
            }
            self.backend.maintain();
        }
    }
}

#[test]
fn what_values_read_from_the_disk_own_on_the_heap_counts() {
    let mut job = Restored::new(10_000, 1000);
    job.run(true);
    let (counted, owned) = (job.store.stats().clean_bytes, job.owned);
    assert!(counted >= owned && counted < 2 * owned, "{counted} bytes are counted for {owned}");
}

#[test]
fn values_that_nobody_reads_are_not_brought_into_memory() {
    let mut job = Restored::new(10_000, 1000);
    job.run(false);
    let (counted, owned) = (job.store.stats().clean_bytes, job.owned);
    assert!(counted < owned / 4, "{counted} bytes in memory of {owned} that nobody reads");
    // What is read after all is there.
    job.run(true);
}

#[test]
fn an_epoch_that_outgrows_its_budget_is_spilled_as_early_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.memory = BUDGET;
    let mut counts = Counts::open(&setup, 1, None);
    counts.add(0..200_000);
    counts.add(0..200_000);
    let checkpoint = counts.checkpoint(1);
    assert!(checkpoint.chain.len() > 1, "{} runs", checkpoint.chain.len());
    assert!(checkpoint.chain.iter().all(|run| run.epoch == CheckpointId(1)));
    // What is spilled after the barrier does not belong to the checkpoint.
    counts.add(0..200_000);
    drop(counts);
    Counts::open(&setup, 2, Some(checkpoint)).check(200_000, 2);
}

#[test]
fn nothing_is_ingested_while_everything_fits_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut counts = Counts::open(&setup, 1, None);
    counts.add(0..50_000);
    counts.checkpoint(1);
    counts.add(0..50_000);
    let stats = counts.store.stats();
    assert!(!stats.ingesting);
    let entries = std::fs::read_dir(setup.dir.join("worker0")).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["runs"], "no database exists");
}
