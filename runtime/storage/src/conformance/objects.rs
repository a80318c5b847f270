//! One object: put, get, head, create, ranges, delete.

use std::sync::Arc;

use bytes::Bytes;

use super::bytes;
use crate::error::{Effect, Retry, StoreErrorKind};
use crate::store::{Created, ObjectStore};

pub(super) async fn check(store: &dyn ObjectStore) {
    what_is_put_can_be_got(store).await;
    a_guard_withdraws_a_put(store).await;
    what_is_absent_is_not_found(store).await;
    only_the_first_create_makes_the_object(store).await;
    ranges_are_exact(store).await;
    deletion_of_what_is_absent_is_fine(store).await;
}

async fn what_is_put_can_be_got(store: &dyn ObjectStore) {
    for length in [0, 1, 100, 1 << 20] {
        let (key, body) = (format!("put/{length}"), bytes(1, length));
        store.put(&key, body.clone()).await.expect("put works");
        assert_eq!(store.get(&key).await.expect("get works"), body, "{length} bytes");
        assert_eq!(store.head(&key).await.expect("head works"), Some(length as u64), "{length} bytes");
        store.put(&key, body.clone()).await.expect("a put can be repeated");
        assert_eq!(store.get(&key).await.expect("get works"), body, "{length} bytes, put twice");
    }
}

async fn a_guard_withdraws_a_put(store: &dyn ObjectStore) {
    let withdrawn = store.put_guarded("guarded/x", bytes(1, 10), Arc::new(|| false)).await;
    let error = withdrawn.expect_err("the guard says no");
    assert_eq!((error.kind, error.effect), (StoreErrorKind::Withdrawn, Effect::NotDone), "{error}");
    assert_eq!(store.head("guarded/x").await.expect("head works"), None, "a withdrawn put leaves nothing");
    store.put_guarded("guarded/x", bytes(1, 10), Arc::new(|| true)).await.expect("the guard says yes");
    assert_eq!(store.get("guarded/x").await.expect("get works"), bytes(1, 10));
}

async fn what_is_absent_is_not_found(store: &dyn ObjectStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let to = folder.path().join("file");
    for error in [
        store.get("absent/x").await.expect_err("an absent object cannot be got"),
        store.get_range("absent/x", 0..1).await.expect_err("an absent object has no range"),
        store.get_file("absent/x", &to).await.expect_err("an absent object makes no file"),
    ] {
        assert_eq!(
            (error.kind, error.retry, error.effect),
            (StoreErrorKind::NotFound, Retry::No, Effect::NotDone),
            "{error}"
        );
        let (message, store) = (error.to_string(), store.describe());
        assert!(message.contains("absent/x\" in "), "{message:?} names the key");
        assert!(message.contains(store.split('/').nth(2).unwrap_or_default()), "{message:?} names the store {store}");
    }
    assert!(!to.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder is there").count(), 0, "no leftovers");
    assert_eq!(store.head("absent/x").await.expect("head works"), None);
    // The name of a folder is no object.
    store.put("absent/folder/x", Bytes::new()).await.expect("put works");
    assert_eq!(store.get("absent/folder").await.expect_err("a folder is no object").kind, StoreErrorKind::NotFound);
    assert_eq!(store.head("absent/folder").await.expect("head works"), None);
}

async fn only_the_first_create_makes_the_object(store: &dyn ObjectStore) {
    let (first, second) = (bytes(1, 1000), bytes(2, 1000));
    assert_eq!(store.create("create/x", first.clone()).await.expect("create works"), Created::Done);
    assert_eq!(store.create("create/x", second.clone()).await.expect("create works"), Created::Exists);
    assert_eq!(
        store.create("create/x", first.clone()).await.expect("create works"),
        Created::Exists,
        "also with the same bytes"
    );
    assert_eq!(store.get("create/x").await.expect("get works"), first);
    store.delete(&["create/x".to_owned()]).await.expect("delete works");
    assert_eq!(
        store.create("create/x", second.clone()).await.expect("create works"),
        Created::Done,
        "a deleted name is free"
    );
    assert_eq!(store.get("create/x").await.expect("get works"), second);
    store.put("create/y", first).await.expect("put works");
    assert_eq!(store.create("create/y", second).await.expect("create works"), Created::Exists, "also after a put");
    assert_eq!(store.create("create/empty", Bytes::new()).await.expect("create works"), Created::Done);
    assert_eq!(
        store.create("create/empty", Bytes::from_static(b"x")).await.expect("create works"),
        Created::Exists,
        "also of nothing"
    );
}

async fn ranges_are_exact(store: &dyn ObjectStore) {
    let body = bytes(3, 10_000);
    store.put("range/x", body.clone()).await.expect("put works");
    for range in [0..1, 0..10_000, 9_999..10_000, 1..2, 4_096..8_192, 0..0, 5_000..5_000] {
        let got = store.get_range("range/x", range.clone()).await.expect("get_range works");
        assert_eq!(got, body.slice(range.start as usize..range.end as usize), "{range:?}");
    }
    for range in [0..10_001, 9_999..10_001, 10_000..10_001, 20_000..20_010] {
        let error = store.get_range("range/x", range.clone()).await.expect_err("a range past the end is an error");
        assert_eq!((error.kind, error.retry), (StoreErrorKind::Corrupt, Retry::No), "{range:?}: {error}");
    }
    store.put("range/empty", Bytes::new()).await.expect("put works");
    assert_eq!(
        store.get_range("range/empty", 0..1).await.expect_err("nothing has no range").kind,
        StoreErrorKind::Corrupt
    );
}

async fn deletion_of_what_is_absent_is_fine(store: &dyn ObjectStore) {
    store.put("delete/x", Bytes::from_static(b"x")).await.expect("put works");
    store.delete(&["delete/x".to_owned(), "delete/y".to_owned()]).await.expect("one of two is absent");
    store.delete(&["delete/x".to_owned()]).await.expect("all are absent");
    store.delete(&[]).await.expect("nothing is asked for");
    assert_eq!(store.head("delete/x").await.expect("head works"), None);
}
