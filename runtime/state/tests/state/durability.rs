//! Uploads that fail, epochs that are aborted, bases, and what is let go.

use std::collections::BTreeSet;

use weir_protocol::RunKind;
use weir_state::{BackendKind, Defects, StateError};
use weir_storage::{Fault, FaultRates, Operation, StoreErrorKind};

use crate::cluster::{Cluster, Setup, wait_until};

fn put(cluster: &mut Cluster, key: &str, value: u64) {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).set(hash, &key.to_owned(), value).unwrap();
}

fn get(cluster: &mut Cluster, key: &str) -> Option<u64> {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).get(hash, &key.to_owned()).unwrap().copied()
}

#[test]
fn uploads_are_repeated_until_they_succeed() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.objects.script(Operation::PutFile, Fault::FailBefore(StoreErrorKind::Throttled));
    setup.objects.script(Operation::PutFile, Fault::FailAfter(StoreErrorKind::Timeout));
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    put(&mut cluster, "a", 1);
    let checkpoint = cluster.checkpoint(1).unwrap();
    assert_eq!(cluster.workers[0].store.stats().upload_failures, 2);
    assert!(setup.objects.objects().contains_key(&checkpoint.chain[0].object.key));
}

#[test]
fn runs_of_an_aborted_epoch_belong_to_the_next_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut cluster = Cluster::deploy(&setup, 1, 1, 2, None).unwrap();
    put(&mut cluster, "a", 1);
    put(&mut cluster, "b", 1);
    let aborted = cluster.begin(1);
    cluster.seal(1, |subtask| subtask == 0);
    cluster.abort(1);
    let result = aborted[0].recv().unwrap();
    assert!(matches!(result, Err(StateError::Aborted { .. })), "{result:?}");
    put(&mut cluster, "c", 1);
    let checkpoint = cluster.checkpoint(2).unwrap();
    cluster.kill();
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
    assert_eq!(["a", "b", "c"].map(|key| get(&mut cluster, key)), [Some(1); 3]);
}

#[test]
fn a_base_replaces_the_runs_before_it_and_they_are_disowned_only_when_it_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.base_max_runs = 3;
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    let mut checkpoint = None;
    for epoch in 1..=4 {
        put(&mut cluster, "same", epoch);
        put(&mut cluster, &format!("only {epoch}"), epoch);
        checkpoint = Some(cluster.checkpoint(epoch).unwrap());
        cluster.acknowledge(epoch);
    }
    let before = checkpoint.unwrap();
    let store = cluster.workers[0].store.clone();
    wait_until("the base is built", || store.stats().bases_built == 1 && store.stats().pending_bytes == 0);
    wait_until("the base replaces its runs", || store.stats().chain_files == 1);
    assert_eq!(store.take_disowned(), [], "an earlier checkpoint may still be the newest");
    put(&mut cluster, "same", 5);
    let after = cluster.checkpoint(5).unwrap();
    let kinds: Vec<_> = after.chain.iter().map(|run| (run.kind, run.epoch.0)).collect();
    assert_eq!(kinds, [(RunKind::Base, 4), (RunKind::Run, 5)]);
    assert_eq!(store.take_disowned(), []);
    cluster.acknowledge(5);
    let disowned: BTreeSet<_> = store.take_disowned().into_iter().collect();
    assert_eq!(disowned, before.chain.iter().map(|run| run.object.clone()).collect());
    for chain in [before, after.clone()] {
        let setup = Setup { dir: dir.path().join(chain.epoch.to_string()), ..setup.clone() };
        let epoch = chain.epoch.0;
        let mut restored = Cluster::deploy(&setup, 1 + epoch, 1, 3, Some(chain)).unwrap();
        assert_eq!(get(&mut restored, "same"), Some(epoch));
        assert_eq!(get(&mut restored, "only 2"), Some(2));
    }
}

/// Lets the acknowledgement of epoch 1, and with it a base, come when one subtask is already two epochs further; restores epoch 2, at
/// whose barrier the value was 1, and returns what it is then.
pub fn value_after_late_acknowledgement(defects: Defects) -> Option<u64> {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.defects = defects;
    setup.base_max_runs = 0;
    setup.memory.write = 8 << 10;
    let mut cluster = Cluster::deploy(&setup, 1, 1, 2, None).unwrap();
    put(&mut cluster, "a", 1);
    cluster.checkpoint(1).unwrap();
    let (subtask, _) = cluster.subtask("a");
    let ahead = subtask.backend.key_groups().start / (crate::cluster::MAX / 2);
    let results = cluster.begin(2);
    cluster.seal(2, |subtask| subtask == ahead);
    put(&mut cluster, "a", 3);
    let store = cluster.workers[0].store.clone();
    let mut filler = 0;
    wait_until("the subtask ahead has spilled", || {
        let (subtask, hash) = cluster.subtask("a");
        let (list, backend) = (subtask.list, &mut subtask.backend);
        backend.list_mut(list).push(hash, &"a".to_owned(), filler).unwrap();
        filler += 1;
        backend.maintain();
        store.stats().chain_files >= 2
    });
    cluster.acknowledge(1);
    wait_until("the base replaces its runs", || store.stats().bases_built == 1 && store.stats().pending_bytes == 0);
    cluster.seal(2, |subtask| subtask != ahead);
    let checkpoint = Cluster::collect(2, results).unwrap();
    assert!(checkpoint.chain.iter().any(|run| run.kind == RunKind::Base), "the checkpoint stands on the base");
    cluster.kill();
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
    get(&mut cluster, "a")
}

#[test]
fn a_base_holds_nothing_that_came_after_its_barrier() {
    assert_eq!(value_after_late_acknowledgement(crate::cluster::planted()), Some(1));
}

#[test]
fn a_base_hides_what_another_workers_chain_still_holds_of_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    let keys: Vec<String> = (0..40).map(|number| format!("key{number}")).collect();
    keys.iter().for_each(|key| put(&mut cluster, key, 1));
    let parent = cluster.checkpoint(1).unwrap();
    cluster.kill();
    // Two workers share the parent's file. One removes its keys and replaces its chain by a base; the other keeps the parent.
    setup.base_max_runs = 1;
    let mut cluster = Cluster::deploy(&setup, 2, 2, 2, Some(parent.clone())).unwrap();
    let max = weir_protocol::MaxParallelism::new(crate::cluster::MAX).unwrap();
    let is_first = |key: &String| {
        let group = weir_protocol::key_group(weir_state::hash_key(key, &mut Vec::new()), max);
        weir_protocol::subtask_of(group, max, 2) == 0
    };
    for key in keys.iter().filter(|key| is_first(key)) {
        let (subtask, hash) = cluster.subtask(key);
        subtask.backend.value_mut(subtask.value).remove(hash, key).unwrap();
    }
    cluster.checkpoint(2).unwrap();
    cluster.workers[0].store.acknowledge(weir_protocol::CheckpointId(2));
    let store = cluster.workers[0].store.clone();
    wait_until("the base replaces its runs", || store.stats().bases_built == 1 && store.stats().chain_files <= 1);
    let both = cluster.checkpoint(3).unwrap();
    assert!(
        both.chain.iter().any(|run| run.object == parent.chain[0].object),
        "the other worker still names the parent"
    );
    cluster.kill();
    let mut cluster = Cluster::deploy(&setup, 3, 1, 1, Some(both)).unwrap();
    for key in &keys {
        assert_eq!(get(&mut cluster, key), (!is_first(key)).then_some(1), "{key}");
    }
}

#[test]
fn storage_that_fails_often_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.base_max_runs = 4;
    let rates = FaultRates { fail_before: 0.1, fail_after: 0.1, land_later: 0.1, ..FaultRates::default() };
    setup.objects.set_rates(7, rates);
    let mut cluster = Cluster::deploy(&setup, 1, 2, 3, None).unwrap();
    let mut checkpoint = None;
    for epoch in 1..=12 {
        put(&mut cluster, "same", epoch);
        put(&mut cluster, &format!("only {epoch}"), epoch);
        checkpoint = Some(cluster.checkpoint(epoch).unwrap());
        cluster.acknowledge(epoch);
    }
    assert!(setup.objects.faults_injected() > 0);
    cluster.kill();
    setup.objects.set_rates(7, FaultRates::default());
    std::fs::remove_dir_all(dir.path()).unwrap();
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, checkpoint).unwrap();
    assert_eq!(get(&mut cluster, "same"), Some(12));
    assert!((1..=12).all(|epoch| get(&mut cluster, &format!("only {epoch}")) == Some(epoch)));
}

#[test]
fn a_store_that_is_shut_down_ends_its_open_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.objects.set_outage(true);
    let mut cluster = Cluster::deploy(&setup, 1, 1, 1, None).unwrap();
    put(&mut cluster, "a", 1);
    let results = cluster.begin(1);
    cluster.seal(1, |_| true);
    cluster.kill();
    assert!(matches!(results[0].recv().unwrap(), Err(StateError::ShutDown)));
}

#[test]
fn unsent_runs_beyond_their_bound_pause_the_sources() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    setup.objects.set_outage(true);
    let mut config = setup.config(0, 1);
    config.max_pending_bytes = 10;
    let store = weir_state::WorkerStore::open(config, None).unwrap();
    let max = weir_protocol::MaxParallelism::new(crate::cluster::MAX).unwrap();
    let mut backend: weir_state::Backend<u64> = store.backend(&"o".into(), 0, max.all());
    let handle = backend.value::<u64>("v".into()).unwrap();
    backend.value_mut(handle).set(1, &1, 1).unwrap();
    assert!(!backend.must_pause());
    let epoch = weir_protocol::CheckpointId(1);
    store.begin_epoch(epoch, 1, Box::new(drop));
    let sealed = backend.seal(epoch);
    store.submit(epoch, sealed);
    wait_until("the backend pauses", || backend.must_pause());
    setup.objects.set_outage(false);
    wait_until("the backend goes on", || !backend.must_pause());
}
