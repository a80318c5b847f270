//! What every store must do, as one suite that every implementation runs.
//!
//! [`check_all`] works in a folder of its own, so it may share a store with anything. A broken promise panics with what was expected.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;

use crate::prefixed::prefixed;
use crate::probe::probe;
use crate::random::unique_name;
use crate::store::ObjectStore;

mod files;
mod keys;
mod listing;
mod objects;
mod races;

/// How much the suite does.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Rounds of 32 concurrent creators each.
    pub race_rounds: usize,
    /// Objects of the long listing; more than a page (1000) shows paging.
    pub listed_objects: usize,
    /// Lengths of the files that are put and got, in bytes.
    pub file_lengths: Vec<usize>,
}

impl Default for Scale {
    /// A hundred races, a listing of three pages, files around the borders of parts of 5 MiB.
    fn default() -> Self {
        let part = 5 << 20;
        Self {
            race_rounds: 100,
            listed_objects: 2345,
            file_lengths: vec![0, 1, 100_000, part - 1, part, part + 1, 3 * part + 12_345],
        }
    }
}

/// Runs the whole suite.
pub async fn check_all(store: Arc<dyn ObjectStore>, scale: &Scale) {
    let view = |name: &str| prefixed(store.clone(), &format!("conformance-{}/{name}", unique_name()));
    objects::check(&*view("objects")).await;
    races::check(view("races"), scale.race_rounds).await;
    listing::check(&*view("listing"), scale.listed_objects).await;
    files::check(&*view("files"), &scale.file_lengths).await;
    keys::check(view("keys")).await;
    let probed = view("probed");
    probe(&*probed).await.expect("a conforming store passes the probe");
    assert_eq!(keys_of(&*probed, "").await, Vec::<String>::new(), "the probe leaves nothing behind");
}

/// How many calls the suite's own preparations have in flight.
const CONCURRENCY: usize = 32;

/// Bytes without a pattern that a shift or a repetition would hide, fixed by `seed`.
fn bytes(seed: u64, length: usize) -> Bytes {
    let mut random = crate::random::SplitMix64::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.next_u64().to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

async fn put_all(store: &dyn ObjectStore, keys: impl IntoIterator<Item = String>) {
    let puts = keys.into_iter().map(|key| async move {
        let body = Bytes::from(key.clone());
        store.put(&key, body).await.expect("put works");
    });
    futures::stream::iter(puts).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
}

async fn keys_of(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    store.list(prefix, None).await.expect("list works").into_iter().map(|object| object.key).collect()
}

fn ascending(keys: impl IntoIterator<Item = String>) -> Vec<String> {
    keys.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}
