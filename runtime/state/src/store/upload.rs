//! Uploads: each file until it is there, or the store stops. An outage of the object store is waited out; what it costs is bounded by
//! the bytes that may wait on disk. The first upload that succeeds shows that the outage is over, and ends the others' waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::store::Inner;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Uploads `local` as object `key` in the background.
pub(super) fn start(inner: &Arc<Inner>, key: String, local: PathBuf) {
    let inner = Arc::clone(inner);
    let runtime = inner.config.runtime.clone();
    runtime.spawn(async move {
        let mut stop = inner.stop.subscribe();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = upload(&inner, &key, &local) => {}
        }
    });
}

async fn upload(inner: &Inner, key: &str, local: &std::path::Path) {
    let mut pause = RETRY_FIRST;
    let mut failed = None;
    loop {
        let Ok(permit) = inner.uploads.acquire().await else { return };
        let started = Instant::now();
        let attempt = inner.config.objects.put_file(key, local).await;
        drop(permit);
        match attempt {
            Ok(()) => {
                drop(failed);
                inner.uploaded.notify_waiters();
                inner.ledger.lock().uploaded(key, started.elapsed());
                return inner.finish_epochs();
            }
            Err(error) => {
                failed.get_or_insert_with(|| Waiting::new(inner));
                inner.upload_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(key, error = &error as &dyn std::error::Error, "upload failed, trying again");
            }
        }
        // Names are never written with two contents, so an attempt whose outcome is unknown may simply be repeated.
        let _ = tokio::time::timeout(pause, inner.uploaded.notified()).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// An upload from its first failure to its success, or to the end of the store.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.uploads_waiting.fetch_add(1, Ordering::Relaxed);
        Self(inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.uploads_waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
