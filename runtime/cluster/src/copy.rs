//! Copies objects from one place to another, verified on the way: for savepoints and for what is restored from elsewhere.
//!
//! Copies go through a file, so that no object has to fit into memory, and so that a local store can share storage instead
//! of copying at all. A target that exists with the right length is complete, because objects appear whole or not at all.

use std::io::Read;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use weir_protocol::ObjectRef;
use weir_storage::{ObjectStore, StoreError};

use crate::random::random_id;
use crate::retry::{Trouble, chain, until_answered};

/// Objects copied at the same time.
const COPIES_AT_ONCE: usize = 4;
/// Bytes of a file that are in memory at once while its checksum is computed.
const READ_BYTES: usize = 256 << 10;

/// Why an object could not be copied. A store that does not answer is no reason: that is waited out.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The object is gone or not what its reference says.
    #[error("object {key} cannot be copied: {what}")]
    Damaged {
        /// The object.
        key: String,
        /// What was found.
        what: String,
    },
    /// The copy cannot be written, whatever is repeated.
    #[error("object {key} cannot be written")]
    Write {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The scratch file cannot be used.
    #[error("scratch file {path} cannot be used")]
    Scratch {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// One object to copy.
#[derive(Debug, Clone)]
pub(crate) struct CopyOrder {
    /// What to copy; the key is relative to the source.
    pub object: ObjectRef,
    /// Its name in the target.
    pub to: String,
}

/// From where to where, and where files may lie meanwhile.
pub(crate) struct Copier<'a> {
    pub from: &'a dyn ObjectStore,
    pub to: &'a dyn ObjectStore,
    pub scratch: &'a Path,
    pub trouble: &'a Trouble,
}

impl Copier<'_> {
    /// Copies all objects that are not there yet.
    ///
    /// # Errors
    /// At the first object that cannot be copied.
    pub(crate) async fn copy_all(&self, orders: Vec<CopyOrder>) -> Result<(), CopyError> {
        let copies = stream::iter(orders).map(|order| async move { self.copy(&order).await });
        copies.buffer_unordered(COPIES_AT_ONCE).try_collect().await
    }

    async fn copy(&self, order: &CopyOrder) -> Result<(), CopyError> {
        let CopyOrder { object, to } = order;
        let write = |source| CopyError::Write { key: to.clone(), source };
        let found = until_answered(self.trouble, || self.to.head(to)).await.map_err(write)?;
        if found == Some(object.length) {
            return Ok(());
        }
        let file = ScratchFile(self.scratch.join(format!("copy-{}", random_id())));
        std::fs::create_dir_all(self.scratch)
            .map_err(|source| CopyError::Scratch { path: self.scratch.to_owned(), source })?;
        let damaged = |what: String| CopyError::Damaged { key: object.key.clone(), what };
        until_answered(self.trouble, || self.from.get_file(&object.key, &file.0))
            .await
            .map_err(|error| damaged(chain(&error)))?;
        let path = file.0.clone();
        let content = tokio::task::spawn_blocking(move || digest(&path)).await.expect("reading a file does not panic");
        let (length, crc32c) = content.map_err(|source| CopyError::Scratch { path: file.0.clone(), source })?;
        if (length, crc32c) != (object.length, object.crc32c) {
            return Err(damaged(format!(
                "{length} bytes with checksum {crc32c:08x}, expected are {} bytes with checksum {:08x}",
                object.length, object.crc32c
            )));
        }
        until_answered(self.trouble, || self.to.put_file(to, &file.0)).await.map_err(write)
    }
}

/// Removed when dropped, also when the copy is cancelled.
struct ScratchFile(PathBuf);

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // Only a cache: what stays behind is removed with the scratch directory at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn digest(path: &Path) -> std::io::Result<(u64, u32)> {
    let mut file = std::fs::File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    let (mut length, mut checksum) = (0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((length, checksum));
        }
        length += read as u64;
        checksum = crc32c::crc32c_append(checksum, &buffer[..read]);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use weir_storage::{Fault, MemoryStore, Operation, StoreErrorKind};

    use super::*;

    fn order(bytes: &[u8]) -> CopyOrder {
        CopyOrder { object: ObjectRef::of("runs/a", bytes), to: "copies/a".to_owned() }
    }

    async fn copy(from: &MemoryStore, to: &MemoryStore, order: CopyOrder) -> Result<(), CopyError> {
        let scratch = tempfile::tempdir().unwrap();
        let (trouble, told) = mpsc::unbounded_channel();
        let trouble = Trouble::new(trouble);
        let copied = Copier { from, to, scratch: scratch.path(), trouble: &trouble }.copy_all(vec![order]).await;
        drop(told);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "scratch files stay behind");
        copied
    }

    #[tokio::test]
    async fn objects_are_copied_through_faults_and_once_only() {
        let (from, to) = (MemoryStore::new(), MemoryStore::new());
        from.overwrite("runs/a", "content");
        from.script(Operation::GetFile, Fault::FailBefore(StoreErrorKind::Unreachable));
        to.script(Operation::PutFile, Fault::FailAfter(StoreErrorKind::Timeout));
        copy(&from, &to, order(b"content")).await.unwrap();
        assert_eq!(to.objects()["copies/a"], "content");
        copy(&from, &to, order(b"content")).await.unwrap();
        assert_eq!(from.calls(Operation::GetFile), 2, "what is there is not copied again");
    }

    #[tokio::test]
    async fn an_object_that_is_not_what_its_reference_says_is_not_copied() {
        let (from, to) = (MemoryStore::new(), MemoryStore::new());
        from.overwrite("runs/a", "contenT");
        let error = copy(&from, &to, order(b"content")).await.unwrap_err();
        assert!(error.to_string().starts_with("object runs/a cannot be copied: 7 bytes with checksum"), "{error}");
        let error = copy(&MemoryStore::new(), &to, order(b"content")).await.unwrap_err();
        assert!(error.to_string().contains("no such object"), "{error}");
        assert!(to.objects().is_empty());
    }
}
