//! A view of a store that sees only the keys below a folder.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::StoreError;
use crate::store::{Created, Guard, Listed, ObjectStore, OpenUpload};

/// The part of `store` below `prefix`, seen as a store of its own: keys are relative to the prefix. Errors name the full key.
/// An empty prefix gives the store itself; slashes at either end of the prefix do not matter.
pub fn prefixed(store: Arc<dyn ObjectStore>, prefix: &str) -> Arc<dyn ObjectStore> {
    let prefix = prefix.trim_matches('/');
    if prefix.is_empty() {
        return store;
    }
    Arc::new(Prefixed { inner: store, prefix: format!("{prefix}/") })
}

#[derive(Debug)]
struct Prefixed {
    inner: Arc<dyn ObjectStore>,
    /// Ends with a slash.
    prefix: String,
}

impl Prefixed {
    /// An empty key stays one, so that it is refused below and not taken for the folder.
    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn strip(&self, key: String) -> String {
        match key.strip_prefix(&self.prefix) {
            Some(rest) => rest.to_owned(),
            None => key,
        }
    }
}

#[async_trait]
impl ObjectStore for Prefixed {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        self.inner.put(&self.full(key), body).await
    }

    async fn put_guarded(&self, key: &str, body: Bytes, guard: Guard) -> Result<(), StoreError> {
        self.inner.put_guarded(&self.full(key), body, guard).await
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        self.inner.put_file(&self.full(key), file).await
    }

    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        self.inner.create(&self.full(key), body).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.inner.get(&self.full(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(&self.full(key), range).await
    }

    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError> {
        self.inner.get_file(&self.full(key), to).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        self.inner.head(&self.full(key)).await
    }

    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError> {
        let mut listed = self.inner.list(&self.full(prefix), limit).await?;
        for object in &mut listed {
            object.key = self.strip(std::mem::take(&mut object.key));
        }
        Ok(listed)
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        let keys: Vec<String> = keys.iter().map(|key| self.full(key)).collect();
        self.inner.delete(&keys).await
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        let mut uploads = self.inner.open_uploads(&self.full(prefix)).await?;
        for upload in &mut uploads {
            upload.key = self.strip(std::mem::take(&mut upload.key));
        }
        Ok(uploads)
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        self.inner.abort_uploads(&self.full(prefix)).await
    }

    fn describe(&self) -> String {
        let base = self.inner.describe();
        format!("{}/{}", base.trim_end_matches('/'), self.prefix.trim_end_matches('/'))
    }

    fn create_needs_race(&self) -> bool {
        self.inner.create_needs_race()
    }
}
