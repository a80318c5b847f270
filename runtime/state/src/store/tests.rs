//! What the store's threads owe each other.

use std::sync::mpsc;

use weir_protocol::{Generation, MaxParallelism};
use weir_storage::MemoryStore;

use super::*;
use crate::layers::{LayerStatus, SealedLayer, SealedPart};
use crate::run_buffer::RunBuffer;

/// A layer without changes that notes whose it is when it is built.
struct Noted {
    backend: u64,
    built: Arc<Mutex<Vec<u64>>>,
}

impl SealedLayer for Noted {
    fn encode(&self, _out: &mut RunBuffer) -> Result<(), StateError> {
        self.built.lock().push(self.backend);
        Ok(())
    }
}

#[test]
fn nobody_overtakes_between_the_numbering_of_a_run_and_the_builder() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let objects = Arc::new(MemoryStore::new());
    let max = MaxParallelism::new(16).unwrap();
    let config = StoreConfig::new(dir.path(), objects, runtime.handle().clone(), max, Generation(1));
    let store = WorkerStore::open(config, None).unwrap();
    let built = Arc::new(Mutex::new(Vec::new()));
    let spilled = |backend| {
        let layer = Arc::new(Noted { backend, built: Arc::clone(&built) });
        let parts = vec![SealedPart { layer, status: Arc::new(LayerStatus::default()) }];
        SealedSubtask { parts, backend: Some(backend) }
    };
    let mut other = Some(spilled(1));
    store.build(|ledger| {
        // Whoever is not locked out when a numbered run is on its way to the builder may spill then.
        let interrupted = |_: &BuildJob| {
            if store.inner.ledger.try_lock().is_some()
                && let Some(other) = other.take()
            {
                store.submit_early(other);
            }
        };
        ((), ledger.submit_early(spilled(0)).into_iter().inspect(interrupted))
    });
    if let Some(other) = other {
        store.submit_early(other);
    }
    let (tx, rx) = mpsc::channel();
    let epoch = CheckpointId(1);
    store.begin_epoch(epoch, 2, Box::new(move |result| drop(tx.send(result))));
    for backend in 0..2 {
        store.submit(epoch, SealedSubtask { parts: Vec::new(), backend: Some(backend) });
    }
    rx.recv().unwrap().unwrap();
    assert_eq!(*built.lock(), [0, 1]);
}
