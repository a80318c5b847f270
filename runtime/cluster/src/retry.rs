//! Calls to the object store that are repeated until they succeed, and the waits in between.
//!
//! An outage of the store is not a failure of the job, so nothing here gives up by itself: whoever waits is cancelled by
//! dropping it. Every failure is told to the coordinator, which then does not count an abort of the checkpoint under way.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use weir_protocol::coordinator::Event;
use weir_storage::{ObjectStore, StoreError, StoreErrorKind};

use crate::random::random_unit;

/// Wait after the first failure; doubles up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// Longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// How often an object is read before it is believed to be damaged: an answer may be cut short on its way.
const READS_BEFORE_DAMAGED: u32 = 3;

/// Waits that grow from one failure to the next, spread by up to a half.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_WAIT }
    }

    /// The next wait.
    pub(crate) fn next_wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(0.5 + random_unit() / 2.0);
        self.next = (self.next * 2).min(MAX_WAIT);
        wait
    }

    /// Forgets earlier failures.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_WAIT;
    }
}

/// Where failures of storage calls are told.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    events: mpsc::UnboundedSender<Event>,
    last: Arc<Mutex<String>>,
}

impl Trouble {
    pub(crate) fn new(events: mpsc::UnboundedSender<Event>) -> Self {
        Self { events, last: Arc::default() }
    }

    /// A call failed and will be repeated.
    pub(crate) fn tell(&self, error: &StoreError) {
        self.tell_why(&chain(error));
    }

    /// The same, of a call that somebody else made.
    pub(crate) fn tell_why(&self, error: &str) {
        tracing::warn!(error, "a storage call failed and is being repeated");
        error.clone_into(&mut self.last.lock());
        // Nobody listens any more only when the job is being left.
        let _ = self.events.send(Event::StorageTrouble);
    }

    /// Only remembers what is wrong.
    pub(crate) fn note(&self, error: &str) {
        error.clone_into(&mut self.last.lock());
    }

    /// What was told last.
    pub(crate) fn last(&self) -> String {
        self.last.lock().clone()
    }
}

/// Repeats `call` until it succeeds or fails in a way that repeating does not mend.
pub(crate) async fn until_answered<T, F>(trouble: &Trouble, mut call: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut backoff = Backoff::new();
    loop {
        match call().await {
            Err(error) if !is_final(&error) => {
                trouble.tell(&error);
                tokio::time::sleep(backoff.next_wait()).await;
            }
            answered => return answered,
        }
    }
}

/// Reads an object that must exist and satisfy `check`, through every outage. `check` gets another chance or two.
///
/// # Errors
/// Why the object is damaged or gone.
pub(crate) async fn read_checked<T, E: std::error::Error>(
    objects: &dyn ObjectStore,
    key: &str,
    trouble: &Trouble,
    check: impl Fn(&Bytes) -> Result<T, E>,
) -> Result<T, String> {
    let mut reads = 0;
    loop {
        reads += 1;
        let damage = match until_answered(trouble, || objects.get(key)).await {
            Ok(bytes) => match check(&bytes) {
                Ok(checked) => return Ok(checked),
                Err(error) => chain(&error),
            },
            Err(error) => chain(&error),
        };
        if reads == READS_BEFORE_DAMAGED {
            return Err(damage);
        }
        tokio::time::sleep(FIRST_WAIT).await;
    }
}

/// True for answers about the object itself; everything else (credentials, buckets and quotas too) may be mended outside.
pub(crate) fn is_final(error: &StoreError) -> bool {
    match error.kind {
        StoreErrorKind::NotFound | StoreErrorKind::Corrupt | StoreErrorKind::Invalid => true,
        StoreErrorKind::Denied
        | StoreErrorKind::NoBucket
        | StoreErrorKind::Full
        | StoreErrorKind::ReadOnly
        | StoreErrorKind::Unreachable
        | StoreErrorKind::Timeout
        | StoreErrorKind::Throttled
        | StoreErrorKind::Conflict
        | StoreErrorKind::Withdrawn
        | StoreErrorKind::Other => false,
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use weir_storage::{Fault, MemoryStore, Operation};

    use super::*;

    fn trouble() -> (Trouble, mpsc::UnboundedReceiver<Event>) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Trouble::new(tx), rx)
    }

    fn whole(bytes: &Bytes) -> Result<usize, std::fmt::Error> {
        if bytes.len() == 8 { Ok(8) } else { Err(std::fmt::Error) }
    }

    #[tokio::test]
    async fn an_outage_is_waited_out_and_told() {
        let store = MemoryStore::new();
        store.overwrite("a", "12345678");
        store.outage_for(Duration::from_millis(600));
        let (trouble, mut told) = trouble();
        assert_eq!(read_checked(&store, "a", &trouble, whole).await, Ok(8));
        assert!(told.try_recv().is_ok());
        assert!(store.faults_injected() < 10, "waits grow: {} calls", store.faults_injected());
    }

    #[tokio::test]
    async fn an_answer_cut_short_is_read_again_but_a_damaged_object_is_reported() {
        let store = MemoryStore::new();
        store.overwrite("a", "12345678");
        store.script(Operation::Get, Fault::ShortRead);
        let (trouble, _told) = trouble();
        assert_eq!(read_checked(&store, "a", &trouble, whole).await, Ok(8));
        store.overwrite("a", "123");
        assert!(read_checked(&store, "a", &trouble, whole).await.is_err());
        assert!(read_checked(&store, "missing", &trouble, whole).await.unwrap_err().contains("no such object"));
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..12).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= FIRST_WAIT && waits[11] <= MAX_WAIT && waits[11] >= MAX_WAIT / 2, "{waits:?}");
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST_WAIT);
    }
}
