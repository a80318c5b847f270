//! Keys: odd ones survive, bad ones are refused by every call before anything happens; views see only their own.

use std::sync::Arc;

use bytes::Bytes;

use super::keys_of;
use crate::error::{Effect, Operation, StoreErrorKind};
use crate::prefixed::prefixed;
use crate::store::{Created, ObjectStore};

pub(super) async fn check(store: Arc<dyn ObjectStore>) {
    odd_keys_are_kept_as_they_are(&*store).await;
    bad_keys_are_refused_by_every_call(&*store).await;
    views_see_only_their_own(store).await;
}

async fn odd_keys_are_kept_as_they_are(store: &dyn ObjectStore) {
    for key in [
        "odd/a b",
        "odd/a+b",
        "odd/a%20b",
        "odd/a&b=c;d",
        "odd/'q'\"",
        "odd/(x)[y]{z}!*~@$,:^`|",
        "odd/äöü€😀",
        "odd/..a",
        "odd/a..",
        "odd/...",
        "odd/<x>",
    ] {
        let body = Bytes::from(key);
        store.put(key, body.clone()).await.unwrap_or_else(|error| panic!("put {key:?}: {error:?}"));
        assert_eq!(store.get(key).await.expect("get works"), body, "{key:?}");
        assert_eq!(keys_of(store, key).await, [key], "{key:?}");
        assert_eq!(store.create(key, body).await.expect("create works"), Created::Exists, "{key:?}");
        // Together with an absent one, because batches name their keys elsewhere.
        store.delete(&[key.to_owned(), "odd/absent".to_owned()]).await.expect("delete works");
        assert_eq!(store.head(key).await.expect("head works"), None, "{key:?}");
    }
    let long = format!("odd/{}/{}", "k".repeat(255), "l".repeat(255));
    store.put(&long, Bytes::from_static(b"x")).await.expect("long keys are fine");
    assert_eq!(keys_of(store, "odd/").await, [long]);
}

async fn bad_keys_are_refused_by_every_call(store: &dyn ObjectStore) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "x").expect("a file can be written");
    let long = "k".repeat(1025);
    for key in
        ["", "/", "/etc/passwd", "../up", "a/../../up", "a/./b", "a//b", "a/", "a\\b", "a\0b", "a\nb", long.as_str()]
    {
        let body = || Bytes::from_static(b"x");
        let refusals = [
            (Operation::Put, store.put(key, body()).await.err()),
            (Operation::PutFile, store.put_file(key, &file).await.err()),
            (Operation::Create, store.create(key, body()).await.err()),
            (Operation::Get, store.get(key).await.err()),
            (Operation::GetRange, store.get_range(key, 0..1).await.err()),
            (Operation::GetFile, store.get_file(key, &file).await.err()),
            (Operation::Head, store.head(key).await.err()),
            (Operation::Delete, store.delete(&["fine".to_owned(), key.to_owned()]).await.err()),
        ];
        for (operation, error) in refusals {
            let error = error.unwrap_or_else(|| panic!("{operation} takes the key {key:?}"));
            assert_eq!(
                (error.kind, error.effect, error.operation),
                (StoreErrorKind::Invalid, Effect::NotDone, operation),
                "{key:?}: {error}"
            );
        }
    }
    for prefix in ["../", "/", "a//"] {
        assert_eq!(
            store.list(prefix, None).await.expect_err("a bad prefix").kind,
            StoreErrorKind::Invalid,
            "{prefix:?}"
        );
    }
}

async fn views_see_only_their_own(store: Arc<dyn ObjectStore>) {
    let (one, two) = (prefixed(store.clone(), "view/one"), prefixed(store.clone(), "/view/two/"));
    for view in [&one, &two] {
        assert_eq!(view.create("a/x", Bytes::from(view.describe())).await.expect("create works"), Created::Done);
    }
    store.put("view/one-more/x", Bytes::new()).await.expect("put works");
    assert_eq!(keys_of(&*one, "").await, ["a/x"]);
    assert_eq!(keys_of(&*one, "a/").await, ["a/x"]);
    assert_eq!(one.get("a/x").await.expect("get works"), Bytes::from(one.describe()));
    assert_eq!(one.describe(), format!("{}/view/one", store.describe()));
    one.delete(&["a/x".to_owned()]).await.expect("delete works");
    assert_eq!(keys_of(&*store, "view/").await, ["view/one-more/x", "view/two/a/x"]);
    assert!(one.get("../two/a/x").await.is_err(), "a view has no way out");
}
