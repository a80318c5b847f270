//! Finds out, before a job starts, whether a store can carry exactly-once.
//!
//! Everything rests on create-if-absent: of two creators of one name exactly one may win. Some stores accept the condition and ignore
//! it, and some check it and then write without holding the name. So the probe creates one key twice, reads back whose bytes are
//! there, and then races several creators; a store that lets a second one win is refused with that reason.
//!
//! A process that is killed while it probes leaves objects behind. Their names say when it began, so that a later one can
//! tell them from those of a process that probes at this moment: [`remove_old_probes`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;

use crate::error::{StoreError, StoreErrorKind};
use crate::random::unique_name;
use crate::store::{Created, ObjectStore};

/// Bound of the whole probe.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// How often a step is tried when the store fails in a way that passes.
const MAX_TRIES: u32 = 5;
/// Wait before the second try; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// Creators in one race, and races.
const RACERS: usize = 8;
const RACES: usize = 2;
/// Folder of all probes.
const PROBES: &str = "probe/";
/// Objects of a probe that began longer ago belong to a process that did not live to remove them. Far more than
/// [`PROBE_LIMIT`], because two machines' clocks are compared.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

/// Why a store cannot be used. `Display` says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection, or no answer in time.
    #[error(
        "storage {store} cannot be reached: check that it runs, and the endpoint and network policy between it and this process"
    )]
    Unreachable {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
    /// The credentials are wrong or not allowed to do what Weir needs.
    #[error(
        "storage {store} denies access: Weir needs to read, write, list and delete below this prefix; check the credentials and the bucket's policy"
    )]
    Denied {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
    /// The bucket does not exist.
    #[error("storage {store}: the bucket does not exist; create it, or correct spec.storage.uri")]
    NoBucket {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
    /// The store takes no writes.
    #[error("storage {store} is read-only: make it writable, or choose another place")]
    ReadOnly {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
    /// No space is left.
    #[error("storage {store} is full: free space or raise the quota")]
    Full {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
    /// A second creator of a name won too.
    #[error(
        "storage {store} does not honour create-if-absent (If-None-Match: *): {seen}. \
         Two coordinators could both write the same journal entry, so exactly-once is impossible on this store; \
         use Amazon S3, MinIO or another store with conditional writes"
    )]
    NoConditionalCreate {
        /// The store.
        store: String,
        /// What the store did.
        seen: String,
    },
    /// The store gave something else back than what was written.
    #[error(
        "storage {store} is not consistent: {seen}; Weir needs a store whose reads and listings see every completed write"
    )]
    Inconsistent {
        /// The store.
        store: String,
        /// What the store did.
        seen: String,
    },
    /// Anything else.
    #[error("storage {store} cannot be used")]
    Other {
        /// The store.
        store: String,
        /// The call that failed.
        #[source]
        source: StoreError,
    },
}

impl ProbeError {
    fn from_store(store: &dyn ObjectStore, source: StoreError) -> Self {
        let store = store.describe();
        match source.kind {
            StoreErrorKind::Unreachable | StoreErrorKind::Timeout | StoreErrorKind::Throttled => {
                Self::Unreachable { store, source }
            }
            StoreErrorKind::Denied => Self::Denied { store, source },
            StoreErrorKind::NoBucket => Self::NoBucket { store, source },
            StoreErrorKind::ReadOnly => Self::ReadOnly { store, source },
            StoreErrorKind::Full => Self::Full { store, source },
            StoreErrorKind::NotFound
            | StoreErrorKind::Conflict
            | StoreErrorKind::Corrupt
            | StoreErrorKind::Invalid
            | StoreErrorKind::Withdrawn
            | StoreErrorKind::Other => Self::Other { store, source },
        }
    }
}

/// Checks that `store` can be read, written, listed and deleted from, and that create-if-absent is real. Uses only keys below
/// `probe/`, which it removes again; takes a few round trips, at most 30 s.
pub async fn probe(store: &dyn ObjectStore) -> Result<(), ProbeError> {
    probe_within(store, PROBE_LIMIT).await
}

async fn probe_within(store: &dyn ObjectStore, limit: Duration) -> Result<(), ProbeError> {
    let probe = Probe { store, folder: folder_at(unix_seconds()), limit, deadline: Instant::now() + limit };
    let checked = probe.check().await;
    let removed = probe.remove().await;
    checked.and(removed)
}

/// Removes what probes left behind that began an hour ago or more; returns how many objects.
///
/// # Errors
/// When the store does not list or delete them; nothing depends on it.
pub async fn remove_old_probes(store: &dyn ObjectStore) -> Result<usize, StoreError> {
    let before = unix_seconds().saturating_sub(ABANDONED_AFTER.as_secs());
    let listed = store.list(PROBES, None).await?;
    let is_old = |key: &str| began_at(key).is_some_and(|began| began <= before);
    let old: Vec<String> = listed.into_iter().map(|object| object.key).filter(|key| is_old(key)).collect();
    if !old.is_empty() {
        store.delete(&old).await?;
    }
    Ok(old.len())
}

fn folder_at(seconds: u64) -> String {
    format!("{PROBES}{seconds:010}-{}/", unique_name())
}

/// When the probe began that an object belongs to, in seconds since the Unix epoch.
fn began_at(key: &str) -> Option<u64> {
    key.strip_prefix(PROBES)?.split_once('-')?.0.parse().ok()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

struct Probe<'a> {
    store: &'a dyn ObjectStore,
    folder: String,
    limit: Duration,
    deadline: Instant,
}

impl Probe<'_> {
    async fn check(&self) -> Result<(), ProbeError> {
        let key = format!("{}twice", self.folder);
        let (first, second) = (Bytes::from(unique_name()), Bytes::from(unique_name()));
        self.create(&key, &first).await?;
        let again = self.create(&key, &second).await?;
        let found = self.retried(|| self.store.get(&key)).await?;
        if again == Created::Done || found == second {
            return Err(self.unconditional("a second create of the same name succeeded".to_owned()));
        }
        if found != first {
            return Err(self.inconsistent(format!("an object of {} bytes came back different", first.len())));
        }
        if self.store.create_needs_race() {
            for race in 0..RACES {
                self.race(race).await?;
            }
        }
        let listed = self.retried(|| self.store.list(&self.folder, None)).await?;
        if !listed.iter().any(|object| object.key == key && object.length == first.len() as u64) {
            return Err(self.inconsistent("an object that was written is missing in the listing".to_owned()));
        }
        Ok(())
    }

    /// Several creators at once; those with unknown outcome are decided by what is there.
    async fn race(&self, race: usize) -> Result<(), ProbeError> {
        let key = format!("{}race-{race}", self.folder);
        let bodies: Vec<Bytes> = (0..RACERS).map(|_| Bytes::from(unique_name())).collect();
        let outcomes = join_all(bodies.iter().map(|body| self.store.create(&key, body.clone()))).await;
        let winners: Vec<usize> = (0..RACERS).filter(|&racer| matches!(outcomes[racer], Ok(Created::Done))).collect();
        if winners.len() > 1 {
            return Err(
                self.unconditional(format!("{} of {RACERS} concurrent creates of one name succeeded", winners.len()))
            );
        }
        let unknown = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        match winners.first() {
            Some(&winner) if self.retried(|| self.store.get(&key)).await? != bodies[winner] => {
                Err(self.unconditional("a name changed its content after a create of it had succeeded".to_owned()))
            }
            None if unknown == 0 => {
                Err(self.inconsistent("of concurrent creates of an absent name none succeeded".to_owned()))
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self) -> Result<(), ProbeError> {
        let listed = self.retried(|| self.store.list(&self.folder, None)).await?;
        let keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
        self.retried(|| self.store.delete(&keys)).await?;
        match keys.first() {
            Some(key) if self.retried(|| self.store.head(key)).await?.is_some() => {
                Err(self.inconsistent("an object that was deleted is still there".to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Creates; after an attempt of unknown outcome, `Exists` with our own bytes is `Done`.
    async fn create(&self, key: &str, body: &Bytes) -> Result<Created, ProbeError> {
        let mut unsure = false;
        let created =
            self.retried_with(|| self.store.create(key, body.clone()), |error| unsure |= error.may_be_done()).await?;
        if created == Created::Exists && unsure && self.retried(|| self.store.get(key)).await? == *body {
            return Ok(Created::Done);
        }
        Ok(created)
    }

    async fn retried<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: impl Fn() -> F,
    ) -> Result<T, ProbeError> {
        self.retried_with(call, |_| {}).await
    }

    async fn retried_with<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        call: impl Fn() -> F,
        mut seen: impl FnMut(&StoreError),
    ) -> Result<T, ProbeError> {
        let mut wait = FIRST_WAIT;
        let mut tries = 1;
        loop {
            let error = match tokio::time::timeout_at(self.deadline, call()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => return Err(ProbeError::from_store(self.store, self.late())),
            };
            seen(&error);
            // Full and read-only can pass, but a job should not start and wait for that.
            let passing = error.can_retry() && !matches!(error.kind, StoreErrorKind::Full | StoreErrorKind::ReadOnly);
            if !passing || tries == MAX_TRIES || Instant::now() + wait >= self.deadline {
                return Err(ProbeError::from_store(self.store, error));
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            tries += 1;
        }
    }

    fn late(&self) -> StoreError {
        let what = format!("the store did not finish the start-up probe within {:?}", self.limit);
        StoreError::new(crate::Operation::Create, &self.folder, self.store.describe(), StoreErrorKind::Timeout, what)
    }

    fn unconditional(&self, seen: String) -> ProbeError {
        ProbeError::NoConditionalCreate { store: self.store.describe(), seen }
    }

    fn inconsistent(&self, seen: String) -> ProbeError {
        ProbeError::Inconsistent { store: self.store.describe(), seen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Operation;
    use crate::memory::{Fault, MemoryStore};

    #[tokio::test]
    async fn a_good_store_passes_and_is_left_clean() {
        let store = MemoryStore::new();
        probe(&store).await.unwrap();
        assert!(store.objects().is_empty());
    }

    #[tokio::test]
    async fn what_killed_probes_left_is_removed_and_what_others_are_probing_with_stays() {
        let store = MemoryStore::new();
        let (old, fresh, foreign) = (folder_at(unix_seconds() - 3601), folder_at(unix_seconds() - 60), "probe/mine-1");
        for key in [format!("{old}twice"), format!("{old}race-0"), format!("{fresh}race-0"), foreign.to_owned()] {
            store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(remove_old_probes(&store).await.unwrap(), 2);
        let left: Vec<String> = store.objects().into_keys().collect();
        assert_eq!(left, [format!("{fresh}race-0"), foreign.to_owned()]);
    }

    #[tokio::test]
    async fn a_store_that_ignores_the_condition_is_refused_with_the_reason() {
        let store = MemoryStore::new();
        store.ignore_condition();
        let error = probe(&store).await.unwrap_err();
        assert!(matches!(error, ProbeError::NoConditionalCreate { .. }), "{error:?}");
        assert!(
            error.to_string().contains(
                "does not honour create-if-absent (If-None-Match: *): a second create of the same name succeeded"
            ),
            "{error}"
        );
        assert!(store.objects().is_empty());
    }

    #[tokio::test]
    async fn unknown_outcomes_are_not_taken_for_a_broken_condition() {
        for fault in [
            Fault::FailAfter(StoreErrorKind::Timeout),
            Fault::LandLater { calls: 1 },
            Fault::FailBefore(StoreErrorKind::Throttled),
        ] {
            let store = MemoryStore::new();
            store.script(Operation::Create, fault);
            probe(&store).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        }
    }

    #[tokio::test]
    async fn each_way_of_being_unusable_is_told_apart() {
        let store = MemoryStore::new();
        store.set_outage(true);
        assert!(matches!(probe(&store).await, Err(ProbeError::Unreachable { .. })));
        store.set_outage(false);
        for (kind, want) in [
            (StoreErrorKind::Denied, "denies access"),
            (StoreErrorKind::NoBucket, "the bucket does not exist"),
            (StoreErrorKind::ReadOnly, "is read-only"),
            (StoreErrorKind::Full, "is full"),
            (StoreErrorKind::Other, "cannot be used"),
        ] {
            store.script(Operation::Create, Fault::FailBefore(kind));
            let error = probe(&store).await.unwrap_err();
            assert!(error.to_string().contains(want), "{kind:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_hanging_store_ends_the_probe_within_its_bound() {
        let store = MemoryStore::new();
        store.script(Operation::Create, Fault::Delay(Duration::from_secs(3600)));
        let hung = tokio::time::timeout(Duration::from_secs(60), probe_within(&store, Duration::from_millis(50)));
        assert!(matches!(hung.await.unwrap(), Err(ProbeError::Unreachable { .. })));
    }

    #[tokio::test]
    async fn an_object_that_comes_back_different_is_an_inconsistent_store() {
        let store = MemoryStore::new();
        store.script(Operation::Get, Fault::ShortRead);
        assert!(matches!(probe(&store).await, Err(ProbeError::Inconsistent { .. })));
    }
}
