//! Declarations that do not fit what was stored.

use weir_protocol::{MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, RestoreChain, StateDescriptor, StateError, WorkerStore};

use crate::cluster::{Cluster, MAX, Setup};

fn restored(setup: &Setup) -> RestoreChain {
    let mut cluster = Cluster::deploy(setup, 1, 1, 1, None).unwrap();
    let (subtask, hash) = cluster.subtask("a");
    subtask.backend.value_mut(subtask.value).set(hash, &"a".to_owned(), 1).unwrap();
    let checkpoint = cluster.checkpoint(1).unwrap();
    assert_eq!(cluster.operator().as_str(), "operator");
    cluster.kill();
    checkpoint
}

fn check(declare: impl Fn(&mut Backend<String>) -> Result<(), StateError>, message: &str) {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = restored(&setup);
    let store = WorkerStore::open(setup.config(0, 2), Some(checkpoint)).unwrap();
    let max = MaxParallelism::new(MAX).unwrap();
    let mut backend = store.backend(&OperatorId::from("operator"), 0, max.all());
    assert_eq!(declare(&mut backend).unwrap_err().to_string(), message);
}

#[test]
fn a_changed_declaration_is_refused_with_name_found_and_expected() {
    let hint = "restore with the old declaration, or give the state a new name";
    check(
        |backend| backend.value::<String>("value".into()).map(drop),
        &format!("state operator/value was stored with value type u64, the job declares String; {hint}"),
    );
    check(
        |backend| backend.list::<u64>("value".into()).map(drop),
        &format!("state operator/value was stored with kind value, the job declares list; {hint}"),
    );
    check(
        |backend| backend.value::<u64>(StateDescriptor::new("value").version(2)).map(drop),
        &format!("state operator/value was stored with version 1, the job declares 2; {hint}"),
    );
    check(
        |backend| backend.map::<u64, String>("map".into()).map(drop),
        &format!("state operator/map was stored with user key type i64, the job declares u64; {hint}"),
    );
}

#[test]
fn a_changed_key_type_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = restored(&setup);
    let store = WorkerStore::open(setup.config(0, 2), Some(checkpoint)).unwrap();
    let max = MaxParallelism::new(MAX).unwrap();
    let mut backend: Backend<u32> = store.backend(&OperatorId::from("operator"), 0, max.all());
    let refused = backend.value::<u64>("value".into()).unwrap_err().to_string();
    assert!(
        refused.starts_with("state operator/value was stored with key type String, the job declares u32"),
        "{refused}"
    );
}

#[test]
fn a_state_that_is_declared_twice_is_refused() {
    check(
        |backend| {
            backend.value::<u64>("value".into())?;
            backend.value::<u64>("value".into()).map(drop)
        },
        "state operator/value is declared twice",
    );
}

#[test]
fn states_that_nobody_declares_any_more_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let checkpoint = restored(&setup);
    let store = WorkerStore::open(setup.config(0, 2), Some(checkpoint)).unwrap();
    let names =
        |store: &WorkerStore| -> Vec<String> { store.unclaimed_states().into_iter().map(|state| state.name).collect() };
    assert_eq!(names(&store), ["list", "map", "rules", "text", "timers", "value"]);
    let max = MaxParallelism::new(MAX).unwrap();
    let mut backend: Backend<String> = store.backend(&OperatorId::from("operator"), 0, max.all());
    backend.value::<u64>("value".into()).unwrap();
    assert_eq!(names(&store), ["list", "map", "rules", "text", "timers"]);
}
