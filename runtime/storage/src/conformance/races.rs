//! Many at once: one winner per name, whole objects, no lost neighbours.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;

use super::{bytes, keys_of};
use crate::error::StoreErrorKind;
use crate::store::{Created, ObjectStore};

/// Creators of one name.
const CREATORS: usize = 32;

pub(super) async fn check(store: Arc<dyn ObjectStore>, rounds: usize) {
    one_of_many_creators_wins(&store, rounds).await;
    concurrent_puts_of_one_name_leave_it_whole(&store).await;
}

async fn one_of_many_creators_wins(store: &Arc<dyn ObjectStore>, rounds: usize) {
    for round in 0..rounds {
        let key = format!("create/{round:05}");
        let creators = (0..CREATORS).map(|creator| {
            let (store, key) = (store.clone(), key.clone());
            // Of different lengths, so that a mixture of two would show.
            let body = Bytes::from(format!("creator {creator} ").repeat(1 + creator * 10));
            tokio::spawn(async move { (store.create(&key, body.clone()).await, body) })
        });
        let outcomes: Vec<_> =
            join_all(creators).await.into_iter().map(|outcome| outcome.expect("no creator panics")).collect();
        let mut winners = Vec::new();
        for (outcome, body) in outcomes {
            match outcome {
                Ok(Created::Done) => winners.push(body),
                Ok(Created::Exists) => {}
                // A store may refuse to decide between two at the same moment.
                Err(error) => assert_eq!(error.kind, StoreErrorKind::Conflict, "round {round}: {error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: of {CREATORS} concurrent creators exactly one wins");
        assert_eq!(
            store.get(&key).await.expect("get works"),
            winners[0],
            "round {round}: the winner's bytes are there"
        );
    }
    assert_eq!(keys_of(&**store, "create/").await.len(), rounds);
}

async fn concurrent_puts_of_one_name_leave_it_whole(store: &Arc<dyn ObjectStore>) {
    let body = bytes(4, 300_000);
    let tasks: Vec<_> = (0..CREATORS)
        .map(|task| {
            let (store, body) = (store.clone(), body.clone());
            tokio::spawn(async move {
                if task % 2 == 0 {
                    return store.put("put/x", body).await.expect("put works");
                }
                match store.get("put/x").await {
                    Ok(seen) => assert_eq!(seen, body, "an object is seen whole or not at all"),
                    Err(error) => assert_eq!(error.kind, StoreErrorKind::NotFound, "{error}"),
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert_eq!(store.get("put/x").await.expect("get works"), body);
    assert_eq!(keys_of(&**store, "put/").await, ["put/x"]);
}
