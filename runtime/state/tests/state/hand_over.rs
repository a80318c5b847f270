//! What happens between barriers: layers that wait, move and are gone, and reads that overlap with that.

use weir_protocol::{CheckpointId, MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, MemoryBudget, WorkerStore, hash_key};

use crate::cluster::{Cluster, MAX, Setup, wait_until};

fn hash(key: &str) -> u64 {
    hash_key(key, &mut Vec::new())
}

/// Restores a cluster of one subtask in which `keys` have value 1, so that values are read from disk.
fn restored(dir: &std::path::Path, keys: &[&str]) -> Cluster {
    let setup = Setup::new(BackendKind::RocksDb, dir);
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    for key in keys {
        let (subtask, hash) = cluster.subtask(key);
        subtask.backend.value_mut(subtask.value).set(hash, &key.to_string(), 1).unwrap();
    }
    let checkpoint = cluster.checkpoint(1).unwrap();
    cluster.kill();
    Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap()
}

fn value(cluster: &mut Cluster, key: &str) -> Option<u64> {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).get(hash, &key.to_string()).unwrap().copied()
}

fn set(cluster: &mut Cluster, key: &str, value: u64) {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).set(hash, &key.to_string(), value).unwrap();
}

/// Calls maintenance until there is nothing left to hand over.
fn settle(cluster: &mut Cluster) {
    wait_until("no layer waits", || {
        cluster.maintain();
        cluster.workers[0].store.stats().write_bytes == 0
    });
}

#[test]
fn a_fetch_that_began_before_a_hand_over_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = restored(dir.path(), &["a", "b"]);
    let key = "a".to_owned();
    let (subtask, hash) = cluster.subtask("a");
    let mut fetch = subtask.backend.value_mut(subtask.value).begin_fetch([(hash, &key)].into_iter()).unwrap();
    fetch.run().unwrap();
    // While the fetch is under way the value changes, is sealed, written, ingested, handed over and evicted.
    set(&mut cluster, "a", 2);
    cluster.checkpoint(2).unwrap();
    settle(&mut cluster);
    let (subtask, _) = cluster.subtask("a");
    let table = subtask.backend.value_mut(subtask.value);
    table.forget_clean();
    table.finish_fetch(fetch).unwrap();
    assert_eq!(value(&mut cluster, "a"), Some(2), "the fetch brought back what was there before the hand-over");
}

#[test]
fn a_fetch_does_not_overwrite_what_was_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = restored(dir.path(), &["a", "b"]);
    let key = "a".to_owned();
    let (subtask, hash) = cluster.subtask("a");
    let mut fetch = subtask.backend.value_mut(subtask.value).begin_fetch([(hash, &key)].into_iter()).unwrap();
    fetch.run().unwrap();
    set(&mut cluster, "a", 2);
    let (subtask, _) = cluster.subtask("a");
    subtask.backend.value_mut(subtask.value).finish_fetch(fetch).unwrap();
    assert_eq!(value(&mut cluster, "a"), Some(2));
    assert_eq!(value(&mut cluster, "b"), Some(1));
}

#[test]
fn values_stay_readable_in_every_stage_of_a_hand_over() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let max = MaxParallelism::new(MAX).unwrap();
    let store = WorkerStore::open(setup.config(0, 1), None).unwrap();
    let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, max.all());
    let handle = backend.value::<u64>("count".into()).unwrap();
    let count = 100_000u64;
    let hash = |key: &u64| hash_key(key, &mut Vec::new());
    for round in 1..=3 {
        for key in 0..count {
            *backend.value_mut(handle).entry(hash(&key), &key).unwrap() = Some(key * round);
        }
        let (tx, rx) = std::sync::mpsc::channel();
        store.begin_epoch(CheckpointId(round), 1, Box::new(move |result| drop(tx.send(result))));
        let sealed = backend.seal(CheckpointId(round));
        store.submit(CheckpointId(round), sealed);
        rx.recv().unwrap().unwrap();
        // One slice at a time: some entries have moved, the others not yet.
        let mut key = 0;
        while backend.maintain() {
            key = (key + 7919) % count;
            assert_eq!(backend.value_mut(handle).get(hash(&key), &key).unwrap(), Some(&(key * round)));
        }
    }
    assert_eq!(store.stats().write_bytes, 0);
    for key in 0..count {
        assert_eq!(backend.value_mut(handle).get(hash(&key), &key).unwrap(), Some(&(key * 3)));
    }
}

#[test]
fn what_is_created_and_removed_within_an_epoch_leaves_no_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    for number in 0..100u64 {
        let key = format!("window {number}");
        let (subtask, hash) = cluster.subtask(&key);
        subtask.backend.value_mut(subtask.value).set(hash, &key, number).unwrap();
        subtask.backend.value_mut(subtask.value).remove(hash, &key).unwrap();
        *subtask.backend.value_mut(subtask.text).entry(hash, &key).unwrap() = Some("text".into());
        *subtask.backend.value_mut(subtask.text).entry(hash, &key).unwrap() = None;
        subtask.backend.map_mut(subtask.map).insert(hash, &key, 1, "one".into()).unwrap();
        subtask.backend.map_mut(subtask.map).clear(hash, &key).unwrap();
        subtask.backend.list_mut(subtask.list).push(hash, &key, 1).unwrap();
        subtask.backend.list_mut(subtask.list).clear(hash, &key).unwrap();
        subtask.backend.timers_mut(subtask.timers).register(5, hash, &key).unwrap();
        subtask.backend.timers_mut(subtask.timers).delete(5, hash, &key).unwrap();
    }
    let checkpoint = cluster.checkpoint(1).unwrap();
    assert_eq!(checkpoint.chain, [], "nothing is left to write");
}

#[test]
fn a_tombstone_is_written_for_what_an_earlier_epoch_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    set(&mut cluster, "a", 1);
    cluster.checkpoint(1).unwrap();
    let (subtask, hash) = cluster.subtask("a");
    subtask.backend.value_mut(subtask.value).remove(hash, &"a".to_owned()).unwrap();
    let checkpoint = cluster.checkpoint(2).unwrap();
    assert_eq!(checkpoint.chain.iter().map(|run| run.entries).collect::<Vec<_>>(), [1, 1]);
    cluster.kill();
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
    assert_eq!(value(&mut cluster, "a"), None);
    // And what a restore has to look for on disk is removed there as well.
    set(&mut cluster, "b", 1);
    cluster.checkpoint(3).unwrap();
    let (subtask, _) = cluster.subtask("b");
    subtask.backend.value_mut(subtask.value).remove(self::hash("b"), &"b".to_owned()).unwrap();
    let checkpoint = cluster.checkpoint(4).unwrap();
    cluster.kill();
    let mut cluster = Cluster::deploy(&setup, 3, 1, 1, Some(checkpoint)).unwrap();
    assert_eq!(value(&mut cluster, "b"), None);
}

#[test]
fn sealing_does_not_wait_for_anything() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.memory = MemoryBudget::default();
    setup.objects.set_outage(true);
    let mut cluster = Cluster::deploy(&setup, 1, 1, 2, None).unwrap();
    let mut results = Vec::new();
    for epoch in 1..=3 {
        set(&mut cluster, "a", epoch);
        results.push(cluster.begin(epoch));
        cluster.seal(epoch, |_| true);
        assert_eq!(value(&mut cluster, "a"), Some(epoch));
    }
    assert!(results.iter().flatten().all(|rx| rx.try_recv().is_err()), "nothing is durable during the outage");
    setup.objects.set_outage(false);
    for (epoch, results) in (1..).zip(results) {
        let checkpoint = Cluster::collect(epoch, results).unwrap();
        assert_eq!(checkpoint.chain.len(), epoch as usize);
    }
}
