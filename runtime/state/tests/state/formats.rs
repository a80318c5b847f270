//! Golden file of what a run holds: keys and values of every kind of state, byte for byte.

use std::fmt::Write;

use weir_protocol::{CheckpointId, MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, StateDescriptor, Ttl, WorkerStore, hash_key};

use crate::cluster::{MAX, Setup};

/// The content of the only run of a small epoch, read with RocksDB alone.
fn dump(path: &std::path::Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    let db = rocksdb::DB::open_default(dir.path()).unwrap();
    db.ingest_external_file(vec![path]).unwrap();
    let mut text = String::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for entry in db.iterator(rocksdb::IteratorMode::Start) {
        let (key, value) = entry.unwrap();
        let (group, rest) = key.split_at(2);
        let (state, rest) = rest.split_at(2);
        writeln!(text, "{} {} {} = {}", hex(group), hex(state), hex(rest), hex(&value)).unwrap();
    }
    text
}

#[test]
fn keys_and_values_of_a_run_equal_the_golden_file() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(BackendKind::RocksDb, dir.path());
    let store = WorkerStore::open(setup.config(0, 1), None).unwrap();
    let max = MaxParallelism::new(MAX).unwrap();
    let mut backend: Backend<String> = store.backend(&OperatorId::from("operator"), 0, max.all());
    let value = backend.value::<u64>("value".into()).unwrap();
    let ttl = Ttl::after_write(std::time::Duration::from_secs(1));
    let expiring = backend.value::<String>(StateDescriptor::new("expiring").ttl(ttl)).unwrap();
    let map = backend.map::<i32, (u8, bool)>("map".into()).unwrap();
    let list = backend.list::<u16>("list".into()).unwrap();
    let timers = backend.timers("timers").unwrap();
    let rules = backend.broadcast::<u8, String>("rules".into()).unwrap();
    backend.set_now(1_700_000_000_000);
    for key in ["a", "b\0"].map(str::to_owned) {
        let hash = hash_key(&key, &mut Vec::new());
        backend.value_mut(value).set(hash, &key, 300).unwrap();
        backend.value_mut(expiring).set(hash, &key, "text".into()).unwrap();
        backend.map_mut(map).insert(hash, &key, -1, (7, true)).unwrap();
        backend.map_mut(map).insert(hash, &key, 1, (8, false)).unwrap();
        backend.list_mut(list).extend(hash, &key, [1, 200]).unwrap();
        backend.timers_mut(timers).register(-5, hash, &key).unwrap();
        backend.timers_mut(timers).register(1_700_000_000_000, hash, &key).unwrap();
    }
    backend.broadcast_mut(rules).insert(9, "rule".into());
    let (tx, rx) = std::sync::mpsc::channel();
    store.begin_epoch(CheckpointId(1), 1, Box::new(move |result| drop(tx.send(result))));
    let sealed = backend.seal(CheckpointId(1));
    store.submit(CheckpointId(1), sealed);
    let result = rx.recv().unwrap().unwrap();
    let [run] = result.chain.as_slice() else { panic!("one run, not {}", result.chain.len()) };
    assert_eq!((run.entries, run.key_groups.end_exclusive), (17, 65_536));
    let local = dir.path().join("copy.sst");
    std::fs::write(&local, &setup.objects.objects()[&run.object.key]).unwrap();
    let mut found = String::from(
        "# Entries of a run: key group, state id, rest of the key = value. Part of the stored format; never changes.\n",
    );
    for state in result.states {
        writeln!(found, "# {:04x} {} {}", state.id.0, state.kind, state.name).unwrap();
    }
    found.push_str(&dump(&local));
    let golden = "../../tests/golden/state/run-entries.txt";
    if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        std::fs::write(golden, &found).unwrap();
    }
    assert_eq!(
        found,
        std::fs::read_to_string(golden).unwrap(),
        "stored bytes changed: old checkpoints would not be readable"
    );
}
