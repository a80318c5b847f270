//! The trait every object store implements, and the consistency it demands.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Operation, StoreError};

/// Asked by a store right before a write takes effect; false: it must not, any more.
pub type Guard = Arc<dyn Fn() -> bool + Send + Sync>;

/// What [`ObjectStore::create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call made the object.
    Done,
    /// An object of that name is there. It may be this caller's own from an earlier attempt: read it back.
    Exists,
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// The object's key.
    pub key: String,
    /// Its length in bytes.
    pub length: u64,
}

/// One multipart upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenUpload {
    /// The key the upload would become.
    pub key: String,
    /// The store's name for the upload.
    pub upload: String,
}

/// An object store.
///
/// Keys are relative, `/`-separated and checked by [`validate_key`](crate::validate_key). No key may be a folder of another
/// (`a` and `a/b`), because directories cannot hold both.
///
/// **Consistency every implementation owes**, held by one conformance suite:
/// - a write that returned `Ok` is durable and is seen by every later `get`, `head` and `list` from anywhere;
/// - an object is seen whole or not at all;
/// - of any number of concurrent [`create`](Self::create) calls for one absent key, exactly one makes the object;
/// - [`list`](Self::list) is in ascending byte order of keys.
///
/// **Errors** carry [`Retry`](crate::Retry) and [`Effect`](crate::Effect); a write with `Effect::MaybeDone` may even happen later.
/// Implementations repeat transient failures of idempotent calls themselves, within the bounds of
/// [`StoreOptions`](crate::StoreOptions); `create` is never repeated inside.
///
/// Calls must run inside a tokio runtime with its time driver on.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// Writes an object. Idempotent, because no name is ever written with two contents.
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError>;

    /// [`put`](Self::put), unless `guard` withdraws it: asked as late as the store can, and at least before anything is sent.
    /// A withdrawn write is `StoreErrorKind::Withdrawn`; its effect tells what earlier attempts may have done.
    async fn put_guarded(&self, key: &str, body: Bytes, guard: Guard) -> Result<(), StoreError> {
        if guard() {
            return self.put(key, body).await;
        }
        Err(StoreError::withdrawn(Operation::Put, key, self.describe()))
    }

    /// Writes an object from a local file. A local store may share the file's storage with the object (hard link), so the file
    /// must never be written to again; it may be removed.
    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError>;

    /// Creates an object if there is none of that name, atomically. One attempt: after `Effect::MaybeDone` the caller reads back.
    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError>;

    /// Reads an object whole. `StoreErrorKind::NotFound` when absent.
    async fn get(&self, key: &str) -> Result<Bytes, StoreError>;

    /// Reads the bytes `range` of an object. An object that ends before the range does is `StoreErrorKind::Corrupt`: who asks for a
    /// range knows the length. An empty range is empty without asking the store.
    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Reads an object into the file `to`, which appears whole or not at all, and replaces what was there; returns the length.
    /// Not fsynced. The file may share storage with the object (hard link), so it must never be written to.
    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError>;

    /// The object's length, or `None` when absent.
    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError>;

    /// The objects whose keys begin with `prefix` (a string prefix, not a folder), ascending by key; at most `limit` of them.
    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError>;

    /// Removes objects; absent ones are fine. An error leaves open which of them are gone.
    async fn delete(&self, keys: &[String]) -> Result<(), StoreError>;

    /// The unfinished multipart uploads whose keys begin with `prefix`. Stores without multipart uploads have none.
    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError>;

    /// Aborts the unfinished multipart uploads whose keys begin with `prefix`; returns how many.
    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError>;

    /// Where this is, for messages: `file:///…` or `s3://bucket/prefix`.
    fn describe(&self) -> String;

    /// Whether [`probe`](crate::probe) must race creators against each other. A store whose `create` is atomic by the kernel's
    /// word says no and saves the time at start.
    fn create_needs_race(&self) -> bool {
        true
    }
}
