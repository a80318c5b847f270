//! Uploads: each file until it is there, or the store stops. An outage of the object store is waited out; what it costs is bounded by
//! the bytes that may wait on disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::store::Inner;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);

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
    loop {
        let Ok(permit) = inner.uploads.acquire().await else { return };
        let started = Instant::now();
        let attempt = inner.config.objects.put_file(key, local).await;
        drop(permit);
        match attempt {
            Ok(()) => {
                inner.ledger.lock().uploaded(key, started.elapsed());
                return inner.finish_epochs();
            }
            Err(error) => {
                inner.upload_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(key, error = &error as &dyn std::error::Error, "upload failed, trying again");
            }
        }
        // Names are never written with two contents, so an attempt whose outcome is unknown may simply be repeated.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
