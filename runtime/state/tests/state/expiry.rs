//! Expiry: hidden in every layer, gone from bases.

use std::time::Duration;

use weir_protocol::{CheckpointId, MaxParallelism, OperatorId};
use weir_state::{
    Backend, BackendKind, ListHandle, MapHandle, RestoreChain, StateDescriptor, Ttl, ValueHandle, WorkerStore,
};

use crate::cluster::{MAX, Setup, wait_until};

fn hash(key: u64) -> u64 {
    weir_state::hash_key(&key, &mut Vec::new())
}

struct Expiring {
    store: std::sync::Arc<WorkerStore>,
    backend: Backend<u64>,
    value: ValueHandle<u32>,
    read: ValueHandle<u32>,
    map: MapHandle<u8, u32>,
    list: ListHandle<u32>,
}

impl Expiring {
    fn open(setup: &Setup, generation: u64, restore: Option<RestoreChain>) -> Self {
        let store = WorkerStore::open(setup.config(0, generation), restore).unwrap();
        let max = MaxParallelism::new(MAX).unwrap();
        let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, max.all());
        let written = |name: &str| StateDescriptor::new(name).ttl(Ttl::after_write(Duration::from_millis(100)));
        let read = StateDescriptor::new("read").ttl(Ttl::after_access(Duration::from_millis(100)));
        Self {
            value: backend.value(written("value")).unwrap(),
            read: backend.value(read).unwrap(),
            map: backend.map(written("map")).unwrap(),
            list: backend.list(written("list")).unwrap(),
            store,
            backend,
        }
    }

    fn write(&mut self, key: u64, value: u32) {
        let hash = hash(key);
        self.backend.value_mut(self.value).set(hash, &key, value).unwrap();
        self.backend.value_mut(self.read).set(hash, &key, value).unwrap();
        self.backend.map_mut(self.map).insert(hash, &key, 1, value).unwrap();
        self.backend.list_mut(self.list).push(hash, &key, value).unwrap();
    }

    /// What is visible of a key: value, map entry, list, emptiness of the map.
    fn seen(&mut self, key: u64) -> (Option<u32>, Option<u32>, Vec<u32>, bool) {
        let hash = hash(key);
        let value = self.backend.value_mut(self.value).get(hash, &key).unwrap().copied();
        let entry = self.backend.map_mut(self.map).get(hash, &key, &1).unwrap().copied();
        let list = self.backend.list_mut(self.list).get(hash, &key).unwrap();
        (value, entry, list, self.backend.map_mut(self.map).is_empty(hash, &key).unwrap())
    }

    fn checkpoint(&mut self, epoch: u64) -> RestoreChain {
        let (tx, rx) = std::sync::mpsc::channel();
        self.store.begin_epoch(CheckpointId(epoch), 1, Box::new(move |result| drop(tx.send(result))));
        let sealed = self.backend.seal(CheckpointId(epoch));
        self.store.submit(CheckpointId(epoch), sealed);
        let result = rx.recv().unwrap().unwrap();
        self.store.acknowledge(CheckpointId(epoch));
        RestoreChain { states: result.states, chain: result.chain, epoch: CheckpointId(epoch) }
    }
}

const GONE: (Option<u32>, Option<u32>, Vec<u32>, bool) = (None, None, Vec::new(), true);

#[test]
fn values_expire_in_every_layer_and_after_a_restore() {
    for backend in [BackendKind::RocksDb, BackendKind::Memory] {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::new(backend, dir.path());
        let mut state = Expiring::open(&setup, 1, None);
        state.backend.set_now(1000);
        state.write(1, 7);
        let there = (Some(7), Some(7), vec![7], false);
        assert_eq!(state.seen(1), there);
        state.backend.set_now(1099);
        assert_eq!(state.seen(1), there, "dirty, just before");
        state.backend.set_now(1100);
        assert_eq!(state.seen(1), GONE, "dirty");
        state.backend.set_now(1099);
        let checkpoint = state.checkpoint(1);
        assert_eq!(state.seen(1), there, "sealed, just before");
        wait_until("the layer is clean", || !state.backend.maintain() && state.store.stats().write_bytes == 0);
        assert_eq!(state.seen(1), there, "clean, just before");
        state.backend.set_now(1100);
        assert_eq!(state.seen(1), GONE, "clean");
        drop(state);
        let mut state = Expiring::open(&setup, 2, Some(checkpoint));
        state.backend.set_now(1099);
        assert_eq!(state.seen(1), there, "restored, just before");
        state.backend.set_now(1100);
        assert_eq!(state.seen(1), GONE, "restored");
    }
}

#[test]
fn writing_begins_a_new_life_and_reading_does_if_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut state = Expiring::open(&setup, 1, None);
    state.backend.set_now(1000);
    state.write(1, 7);
    state.backend.set_now(1080);
    *state.backend.value_mut(state.value).entry(hash(1), &1).unwrap() = Some(8);
    assert_eq!(state.backend.value_mut(state.read).get(hash(1), &1).unwrap(), Some(&7));
    state.backend.set_now(1150);
    assert_eq!(state.seen(1).0, Some(8));
    assert_eq!(state.backend.value_mut(state.read).get(hash(1), &1).unwrap(), Some(&7));
    state.backend.set_now(1200);
    assert_eq!(state.seen(1), GONE);
    assert_eq!(state.backend.value_mut(state.read).get(hash(1), &1).unwrap(), Some(&7));
    state.backend.set_now(1300);
    assert_eq!(state.backend.value_mut(state.read).get(hash(1), &1).unwrap(), None);
    assert_eq!(
        *state.backend.value_mut(state.value).entry(hash(1), &1).unwrap(),
        None,
        "what is over does not come back"
    );
}

#[test]
fn a_base_leaves_out_what_has_expired() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.base_max_runs = 1;
    let mut state = Expiring::open(&setup, 1, None);
    state.backend.set_now(1000);
    (0..50).for_each(|key| state.write(key, 1));
    state.checkpoint(1);
    state.backend.set_now(1100);
    (50..60).for_each(|key| state.write(key, 1));
    state.checkpoint(2);
    let store = state.store.clone();
    wait_until("the base replaces its runs", || store.stats().bases_built == 1 && store.stats().chain_files == 1);
    let checkpoint = state.checkpoint(3);
    assert_eq!(checkpoint.chain.iter().map(|run| run.entries).sum::<u64>(), 10 * 4);
}
