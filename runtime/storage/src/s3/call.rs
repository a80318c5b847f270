//! One call to the store: its bound, its attempts, and what is known about its effect.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Shared, errors};
use crate::error::{Effect, Operation, Retry, StoreError, StoreErrorKind};
use crate::random::{SplitMix64, unique_u64};

pub(super) struct Call<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) operation: Operation,
    /// The key, or the prefix of a listing.
    pub(super) key: &'a str,
    deadline: Instant,
    random: Mutex<SplitMix64>,
}

impl<'a> Call<'a> {
    /// A call that moves about `bytes` bytes, begun now.
    pub(super) fn begin(shared: &'a Arc<Shared>, operation: Operation, key: &'a str, bytes: u64) -> Self {
        let deadline = Instant::now() + shared.options.bound_of(bytes);
        Self { shared, operation, key, deadline, random: Mutex::new(SplitMix64::new(unique_u64())) }
    }

    /// Bound of one attempt that moves `bytes` bytes.
    pub(super) fn attempt_bound(&self, bytes: u64) -> Duration {
        let options = &self.shared.options;
        options.attempt_timeout + Duration::from_secs(bytes / options.min_throughput.max(1))
    }

    /// Awaits a part of an attempt within `bound` and the call's own deadline.
    pub(super) async fn within<F: Future>(&self, bound: Duration, work: F) -> Result<F::Output, StoreError> {
        let until = (Instant::now() + bound).min(self.deadline);
        let started = Instant::now();
        tokio::time::timeout_at(until, work).await.map_err(|_| {
            let waited = started.elapsed().as_secs_f64();
            self.new_error(
                StoreErrorKind::Timeout,
                format!("no answer from {} within {waited:.1} s", self.shared.place.endpoint),
            )
            .maybe_done()
        })
    }

    /// Sends one request that moves `bytes` bytes, and awaits the head of its answer.
    pub(super) async fn send<T, E, F>(&self, bytes: u64, request: F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.within(self.attempt_bound(bytes), request).await?.map_err(|error| self.error(error))
    }

    /// Repeats `attempt` while its failures can pass, within the bounds on attempts and time. The error's effect covers all attempts.
    pub(super) async fn retried<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, StoreError> {
        let options = &self.shared.options;
        let mut effect = Effect::NotDone;
        let mut wait = options.first_backoff;
        let mut attempts = 1;
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if error.may_be_done() {
                effect = Effect::MaybeDone;
            }
            let pause = wait.mul_f64(self.random.lock().next_f64());
            if !error.can_retry() || attempts >= options.max_attempts || Instant::now() + pause >= self.deadline {
                // Damage that every attempt met is in the store and not on the way.
                let retry = if error.kind == StoreErrorKind::Corrupt { Retry::No } else { error.retry };
                return Err(StoreError { effect, retry, ..error });
            }
            tracing::debug!(operation = %self.operation, key = self.key, attempts, error = %error, "storage call failed, trying again");
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(options.max_backoff);
            attempts += 1;
        }
    }

    /// The SDK's error as ours.
    pub(super) fn error<E>(&self, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        errors::from_sdk(self, error)
    }

    pub(super) fn new_error(&self, kind: StoreErrorKind, what: impl Into<String>) -> StoreError {
        StoreError::new(self.operation, self.key, self.shared.name.clone(), kind, what)
    }

    /// What came is not what was stored. On the way, as far as is known: worth another attempt.
    pub(super) fn corrupt(&self, what: impl Into<String>) -> StoreError {
        self.new_error(StoreErrorKind::Corrupt, what).with_retry(Retry::Yes)
    }

    /// An error of the caller's own file.
    pub(super) fn local(&self, what: &str, error: std::io::Error) -> StoreError {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
            std::io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
            _ => StoreErrorKind::Invalid,
        };
        self.new_error(kind, what).with_source(error)
    }
}
