//! A job is removed by its owner, whole, and in an order that an interruption does not harm.

use std::time::Duration;

use weir_cluster::{DeleteError, JobError, JobOutcome, RunOptions, delete_job, journal};
use weir_protocol::journal::{
    JobStatus, JournalEntry, Owner, RevisionRule, StartDecision, StartRefusal, StartRequest, resolve_start,
};
use weir_protocol::layout;
use weir_storage::{Fault, MemoryStore, Operation, StoreErrorKind};

use crate::world::{Process, World};

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
    let last = run(journal::read_newest(&store)).unwrap().unwrap();
    assert_eq!(last.head.status, JobStatus::Deleted);
    let left: Vec<String> = keys(&store).into_iter().filter(|key| *key != last.key()).collect();
    assert_eq!(left, savepoints);
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
        let head = run(journal::read_newest(&store)).unwrap().expect("the last entry stays").head;
        assert_eq!((head.owner, head.status), (Owner::local(), JobStatus::Deleted), "after {interrupted}");
        run(delete_job(&copy_of(&store), &Owner::local())).unwrap();
        interrupted += 1;
    }
    assert!(interrupted > 3, "every call was interrupted once: {interrupted}");
}

fn owned_by(world: &World, owner: &str) -> RunOptions {
    RunOptions { owner: Owner(owner.to_owned()), ..world.options() }
}

/// A job of this owner with a checkpoint, running.
fn running_of(world: &World, owner: &str) -> Process {
    let process = Process::start(owned_by(world, owner));
    world.valve.open_to(300);
    process.wait_read(300);
    process.checkpoint();
    process
}

#[test]
fn who_comes_back_after_the_deletion_begins_nothing_and_another_owner_begins_anew() {
    let world = World::new();
    running_of(&world, "uid-1").crash();
    run(delete_job(&world.store, &Owner("uid-1".to_owned()))).unwrap();
    for _ in 0..2 {
        let outcome = Process::start(owned_by(&world, "uid-1")).outcome();
        assert!(matches!(outcome, Err(JobError::Refused(StartRefusal::Deleted { .. }))), "{outcome:?}");
    }
    assert_eq!(world.store.objects().len(), 1, "it wrote nothing");
    let deleted = world.head().head;
    let next = Process::start(owned_by(&world, "uid-2"));
    next.wait_running();
    next.checkpoint();
    let head = world.head().head;
    assert_eq!((head.owner, head.status), (Owner("uid-2".to_owned()), JobStatus::Running));
    assert!(head.generation > deleted.generation && head.job_id != deleted.job_id, "a job of its own, in one line");
    let outcome = Process::start(owned_by(&world, "uid-1")).outcome();
    assert!(matches!(outcome, Err(JobError::Refused(StartRefusal::Displaced { .. }))), "{outcome:?}");
    next.stop();
}

#[test]
fn a_deletion_fences_who_still_runs_the_job() {
    let world = World::new();
    let process = running_of(&world, "uid-1");
    run(delete_job(&world.store, &Owner("uid-1".to_owned()))).unwrap();
    let outcome = process.outcome();
    assert!(matches!(outcome, Ok(JobOutcome::Fenced { .. })), "{outcome:?}");
    assert_eq!(world.head().head.status, JobStatus::Deleted);
}

#[test]
fn a_place_where_the_job_never_began_is_closed_too() {
    let world = World::new();
    run(delete_job(&world.store, &Owner("uid-1".to_owned()))).unwrap();
    let outcome = Process::start(owned_by(&world, "uid-1")).outcome();
    assert!(matches!(outcome, Err(JobError::Refused(StartRefusal::Deleted { .. }))), "{outcome:?}");
}

#[test]
fn an_answer_that_is_lost_is_looked_up() {
    for fault in [
        Fault::FailAfter(StoreErrorKind::Timeout),
        Fault::FailBefore(StoreErrorKind::Timeout),
        Fault::LandLater { calls: 2 },
    ] {
        let store = left_behind();
        store.script(Operation::Create, fault);
        run(delete_job(&store, &Owner::local())).unwrap();
        let left = keys(&store).into_iter().filter(|key| !key.starts_with(layout::SAVEPOINTS)).count();
        assert_eq!(left, 1, "the last entry");
    }
}

#[test]
fn a_deletion_that_is_overtaken_by_the_next_owner_deletes_nothing_more() {
    let store = copy_of(&left_behind());
    store.script(Operation::Delete, Fault::Delay(Duration::from_millis(100)));
    let deleted = run(async {
        let owner = Owner::local();
        let mut deletion = std::pin::pin!(delete_job(&store, &owner));
        let first_call = async {
            while store.calls(Operation::Delete) == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            ended = &mut deletion => panic!("{ended:?}"),
            () = first_call => {}
        }
        // The first call is under way, and the next owner begins.
        let last = journal::read_newest(&store).await.unwrap().unwrap();
        let request = StartRequest {
            owner: Owner("uid-2".to_owned()),
            fresh_job_id: "next".into(),
            revision: RevisionRule::Numbered(2),
            hash: String::new(),
            restore_from: None,
        };
        let Ok(StartDecision::Claim { kind, head }) = resolve_start(Some(&last.head), &request) else { panic!() };
        let claim = JournalEntry { sequence: last.sequence.next(), kind, head: *head, ..last };
        store.overwrite(&claim.key(), claim.encode());
        store.overwrite(&format!("{}c0000000099-g9.json", layout::MANIFESTS), "of the next owner");
        deletion.await
    });
    assert!(matches!(deleted, Err(DeleteError::ForeignOwner { .. })), "{deleted:?}");
    assert_eq!(store.calls(Operation::Delete), 1, "none after the claim");
}
