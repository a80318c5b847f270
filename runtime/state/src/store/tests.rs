//! What the store's threads owe each other.

use std::sync::mpsc;

use weir_protocol::{Generation, MaxParallelism};
use weir_storage::MemoryStore;

use super::*;
use crate::layers::{LayerStatus, SealedLayer, SealedPart};
use crate::run_buffer::RunBuffer;

/// A layer without changes that notes when it is built.
struct Noted {
    number: u64,
    built: Arc<Mutex<Vec<u64>>>,
}

impl SealedLayer for Noted {
    fn encode(&self, _out: &mut RunBuffer) -> Result<(), StateError> {
        self.built.lock().push(self.number);
        Ok(())
    }
}

#[test]
fn nobody_who_hands_over_waits_for_the_ledger_or_is_overtaken() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let objects = Arc::new(MemoryStore::new());
    let max = MaxParallelism::new(16).unwrap();
    let config = StoreConfig::new(dir.path(), objects, runtime.handle().clone(), max, Generation(1));
    let store = WorkerStore::open(config, None).unwrap();
    let built = Arc::new(Mutex::new(Vec::new()));
    let sealed = |number: u64| {
        let layer = Arc::new(Noted { number, built: Arc::clone(&built) });
        let parts = vec![SealedPart { layer, status: Arc::new(LayerStatus::default()) }];
        SealedSubtask { parts, backend: Some(number % 2) }
    };
    let (tx, rx) = mpsc::channel();
    let epoch = CheckpointId(1);
    store.begin_epoch(epoch, 2, Box::new(move |result| drop(tx.send(result))));
    // As if a thread of the store had been preempted with the ledger in its hands.
    let ledger = store.inner.ledger.lock();
    let (handed, all_handed) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..10).for_each(|number| store.submit_early(sealed(number)));
            (10..12).for_each(|number| store.submit(epoch, sealed(number)));
            handed.send(()).unwrap();
        });
        let in_time = all_handed.recv_timeout(Duration::from_secs(30));
        drop(ledger);
        assert!(in_time.is_ok(), "a subtask waits for the ledger");
    });
    rx.recv().unwrap().unwrap();
    assert_eq!(*built.lock(), (0..12).collect::<Vec<_>>());
}
