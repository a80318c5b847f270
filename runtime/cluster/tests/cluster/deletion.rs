//! A job is removed by its owner, whole, and in an order that an interruption does not harm.

use std::time::Duration;

use weir_cluster::{DeleteError, delete_job, journal};
use weir_protocol::journal::Owner;
use weir_protocol::layout;
use weir_storage::{Fault, MemoryStore, Operation, StoreErrorKind};

use crate::world::World;

/// The objects of a job that took checkpoints and a savepoint, and was killed.
fn left_behind() -> MemoryStore {
    let world = World::new();
    let process = world.start();
    for end in [300, 600, 900] {
        world.valve.open_to(end);
        process.wait_read(end);
        process.checkpoint();
    }
    process.savepoint("kept").unwrap();
    process.crash();
    world.store
}

fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new();
    for (key, body) in store.objects() {
        copy.overwrite(&key, body);
    }
    copy
}

fn keys(store: &MemoryStore) -> Vec<String> {
    store.objects().into_keys().collect()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn only_the_owner_removes_a_job_and_savepoints_stay() {
    let store = left_behind();
    let before = keys(&store);
    let foreign = run(delete_job(&store, &Owner("somebody else".to_owned())));
    assert!(matches!(foreign, Err(DeleteError::ForeignOwner { .. })), "{foreign:?}");
    assert_eq!(keys(&store), before);
    let savepoints: Vec<String> = before.iter().filter(|key| key.starts_with(layout::SAVEPOINTS)).cloned().collect();
    let deleted = run(delete_job(&store, &Owner::local())).unwrap();
    assert_eq!(keys(&store), savepoints);
    assert_eq!(deleted.objects as usize, before.len() - savepoints.len());
    assert_eq!(deleted.kept as usize, savepoints.len());
    assert!(!savepoints.is_empty());
    assert_eq!(run(delete_job(&store, &Owner::local())).unwrap().objects, 0);
}

#[test]
fn a_deletion_that_is_interrupted_anywhere_leaves_a_job_that_says_whose_it_is() {
    let found = left_behind();
    let (mut interrupted, mut done) = (0, false);
    while !done {
        let store = copy_of(&found);
        for _ in 0..interrupted {
            store.script(Operation::Delete, Fault::Delay(Duration::ZERO));
        }
        store.script(Operation::Delete, Fault::FailBefore(StoreErrorKind::Unreachable));
        match run(delete_job(&store, &Owner::local())) {
            Ok(_) => done = true,
            Err(error) => assert!(error.can_retry(), "{error}"),
        }
        let is_the_jobs = |key: &String| !key.starts_with(layout::SAVEPOINTS);
        if keys(&store).iter().any(is_the_jobs) {
            let head = run(journal::read_newest(&store)).unwrap().expect("the journal goes last").head;
            assert_eq!(head.owner, Owner::local());
            let foreign = run(delete_job(&store, &Owner("somebody else".to_owned())));
            assert!(matches!(foreign, Err(DeleteError::ForeignOwner { .. })), "after {interrupted}: {foreign:?}");
            let (last, first) = (head.checkpoints.last().unwrap().id, found_newest(&found));
            assert_eq!(last, first, "after {interrupted}: the newest entry is there to the end");
        }
        run(delete_job(&copy_of(&store), &Owner::local())).unwrap();
        interrupted += 1;
    }
    assert!(interrupted > 3, "every call was interrupted once: {interrupted}");
}

fn found_newest(store: &MemoryStore) -> weir_protocol::CheckpointId {
    run(journal::read_newest(store)).unwrap().unwrap().head.checkpoints.last().unwrap().id
}
