//! Create-if-absent carried to a known end: the loop every writer of a register needs after an unknown outcome.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::error::{Effect, Operation, Retry, StoreError, StoreErrorKind};
use crate::random::{SplitMix64, unique_u64};
use crate::store::{Created, ObjectStore};

/// Wait before the second attempt; doubles up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// Longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Whose object is there after [`create_confirmed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It holds our bytes: our write won, whatever its answers said.
    Ours,
    /// It holds somebody else's bytes, which are these.
    Other(Bytes),
}

/// Creates `key` with `body`, repeats with identical bytes while the outcome is unknown, and reads back what is there.
///
/// `body` must be unlike anybody else's for this key (hold a generation or a random id), or `Ours` means nothing. The whole takes at
/// most `limit` plus one call. An error has `Effect::MaybeDone` if any attempt may have happened or may still happen.
pub async fn create_confirmed(
    store: &dyn ObjectStore,
    key: &str,
    body: Bytes,
    limit: Duration,
) -> Result<Confirmed, StoreError> {
    let deadline = Instant::now() + limit;
    let mut random = SplitMix64::new(unique_u64());
    let mut wait = FIRST_WAIT;
    let mut effect = Effect::NotDone;
    loop {
        let error = match attempt(store, key, &body).await {
            Ok(Some(confirmed)) => return Ok(confirmed),
            Ok(None) => gone(store, key),
            Err(error) => error,
        };
        if error.effect == Effect::MaybeDone {
            effect = Effect::MaybeDone;
        }
        if error.retry == Retry::No || Instant::now() + wait >= deadline {
            return Err(StoreError { effect, ..error });
        }
        tokio::time::sleep(wait.mul_f64(0.5 + random.next_f64() / 2.0)).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

/// One create and, if something is there, one read. `None`: it was there and is gone again.
async fn attempt(store: &dyn ObjectStore, key: &str, body: &Bytes) -> Result<Option<Confirmed>, StoreError> {
    match store.create(key, body.clone()).await? {
        Created::Done => Ok(Some(Confirmed::Ours)),
        Created::Exists => match store.get(key).await {
            Ok(found) if found == *body => Ok(Some(Confirmed::Ours)),
            Ok(found) => Ok(Some(Confirmed::Other(found))),
            Err(error) if error.is_not_found() => Ok(None),
            // What is there may be ours from an attempt before: unknown until it can be read.
            Err(error) => Err(StoreError { operation: Operation::Create, effect: Effect::MaybeDone, ..error }),
        },
    }
}

fn gone(store: &dyn ObjectStore, key: &str) -> StoreError {
    StoreError::new(
        Operation::Create,
        key,
        store.describe(),
        StoreErrorKind::Conflict,
        "an object of that name was there and was deleted before it could be read",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Fault, MemoryStore};

    const LIMIT: Duration = Duration::from_millis(300);

    async fn confirm(store: &MemoryStore, body: &'static [u8]) -> Result<Confirmed, StoreError> {
        create_confirmed(store, "k", Bytes::from_static(body), LIMIT).await
    }

    #[tokio::test]
    async fn a_create_that_landed_unheard_is_ours() {
        let store = MemoryStore::new();
        store.script(Operation::Create, Fault::FailAfter(StoreErrorKind::Timeout));
        assert_eq!(confirm(&store, b"mine").await.unwrap(), Confirmed::Ours);
        assert_eq!(store.calls(Operation::Create), 2);
    }

    #[tokio::test]
    async fn a_create_that_lands_late_is_ours() {
        let store = MemoryStore::new();
        store.script(Operation::Create, Fault::LandLater { calls: 2 });
        store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Throttled));
        assert_eq!(confirm(&store, b"mine").await.unwrap(), Confirmed::Ours);
    }

    #[tokio::test]
    async fn another_writer_s_object_is_told_apart_also_when_reads_fail() {
        let store = MemoryStore::new();
        assert_eq!(confirm(&store, b"first").await.unwrap(), Confirmed::Ours);
        store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Unreachable));
        store.script(Operation::Get, Fault::FailBefore(StoreErrorKind::Unreachable));
        assert_eq!(confirm(&store, b"second").await.unwrap(), Confirmed::Other(Bytes::from_static(b"first")));
    }

    #[tokio::test]
    async fn an_outage_longer_than_the_limit_leaves_the_outcome_open_only_if_it_is() {
        let store = MemoryStore::new();
        store.set_outage(true);
        let error = confirm(&store, b"mine").await.unwrap_err();
        assert_eq!((error.kind, error.effect), (StoreErrorKind::Unreachable, Effect::NotDone));
        store.set_outage(false);
        store.script(Operation::Create, Fault::FailAfter(StoreErrorKind::Timeout));
        for _ in 0..1000 {
            store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Unreachable));
        }
        let error = confirm(&store, b"mine").await.unwrap_err();
        assert_eq!((error.kind, error.effect), (StoreErrorKind::Unreachable, Effect::MaybeDone));
    }

    #[tokio::test]
    async fn a_refusal_is_not_repeated() {
        let store = MemoryStore::new();
        store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Denied));
        let error = confirm(&store, b"mine").await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect, store.calls(Operation::Create)),
            (StoreErrorKind::Denied, Effect::NotDone, 1)
        );
    }
}
