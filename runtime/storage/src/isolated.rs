//! Runs a store's calls on threads of their own.
//!
//! Signing an upload hashes its whole body in one go, and TLS and checksums cost processor time too: milliseconds in which a tokio
//! worker serves nobody else. Subtasks must not wait for that, so the calls of a remote store are polled by threads that the operating
//! system takes turns with. A call that is dropped is cancelled there as well.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::store::{Created, Guard, Listed, ObjectStore, OpenUpload};

/// Threads that poll the calls: a second one, so that a journal entry does not wait while a large body is hashed.
const THREADS: usize = 2;

/// A store whose calls run on threads of their own.
#[derive(Debug)]
pub(crate) struct Isolated {
    inner: Arc<dyn ObjectStore>,
    /// `None` only while dropping.
    runtime: Option<Runtime>,
}

impl Isolated {
    /// Starts the threads. The error is the operating system's.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> std::io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("weir-store").enable_all().build()?;
        Ok(Self { inner, runtime: Some(runtime) })
    }

    async fn run<T, F>(&self, operation: Operation, key: &str, call: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let runtime = self.runtime.as_ref().expect("the runtime is there until the store is dropped");
        let mut task = CancelOnDrop(runtime.spawn(call));
        match (&mut task.0).await {
            Ok(result) => result,
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(ended) => {
                let what = "the call was cancelled because the store is being closed";
                let error = StoreError::new(operation, key, self.inner.describe(), StoreErrorKind::Other, what);
                Err(error.maybe_done().with_source(ended))
            }
        }
    }
}

impl Drop for Isolated {
    fn drop(&mut self) {
        // Not waiting, because a store may be dropped inside another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task that does not outlive who waits for it.
struct CancelOnDrop<T>(JoinHandle<T>);

impl<T> Drop for CancelOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl ObjectStore for Isolated {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::Put, key, async move { inner.put(&owned, body).await }).await
    }

    async fn put_guarded(&self, key: &str, body: Bytes, guard: Guard) -> Result<(), StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::Put, key, async move { inner.put_guarded(&owned, body, guard).await }).await
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        let (inner, owned, file) = (self.inner.clone(), key.to_owned(), file.to_owned());
        self.run(Operation::PutFile, key, async move { inner.put_file(&owned, &file).await }).await
    }

    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::Create, key, async move { inner.create(&owned, body).await }).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::Get, key, async move { inner.get(&owned).await }).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::GetRange, key, async move { inner.get_range(&owned, range).await }).await
    }

    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError> {
        let (inner, owned, to) = (self.inner.clone(), key.to_owned(), to.to_owned());
        self.run(Operation::GetFile, key, async move { inner.get_file(&owned, &to).await }).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let (inner, owned) = (self.inner.clone(), key.to_owned());
        self.run(Operation::Head, key, async move { inner.head(&owned).await }).await
    }

    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError> {
        let (inner, owned) = (self.inner.clone(), prefix.to_owned());
        self.run(Operation::List, prefix, async move { inner.list(&owned, limit).await }).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let (inner, owned) = (self.inner.clone(), keys.to_vec());
        let first = keys.first().map_or("", String::as_str);
        self.run(Operation::Delete, first, async move { inner.delete(&owned).await }).await
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        let (inner, owned) = (self.inner.clone(), prefix.to_owned());
        self.run(Operation::OpenUploads, prefix, async move { inner.open_uploads(&owned).await }).await
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        let (inner, owned) = (self.inner.clone(), prefix.to_owned());
        self.run(Operation::AbortUploads, prefix, async move { inner.abort_uploads(&owned).await }).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn create_needs_race(&self) -> bool {
        self.inner.create_needs_race()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory::{Fault, MemoryStore};

    #[tokio::test]
    async fn a_dropped_call_is_cancelled_and_changes_nothing_later() {
        let memory = MemoryStore::new();
        let store = Isolated::new(Arc::new(memory.clone())).unwrap();
        memory.script(Operation::Put, Fault::Delay(Duration::from_millis(100)));
        let call = store.put("k", Bytes::from_static(b"x"));
        assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!((memory.calls(Operation::Put), memory.objects().len()), (1, 0));
    }

    #[tokio::test]
    async fn a_store_can_be_dropped_inside_a_runtime() {
        let store = Isolated::new(Arc::new(MemoryStore::new())).unwrap();
        store.put("k", Bytes::from_static(b"x")).await.unwrap();
        drop(store);
    }
}
