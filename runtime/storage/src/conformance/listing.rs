//! Listings: order, prefixes, limits, pages; and deletion in bulk, which needs them.

use super::{ascending, keys_of, put_all};
use crate::store::{Listed, ObjectStore};

pub(super) async fn check(store: &dyn ObjectStore, objects: usize) {
    keys_ascend_by_their_bytes(store).await;
    prefixes_are_strings_and_not_folders(store).await;
    long_listings_are_complete_and_limits_exact(store, objects).await;
    bulk_deletion_removes_exactly_what_is_named(store).await;
}

async fn keys_ascend_by_their_bytes(store: &dyn ObjectStore) {
    // Around the slash in ASCII stand "." and "-" before and "0" behind: a walk by folders goes wrong here.
    let names = ["a-b", "a.b", "a/b", "a/b-c", "a/b.c", "a0", "aB", "ab", "b/a/c", "b/a-c", "b/a0", "B", "ä", "z"];
    let keys = ascending(names.iter().map(|name| format!("order/{name}")));
    put_all(store, keys.iter().rev().cloned()).await;
    assert_eq!(keys_of(store, "order/").await, keys);
    for limit in 0..=keys.len() + 1 {
        let listed: Vec<String> =
            store.list("order/", Some(limit)).await.expect("list works").into_iter().map(|object| object.key).collect();
        assert_eq!(listed, keys[..limit.min(keys.len())], "limit {limit}");
    }
    let expected: Vec<Listed> = keys.iter().map(|key| Listed { key: key.clone(), length: key.len() as u64 }).collect();
    assert_eq!(store.list("order/", None).await.expect("list works"), expected, "with lengths");
}

async fn prefixes_are_strings_and_not_folders(store: &dyn ObjectStore) {
    let all = ["p/x/1", "p/x/2", "p/xy/1", "p/y/1"].map(str::to_owned);
    put_all(store, all.clone()).await;
    for (prefix, expected) in [
        ("p", &all[..]),
        ("p/", &all[..]),
        ("p/x", &all[..3]),
        ("p/x/", &all[..2]),
        ("p/x/2", &all[1..2]),
        ("p/xy", &all[2..3]),
        ("p/z", &[]),
        ("p/y/1/", &[]),
        ("q", &[]),
    ] {
        assert_eq!(keys_of(store, prefix).await, expected, "prefix {prefix:?}");
    }
}

async fn long_listings_are_complete_and_limits_exact(store: &dyn ObjectStore, objects: usize) {
    let keys = ascending((0..objects).map(|number| format!("long/{:07}", number * 7919 % 1_000_003)));
    assert_eq!(keys.len(), objects);
    put_all(store, keys.iter().rev().cloned()).await;
    assert_eq!(keys_of(store, "long/").await, keys);
    for limit in [1, 999, 1000, 1001, 2000, objects.saturating_sub(1), objects, objects + 1] {
        let listed: Vec<String> =
            store.list("long/", Some(limit)).await.expect("list works").into_iter().map(|object| object.key).collect();
        assert_eq!(listed, keys[..limit.min(objects)], "limit {limit}");
    }
}

async fn bulk_deletion_removes_exactly_what_is_named(store: &dyn ObjectStore) {
    let mut listed = keys_of(store, "long/").await;
    let kept = listed.split_off(listed.len() - 5);
    listed.push("long/absent".to_owned());
    store.delete(&listed).await.expect("delete works");
    assert_eq!(keys_of(store, "long/").await, kept);
    store.delete(&kept).await.expect("delete works");
    assert_eq!(keys_of(store, "long/").await, Vec::<String>::new());
}
