//! A directory as an object store.
//!
//! An object is a file at the path its key spells. It is written to a scratch file, fsynced, and then given its name in one step:
//! `link(2)` for create-if-absent, `rename(2)` for put; the directory is fsynced before the call returns. A process that is killed
//! leaves scratch files at most, which the next writer removes. Folders that become empty are removed, so a writer whose
//! folder vanishes under it makes it again.
//!
//! Must never: write to a file that has its name already, or follow a key out of the root.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::{check_key, check_prefix};
use crate::options::StoreOptions;
use crate::random::unique_name;
use crate::store::{Created, Guard, Listed, ObjectStore, OpenUpload};

mod folders;
mod listing;
mod scratch;

use folders::{make_folder, prune_folders, sync_nearest};
use scratch::Scratch;

/// How often a writer makes its folder again when deleters prune it at the same moment.
const MAX_FOLDER_RETRIES: usize = 64;

/// An object store in a local directory, which the first write makes.
#[derive(Clone, Debug)]
pub struct LocalStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    name: Arc<str>,
    options: StoreOptions,
    scratch: Scratch,
}

impl LocalStore {
    /// A store in `root`. Of the options only the time bounds are used.
    pub fn new(root: impl Into<PathBuf>, options: StoreOptions) -> Self {
        let root = root.into();
        let name = format!("file://{}", root.display()).into();
        let scratch = Scratch::new(&root);
        Self { shared: Arc::new(Shared { root, name, options, scratch }) }
    }

    /// Runs blocking file operations off the runtime, within a bound. After the bound the operation may still happen.
    async fn run<T, F>(&self, operation: Operation, key: &str, bound: Duration, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Shared) -> Result<T, Failure> + Send + 'static,
    {
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || work(&shared));
        let error = |kind, what: String| StoreError::new(operation, key, self.shared.name.clone(), kind, what);
        match tokio::time::timeout(bound, task).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(failure))) => Err(failure.into_error(operation, key, &self.shared.name)),
            Ok(Err(panicked)) => Err(error(StoreErrorKind::Other, "the file operation was cancelled".to_owned())
                .maybe_done()
                .with_source(panicked)),
            Err(_) => {
                Err(error(StoreErrorKind::Timeout, format!("the file system did not answer within {bound:?}"))
                    .maybe_done())
            }
        }
    }

    fn bound(&self) -> Duration {
        self.shared.options.operation_timeout
    }
}

/// An I/O error with what is known about the write it broke.
struct Failure {
    error: io::Error,
    what: &'static str,
    maybe_done: bool,
}

/// For `map_err`: the write did not happen.
fn failed(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { error, what, maybe_done: false }
}

/// For `map_err`: the write happened but is perhaps not durable.
fn unsure(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { error, what, maybe_done: true }
}

impl Failure {
    fn into_error(self, operation: Operation, key: &str, store: &Arc<str>) -> StoreError {
        let (kind, way_out) = match classify(&self.error) {
            // What S3 would say of a name that only begins other names.
            (StoreErrorKind::Invalid, _) if !operation.writes() => (StoreErrorKind::NotFound, ""),
            classified => classified,
        };
        let what = if kind == StoreErrorKind::NotFound {
            "no such object".to_owned()
        } else {
            format!("{}{way_out}", self.what)
        };
        let error = StoreError::new(operation, key, store.clone(), kind, what).with_source(self.error);
        if self.maybe_done { error.maybe_done() } else { error }
    }
}

fn classify(error: &io::Error) -> (StoreErrorKind, &'static str) {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => (StoreErrorKind::NotFound, ""),
        io::ErrorKind::PermissionDenied => (StoreErrorKind::Denied, ": give this user access to the directory"),
        io::ErrorKind::ReadOnlyFilesystem => {
            (StoreErrorKind::ReadOnly, ": the file system is read-only, mount it writable or choose another directory")
        }
        io::ErrorKind::StorageFull => (StoreErrorKind::Full, ": no space is left on the file system"),
        io::ErrorKind::QuotaExceeded => (StoreErrorKind::Full, ": the disk quota is used up"),
        io::ErrorKind::UnexpectedEof => (StoreErrorKind::Corrupt, ": the object ends before the range does"),
        io::ErrorKind::IsADirectory => (StoreErrorKind::Invalid, ": the key is a folder of other keys"),
        io::ErrorKind::TimedOut => (StoreErrorKind::Timeout, ""),
        _ => (StoreErrorKind::Other, ""),
    }
}

impl Shared {
    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Writes a scratch file and makes its content durable.
    fn write_scratch(&self, body: &[u8]) -> Result<scratch::ScratchFile, Failure> {
        let scratch = self.scratch.file().map_err(failed("cannot make a scratch file"))?;
        let mut file = File::create_new(scratch.path()).map_err(failed("cannot make a scratch file"))?;
        file.write_all(body).map_err(failed("cannot write a scratch file"))?;
        file.sync_all().map_err(failed("cannot sync a scratch file"))?;
        Ok(scratch)
    }

    /// Does `step`, which gives a file its name in `folder`, and makes the folder whenever it is not there.
    fn in_folder<T>(
        &self,
        folder: &Path,
        what: &'static str,
        mut step: impl FnMut() -> io::Result<T>,
    ) -> Result<T, Failure> {
        for _ in 0..MAX_FOLDER_RETRIES {
            match step() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result.map_err(writing(what)),
            }
            match make_folder(folder) {
                // Pruned again while it was made.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                made => made.map_err(writing(what))?,
            }
        }
        Err(writing(what)(io::ErrorKind::NotFound.into()))
    }

    /// True if the object is written, false if `guard` withdrew it before it got its name.
    fn put(&self, key: &str, body: &[u8], guard: Option<&Guard>) -> Result<bool, Failure> {
        let target = self.path(key);
        let scratch = self.write_scratch(body)?;
        let folder = parent(&target);
        let named = self.in_folder(folder, "cannot name the object", || match guard.is_none_or(|guard| guard()) {
            true => fs::rename(scratch.path(), &target).map(|()| true),
            false => Ok(false),
        })?;
        if named {
            sync_nearest(folder).map_err(unsure("cannot sync the folder"))?;
        }
        Ok(named)
    }

    fn put_file(&self, key: &str, source: &Path) -> Result<(), Failure> {
        File::open(source).and_then(|file| file.sync_all()).map_err(unreadable("cannot sync the local file"))?;
        let target = self.path(key);
        let folder = parent(&target);
        let linked = self.in_folder(folder, "cannot name the object", || match fs::hard_link(source, &target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // There already, another file system, no links here, too many links: copy and replace.
            Err(_) => Ok(same_file(source, &target)),
        })?;
        if !linked {
            let scratch = self.scratch.file().map_err(failed("cannot make a scratch file"))?;
            fs::copy(source, scratch.path()).map_err(failed("cannot copy the local file"))?;
            File::open(scratch.path())
                .and_then(|file| file.sync_all())
                .map_err(failed("cannot sync a scratch file"))?;
            self.in_folder(folder, "cannot name the object", || fs::rename(scratch.path(), &target))?;
        }
        sync_nearest(folder).map_err(unsure("cannot sync the folder"))
    }

    fn create(&self, key: &str, body: &[u8]) -> Result<Created, Failure> {
        let target = self.path(key);
        let scratch = self.write_scratch(body)?;
        let folder = parent(&target);
        let created =
            self.in_folder(folder, "cannot name the object", || match fs::hard_link(scratch.path(), &target) {
                Ok(()) => Ok(Created::Done),
                // link(2): on NFS the call may fail although the link was made; the number of links tells.
                Err(_) if fs::metadata(scratch.path()).is_ok_and(|made| made.nlink() == 2) => Ok(Created::Done),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
                Err(error) => Err(error),
            })?;
        // Also when it exists: what the caller now reads back must not vanish with the power.
        sync_nearest(folder).map_err(unsure("cannot sync the folder"))?;
        Ok(created)
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failure> {
        let file = File::open(self.path(key)).map_err(failed("cannot open the object"))?;
        let mut body = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut body, range.start).map_err(failed("cannot read the object"))?;
        Ok(body.into())
    }

    fn get_file(&self, key: &str, to: &Path) -> Result<u64, Failure> {
        let source = self.path(key);
        let found = fs::metadata(&source).map_err(failed("cannot open the object"))?;
        if !found.is_file() {
            return Err(failed("no object")(io::ErrorKind::NotFound.into()));
        }
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", unique_name()));
        let part = to.with_file_name(name);
        let placed = match fs::hard_link(&source, &part) {
            Ok(()) => Ok(()),
            Err(_) => fs::copy(&source, &part).map(drop),
        };
        let placed = placed.and_then(|()| fs::rename(&part, to));
        // rename(2) of two links to one file does nothing and succeeds; a failed one leaves the part behind.
        let _ = fs::remove_file(&part);
        placed.map_err(unreadable("cannot make the local file"))?;
        Ok(found.len())
    }

    fn delete(&self, keys: &[String]) -> Result<(), Failure> {
        let mut folders = std::collections::BTreeSet::new();
        for key in keys {
            let path = self.path(key);
            match fs::remove_file(&path) {
                Ok(()) => {
                    folders.insert(parent(&path).to_owned());
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => return Err(unsure("cannot remove the object")(error)),
            }
        }
        for folder in folders {
            prune_folders(&self.root, &folder);
            sync_nearest(&folder).map_err(unsure("cannot sync the folder"))?;
        }
        Ok(())
    }
}

/// For `map_err` in a write: that a path is missing does not mean that the object is.
fn writing(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => failed(
            "cannot make the object's folder: a part of the key is an object or the directory is being removed",
        )(io::Error::other(error)),
        _ => failed(what)(error),
    }
}

/// For `map_err` on a file of the caller's: that it is missing does not mean that the object is.
fn unreadable(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            failed(what)(io::Error::new(io::ErrorKind::InvalidInput, error))
        }
        _ => failed(what)(error),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => a.dev() == b.dev() && a.ino() == b.ino(),
        _ => false,
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().expect("a key is never empty, so its path has a parent")
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        check_key(Operation::Put, key, &self.shared.name)?;
        let (owned, bound) = (key.to_owned(), self.shared.options.bound_of(body.len() as u64));
        self.run(Operation::Put, key, bound, move |shared| shared.put(&owned, &body, None)).await.map(drop)
    }

    async fn put_guarded(&self, key: &str, body: Bytes, guard: Guard) -> Result<(), StoreError> {
        check_key(Operation::Put, key, &self.shared.name)?;
        let (owned, bound) = (key.to_owned(), self.shared.options.bound_of(body.len() as u64));
        match self.run(Operation::Put, key, bound, move |shared| shared.put(&owned, &body, Some(&guard))).await? {
            true => Ok(()),
            false => Err(StoreError::withdrawn(Operation::Put, key, self.describe())),
        }
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        check_key(Operation::PutFile, key, &self.shared.name)?;
        let length = fs::metadata(file).map_or(0, |found| found.len());
        let (owned, file) = (key.to_owned(), file.to_owned());
        self.run(Operation::PutFile, key, self.shared.options.bound_of(length), move |shared| {
            shared.put_file(&owned, &file)
        })
        .await
    }

    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        check_key(Operation::Create, key, &self.shared.name)?;
        let owned = key.to_owned();
        self.run(Operation::Create, key, self.bound(), move |shared| shared.create(&owned, &body)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        check_key(Operation::Get, key, &self.shared.name)?;
        let owned = key.to_owned();
        self.run(Operation::Get, key, self.bound(), move |shared| {
            fs::read(shared.path(&owned)).map(Bytes::from).map_err(failed("cannot read the object"))
        })
        .await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_key(Operation::GetRange, key, &self.shared.name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let owned = key.to_owned();
        self.run(Operation::GetRange, key, self.bound(), move |shared| shared.get_range(&owned, range)).await
    }

    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError> {
        check_key(Operation::GetFile, key, &self.shared.name)?;
        let length = self.head(key).await?.unwrap_or(0);
        let (owned, to) = (key.to_owned(), to.to_owned());
        self.run(Operation::GetFile, key, self.shared.options.bound_of(length), move |shared| {
            shared.get_file(&owned, &to)
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        check_key(Operation::Head, key, &self.shared.name)?;
        let owned = key.to_owned();
        self.run(Operation::Head, key, self.bound(), move |shared| match fs::metadata(shared.path(&owned)) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(failed("cannot look at the object")(error)),
        })
        .await
    }

    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError> {
        check_prefix(Operation::List, prefix, &self.shared.name)?;
        let owned = prefix.to_owned();
        self.run(Operation::List, prefix, self.bound(), move |shared| {
            listing::list(&shared.root, &owned, limit.unwrap_or(usize::MAX))
                .map_err(failed("cannot list the directory"))
        })
        .await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            check_key(Operation::Delete, key, &self.shared.name)?;
        }
        let Some(first) = keys.first() else { return Ok(()) };
        let owned = keys.to_vec();
        self.run(Operation::Delete, first, self.bound(), move |shared| shared.delete(&owned)).await
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        check_prefix(Operation::OpenUploads, prefix, &self.shared.name)?;
        Ok(Vec::new())
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        check_prefix(Operation::AbortUploads, prefix, &self.shared.name)?;
        Ok(0)
    }

    fn describe(&self) -> String {
        self.shared.name.to_string()
    }

    fn create_needs_race(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
