//! Restore, and the layout of the work directory.
//!
//! ```text
//! runs/<object key, escaped>     local copies of the chain's files
//! db-<generation>-<nonce>/       RocksDB; always built anew
//! links-…/  base-…/              scratch
//! ```
//! A local file is used only if the chain names it with this length and it was written to its end; everything else is removed. What
//! is missing is downloaded, several files at a time, verified, and ingested in chain order while the rest is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use weir_protocol::{ObjectRef, RunRef, layout::runs_prefix};
use weir_storage::{ObjectStore, StoreErrorKind};

use crate::config::{BackendKind, RestoreChain, StoreConfig};
use crate::error::StateError;
use crate::past::Past;
use crate::rocks::{Purpose, Rocks};
use crate::shared::Shared;
use crate::sst::{checksum, looks_complete};

/// Files that are downloaded at the same time.
const PARALLEL_DOWNLOADS: usize = 8;
const RUNS: &str = "runs";
/// How the names of directories begin that no later process reads.
const SCRATCH: [&str; 3] = ["db-", "links-", "base-"];

/// A store's work directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
    instance: String,
}

impl Directory {
    /// Makes the directory usable: scratch and databases of earlier processes are removed.
    pub(crate) fn prepare(config: &StoreConfig) -> Result<Self, StateError> {
        let root = config.dir.clone();
        let runs = root.join(RUNS);
        std::fs::create_dir_all(&runs).map_err(|source| StateError::local("create directory", &runs, source))?;
        let entries = std::fs::read_dir(&root).map_err(|source| StateError::local("list directory", &root, source))?;
        for entry in entries {
            let path = entry.map_err(|source| StateError::local("list directory", &root, source))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // A process that was replaced may still write there; its names are its own, so what is left of them harms nobody.
            if SCRATCH.iter().any(|scratch| name.starts_with(scratch))
                && let Err(error) = std::fs::remove_dir_all(&path)
            {
                tracing::warn!(directory = %path.display(), error = &error as &dyn std::error::Error, "not removed");
            }
        }
        Ok(Self { root, instance: format!("{}-{:08x}", config.generation, nonce()) })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join(format!("db-{}", self.instance))
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.root.join(format!("links-{}", self.instance))
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.root.join(format!("base-{}", self.instance))
    }

    pub(crate) fn local(&self, object: &str) -> PathBuf {
        self.root.join(RUNS).join(escape(object))
    }

    pub(crate) fn file_names(&self, config: &StoreConfig) -> FileNames {
        FileNames {
            directory: self.clone(),
            prefix: runs_prefix(config.generation, config.worker),
            nonce: nonce(),
            bases: Arc::new(AtomicU64::new(0)),
        }
    }

    /// Removes local copies that `chain` does not name.
    fn keep_only(&self, chain: &[RunRef]) -> Result<(), StateError> {
        let named: BTreeSet<_> = chain.iter().map(|run| escape(&run.object.key)).collect();
        let runs = self.root.join(RUNS);
        let entries = std::fs::read_dir(&runs).map_err(|source| StateError::local("list directory", &runs, source))?;
        for entry in entries {
            let entry = entry.map_err(|source| StateError::local("list directory", &runs, source))?;
            if entry.file_name().to_str().is_none_or(|name| !named.contains(name)) {
                match std::fs::remove_file(entry.path()) {
                    // A process that was replaced may still rename or remove its own files.
                    Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                        return Err(StateError::local("remove file", entry.path(), source));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// An object key as a file name: no two keys give the same.
fn escape(key: &str) -> String {
    key.replace('%', "%25").replace('/', "%2F")
}

/// Tells processes apart that write in one generation, which should not happen, so that they never write one name.
fn nonce() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.as_nanos() as u64 ^ (u64::from(std::process::id()) << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
        [..4]
        .iter()
        .fold(0, |nonce, byte| nonce << 8 | u32::from(*byte))
}

/// Gives new files their names.
#[derive(Debug, Clone)]
pub(crate) struct FileNames {
    directory: Directory,
    prefix: String,
    nonce: u32,
    bases: Arc<AtomicU64>,
}

impl FileNames {
    /// Names of the files of run `sequence`.
    pub(crate) fn run(&self, sequence: u64) -> NameSeries<'_> {
        NameSeries { names: self, stem: format!("{sequence:08}"), part: 0 }
    }

    /// Names of the files of the next base.
    pub(crate) fn base(&self) -> NameSeries<'_> {
        NameSeries { names: self, stem: format!("base{:04}", self.bases.fetch_add(1, Ordering::Relaxed)), part: 0 }
    }
}

pub(crate) struct NameSeries<'a> {
    names: &'a FileNames,
    stem: String,
    part: u32,
}

impl NameSeries<'_> {
    pub(crate) fn next_name(&mut self) -> (String, PathBuf) {
        let FileNames { directory, prefix, nonce, .. } = self.names;
        let key = format!("{prefix}{}-{nonce:08x}-{}.sst", self.stem, self.part);
        self.part += 1;
        let local = directory.local(&key);
        (key, local)
    }
}

/// What a restore leaves behind.
#[derive(Default)]
pub(crate) struct Restored {
    pub(crate) files: Vec<(RunRef, PathBuf)>,
    pub(crate) past: Option<Arc<dyn Past>>,
    /// The database that serves reads from now on.
    pub(crate) serving: Option<Arc<Rocks>>,
}

/// Brings the chain's files here and into an empty database.
pub(crate) fn restore(
    config: &StoreConfig,
    shared: &Shared,
    directory: &Directory,
    restore: &RestoreChain,
) -> Result<Restored, StateError> {
    directory.keep_only(&restore.chain)?;
    if restore.chain.is_empty() {
        return Ok(Restored::default());
    }
    check_order(&restore.chain)?;
    let serves = config.backend == BackendKind::RocksDb;
    let purpose = if serves { Purpose::Serve(Arc::clone(&shared.clock)) } else { Purpose::Merge };
    let rocks = Arc::new(Rocks::create(directory.database(), &config.tuning, purpose)?);
    let files: Vec<_> = restore.chain.iter().map(|run| (run.clone(), directory.local(&run.object.key))).collect();
    fetch_and_ingest(config, directory, &files, &rocks)?;
    let past: Arc<dyn Past> = Arc::clone(&rocks) as Arc<dyn Past>;
    if serves {
        shared.set_past(Arc::clone(&past));
        shared.ingesting.store(true, Ordering::Release);
    }
    Ok(Restored { files, past: Some(past), serving: serves.then_some(rocks) })
}

fn check_order(chain: &[RunRef]) -> Result<(), StateError> {
    let mut lengths = BTreeMap::new();
    for pair in chain.windows(2) {
        if pair[0].epoch > pair[1].epoch {
            let what = format!(
                "{} of epoch {} precedes {} of epoch {}",
                pair[0].object, pair[0].epoch, pair[1].object, pair[1].epoch
            );
            return Err(StateError::RestoreChain { what });
        }
    }
    for run in chain {
        if lengths.insert(&run.object.key, run.object.length).is_some() {
            return Err(StateError::RestoreChain { what: format!("{} is named twice", run.object) });
        }
    }
    Ok(())
}

/// Downloads what is missing and ingests everything in order, as soon as its turn has come.
fn fetch_and_ingest(
    config: &StoreConfig,
    directory: &Directory,
    files: &[(RunRef, PathBuf)],
    rocks: &Rocks,
) -> Result<(), StateError> {
    let (tx, arrivals) = channel();
    let slots = Arc::new(tokio::sync::Semaphore::new(PARALLEL_DOWNLOADS));
    // Dropped at the first failure, so that no download is left to meet those of the next attempt.
    let mut downloads = tokio::task::JoinSet::new();
    let mut missing = BTreeSet::new();
    for (index, (run, local)) in files.iter().enumerate() {
        if looks_complete(local, run.object.length) {
            continue;
        }
        missing.insert(index);
        let (tx, slots) = (tx.clone(), Arc::clone(&slots));
        let (objects, object, local) = (Arc::clone(&config.objects), run.object.clone(), local.clone());
        let download = async move {
            let Ok(_slot) = slots.acquire().await else { return };
            let _ = tx.send((index, download(&*objects, &object, &local).await));
        };
        downloads.spawn_on(download, &config.runtime);
    }
    drop(tx);
    let mut next = 0;
    loop {
        let ready = missing.first().copied().unwrap_or(files.len());
        if ready > next {
            let batch: Vec<_> = files[next..ready].iter().map(|(_, local)| local.clone()).collect();
            rocks.ingest(&batch, &directory.links())?;
            next = ready;
        }
        if next == files.len() {
            return Ok(());
        }
        // Every download reports once, and there is one for every missing file.
        let Ok((index, fetched)) = arrivals.recv() else {
            return Err(StateError::ShutDown);
        };
        fetched?;
        missing.remove(&index);
    }
}

/// Brings a file of the chain here if it is not, or not whole.
pub(crate) fn fetch_if_missing(config: &StoreConfig, object: &ObjectRef, local: &Path) -> Result<(), StateError> {
    if looks_complete(local, object.length) {
        return Ok(());
    }
    let (tx, arrival) = channel();
    let (objects, object, local) = (Arc::clone(&config.objects), object.clone(), local.to_owned());
    config.runtime.spawn(async move {
        let _ = tx.send(download(&*objects, &object, &local).await);
    });
    arrival.recv().unwrap_or(Err(StateError::ShutDown))
}

async fn download(objects: &dyn ObjectStore, object: &ObjectRef, local: &Path) -> Result<(), StateError> {
    let refuse = |what: String, source| StateError::RestoreObject { key: object.key.clone(), what, source };
    let length = objects.get_file(&object.key, local).await.map_err(|source| {
        let what = match source.kind {
            StoreErrorKind::NotFound => format!("it is not in {}", objects.describe()),
            _ => format!("it cannot be read from {}", objects.describe()),
        };
        refuse(what, Some(Arc::new(source)))
    })?;
    let path = local.to_owned();
    let found = tokio::task::spawn_blocking(move || checksum(&path)).await;
    let (read, crc) = found.map_err(|_| StateError::ShutDown)??;
    let damage = if length != object.length || read != object.length {
        Some(format!("it has {length} bytes, the manifest says {}", object.length))
    } else if crc != object.crc32c {
        Some(format!("its checksum is {crc:08x}, the manifest says {:08x}", object.crc32c))
    } else {
        None
    };
    match damage {
        None => Ok(()),
        Some(what) => {
            // A damaged copy must not be taken for a good one at the next start.
            let _ = std::fs::remove_file(local);
            Err(refuse(what, None))
        }
    }
}
