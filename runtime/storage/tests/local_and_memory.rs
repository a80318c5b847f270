//! The conformance suite on the stores that need no server.

use std::sync::Arc;

use weir_storage::conformance::{Scale, check_all};
use weir_storage::{LocalStore, MemoryStore, StoreOptions, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_conforms() {
    check_all(Arc::new(MemoryStore::new()), &Scale::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_local_directory_conforms() {
    let root = tempfile::tempdir().unwrap();
    let store =
        open(&format!("file://{}/not/yet/made", root.path().display()), &StoreOptions::default()).await.unwrap();
    check_all(store, &Scale::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_local_stores_on_one_directory_conform_as_one() {
    // Two processes see the same directory through different LocalStores; creators are spread over both.
    let root = tempfile::tempdir().unwrap();
    let stores =
        [LocalStore::new(root.path(), StoreOptions::default()), LocalStore::new(root.path(), StoreOptions::default())];
    for round in 0..100 {
        let key = format!("race/{round}");
        let tasks: Vec<_> = (0..16usize)
            .map(|task| {
                let (store, key) = (stores[task % 2].clone(), key.clone());
                tokio::spawn(async move {
                    use weir_storage::ObjectStore;
                    store.create(&key, bytes::Bytes::from(format!("{task}"))).await.unwrap()
                })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            winners += usize::from(task.await.unwrap() == weir_storage::Created::Done);
        }
        assert_eq!(winners, 1, "round {round}");
    }
}
