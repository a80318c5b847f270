//! Restores: local files, downloads, damage.

use bytes::Bytes;
use weir_protocol::{CheckpointId, KeyGroupRange, MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, RestoreChain, StateError, ValueHandle, WorkerStore, hash_key};
use weir_storage::Operation;

use crate::cluster::{Cluster, Setup, wait_until};

fn put(cluster: &mut Cluster, key: &str, value: u64) {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).set(hash, &key.to_owned(), value).unwrap();
}

fn get(cluster: &mut Cluster, key: &str) -> Option<u64> {
    let (subtask, hash) = cluster.subtask(key);
    subtask.backend.value_mut(subtask.value).get(hash, &key.to_owned()).unwrap().copied()
}

/// Three epochs; returns the last checkpoint.
fn written(setup: &Setup) -> RestoreChain {
    let mut cluster = Cluster::deploy(setup, 1, 1, 2, None).unwrap();
    let mut last = None;
    for epoch in 1..=3 {
        put(&mut cluster, "same", epoch);
        put(&mut cluster, &format!("only {epoch}"), epoch);
        last = Some(cluster.checkpoint(epoch).unwrap());
        cluster.acknowledge(epoch);
    }
    cluster.kill();
    last.unwrap()
}

fn check_content(cluster: &mut Cluster) {
    assert_eq!(get(cluster, "same"), Some(3));
    assert_eq!(
        (1..=4).map(|epoch| get(cluster, &format!("only {epoch}"))).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), None]
    );
}

fn local_files(setup: &Setup) -> Vec<std::path::PathBuf> {
    let runs = std::fs::read_dir(setup.dir.join("worker0/runs")).unwrap();
    let mut files: Vec<_> = runs.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn local_files_are_used_and_nothing_is_downloaded() {
    for backend in [BackendKind::RocksDb, BackendKind::Memory] {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::new(backend, dir.path());
        let checkpoint = written(&setup);
        let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
        check_content(&mut cluster);
        assert_eq!(setup.objects.calls(Operation::GetFile), 0);
    }
}

#[test]
fn a_local_file_of_another_length_or_without_its_end_is_downloaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    let files = local_files(&setup);
    let whole = std::fs::read(&files[0]).unwrap();
    std::fs::remove_file(&files[0]).unwrap();
    std::fs::write(&files[0], &whole[..whole.len() - 1]).unwrap();
    let mut torn = std::fs::read(&files[1]).unwrap();
    let end = torn.len();
    torn[end - 100..].fill(0);
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::write(&files[1], torn).unwrap();
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
    check_content(&mut cluster);
    assert_eq!(setup.objects.calls(Operation::GetFile), 2);
}

#[test]
fn local_files_that_the_checkpoint_does_not_name_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    std::fs::write(setup.dir.join("worker0/runs/stray.sst"), b"stray").unwrap();
    let older = RestoreChain { chain: checkpoint.chain[..1].to_vec(), epoch: checkpoint.chain[0].epoch, ..checkpoint };
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(older)).unwrap();
    assert_eq!(local_files(&setup).len(), 1);
    assert_eq!((get(&mut cluster, "same"), get(&mut cluster, "only 2")), (Some(1), None));
}

fn check_refused(setup: &Setup, checkpoint: RestoreChain, key: &str, what: &str) {
    std::fs::remove_dir_all(&setup.dir).unwrap();
    let Err(error) = Cluster::deploy(setup, 9, 1, 1, Some(checkpoint)) else { panic!("{what}: not refused") };
    assert!(matches!(&error, StateError::RestoreObject { key: named, .. } if named == key), "{error}");
    assert!(error.to_string().contains(what), "{error}");
}

#[test]
fn a_missing_object_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    let key = checkpoint.chain[1].object.key.clone();
    let objects = setup.objects.objects();
    setup.objects = weir_storage::MemoryStore::new();
    objects
        .iter()
        .filter(|(held, _)| **held != key)
        .for_each(|(held, body)| setup.objects.overwrite(held, body.clone()));
    check_refused(&setup, checkpoint, &key, "it is not in");
}

#[test]
fn every_truncation_and_bit_flip_of_an_object_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    let key = checkpoint.chain[0].object.key.clone();
    let whole = setup.objects.objects()[&key].clone();
    let step = whole.len() / 16;
    for at in (0..whole.len()).step_by(step) {
        setup.objects.overwrite(&key, whole.slice(..at));
        check_refused(&setup, checkpoint.clone(), &key, "the manifest says");
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1 << (at % 8);
        setup.objects.overwrite(&key, Bytes::from(flipped));
        check_refused(&setup, checkpoint.clone(), &key, "its checksum is");
    }
    setup.objects.overwrite(&key, whole);
    let mut cluster = Cluster::deploy(&setup, 10, 1, 1, Some(checkpoint)).unwrap();
    check_content(&mut cluster);
}

#[test]
fn a_chain_out_of_order_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let mut checkpoint = written(&setup);
    checkpoint.chain.reverse();
    assert!(matches!(Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)), Err(StateError::RestoreChain { .. })));
}

#[test]
fn the_objects_are_not_changed_by_being_ingested() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint.clone())).unwrap();
    check_content(&mut cluster);
    for (run, file) in checkpoint.chain.iter().zip(local_files(&setup)) {
        let bytes = std::fs::read(file).unwrap();
        assert_eq!((bytes.len() as u64, crc32c::crc32c(&bytes)), (run.object.length, run.object.crc32c));
    }
}

/// A store with one backend of operator `o` and the value states `names`.
fn open(
    setup: &Setup,
    restore: Option<RestoreChain>,
    names: &[&str],
) -> (std::sync::Arc<WorkerStore>, Backend<u64>, Vec<ValueHandle<u64>>) {
    let store =
        WorkerStore::open(setup.config(0, 1 + restore.as_ref().map_or(0, |chain| chain.epoch.0)), restore).unwrap();
    let mut backend: Backend<u64> = store.backend(&OperatorId::from("o"), 0, all_groups());
    let handles = names.iter().map(|name| backend.value((*name).into()).unwrap()).collect();
    (store, backend, handles)
}

fn all_groups() -> KeyGroupRange {
    MaxParallelism::new(crate::cluster::MAX).unwrap().all()
}

fn checkpoint(store: &WorkerStore, backend: &mut Backend<u64>, epoch: u64) -> RestoreChain {
    let (tx, rx) = std::sync::mpsc::channel();
    let epoch = CheckpointId(epoch);
    store.begin_epoch(epoch, 1, Box::new(move |result| drop(tx.send(result))));
    store.submit(epoch, backend.seal(epoch));
    let result = rx.recv().unwrap().unwrap();
    store.acknowledge(epoch);
    RestoreChain { states: result.states, chain: result.chain, epoch }
}

#[test]
fn a_state_that_is_declared_after_a_checkpoint_is_loaded_and_one_that_was_let_go_is_refused() {
    let hash = hash_key(&1u64, &mut Vec::new());
    for backend_kind in [BackendKind::RocksDb, BackendKind::Memory] {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::new(backend_kind, dir.path());
        let (store, mut backend, handles) = open(&setup, None, &["early", "late"]);
        handles.iter().for_each(|handle| backend.value_mut(*handle).set(hash, &1, 5).unwrap());
        let saved = checkpoint(&store, &mut backend, 1);
        drop(backend);
        store.shutdown();
        let (store, mut backend, _) = open(&setup, Some(saved), &["early"]);
        checkpoint(&store, &mut backend, 2);
        let late = backend.value::<u64>("late".into()).unwrap();
        assert_eq!(backend.value_mut(late).get(hash, &1).unwrap(), Some(&5), "{backend_kind:?}");
        checkpoint(&store, &mut backend, 3);
        let mut another: Backend<u64> = store.backend(&OperatorId::from("o"), 1, all_groups());
        match (backend_kind, another.value::<u64>("late".into())) {
            (BackendKind::RocksDb, Ok(handle)) => {
                assert_eq!(another.value_mut(handle).get(hash, &1).unwrap(), Some(&5));
            }
            (BackendKind::Memory, Err(StateError::DeclaredLate { state })) => assert_eq!(state.to_string(), "o/late"),
            (_, other) => panic!("{backend_kind:?}: {other:?}"),
        }
    }
}

/// Flips a bit of a local file, at a place given in parts of its length.
fn flip(file: &std::path::Path, part: usize, parts: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let at = bytes.len() * part / parts;
    bytes[at] ^= 4;
    std::fs::remove_file(file).unwrap();
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_local_file_with_a_flipped_bit_is_fetched_anew() {
    for backend in [BackendKind::RocksDb, BackendKind::Memory] {
        for part in 0..8 {
            let dir = tempfile::tempdir().unwrap();
            let setup = Setup::new(backend, dir.path());
            let checkpoint = written(&setup);
            flip(&local_files(&setup)[1], part, 8);
            let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
            check_content(&mut cluster);
            assert_eq!(setup.objects.calls(Operation::GetFile), 1, "{backend:?}, {part}/8");
        }
    }
}

#[test]
fn damage_that_is_found_when_it_is_read_is_mended_by_the_next_deployment() {
    for part in 0..8 {
        let dir = tempfile::tempdir().unwrap();
        let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
        setup.verify_bytes = 0;
        let checkpoint = written(&setup);
        flip(&local_files(&setup)[1], part, 8);
        // The damage is in what is read at once, or in a block that is read later, or in one that nobody reads.
        if let Ok(mut cluster) = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint.clone())) {
            let (subtask, hash) = cluster.subtask("only 2");
            let read =
                subtask.backend.value_mut(subtask.value).get(hash, &"only 2".to_owned()).map(|value| value.copied());
            assert!(matches!(read, Ok(Some(2)) | Err(StateError::Rocks { .. })), "{part}/8: {read:?}");
            cluster.kill();
        }
        let mut cluster = Cluster::deploy(&setup, 3, 1, 1, Some(checkpoint)).unwrap();
        check_content(&mut cluster);
        assert_eq!(setup.objects.calls(Operation::GetFile), 1, "{part}/8");
    }
}

#[test]
fn a_base_is_built_although_a_local_file_was_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let mut setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = written(&setup);
    setup.base_max_runs = 0;
    let mut cluster = Cluster::deploy(&setup, 2, 1, 1, Some(checkpoint)).unwrap();
    flip(&local_files(&setup)[1], 0, 8);
    let store = cluster.workers[0].store.clone();
    put(&mut cluster, "only 4", 4);
    for (epoch, built) in [(4, 0), (5, 1)] {
        cluster.checkpoint(epoch).unwrap();
        cluster.acknowledge(epoch);
        wait_until("the base is built or given up", || !store.stats().base_running);
        assert_eq!(store.stats().bases_built, built, "the first attempt meets the damage, the second does not");
    }
    assert_eq!(setup.objects.calls(Operation::GetFile), 1);
    assert_eq!(get(&mut cluster, "only 2"), Some(2));
}
