//! Restore, and the layout of the work directory.
//!
//! ```text
//! runs/<object key, escaped>     local copies of the chain's files
//! db-<generation>-<nonce>/       RocksDB; always built anew
//! links-…/  base-…/              scratch
//! suspect                        exists if RocksDB found something damaged
//! ```
//! A local file is used only if the chain names it with this length and it was written to its end; everything else is removed. What
//! is missing is downloaded, several files at a time, verified, and ingested in chain order while the rest is on its way.
//!
//! Whether a local file still is what was written is checked in the same manner, by its checksum, if that is not much to read, if all
//! of it will be read anyway (the memory backend), or if RocksDB found damage: now, or when the files were last in use. Otherwise the
//! checksums of the blocks stand guard: damage is found when it is read, never passed on, and mended by the next deployment.

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
const SUSPECT: &str = "suspect";
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

    /// Where it is noted that RocksDB found something damaged.
    pub(crate) fn suspicion(&self) -> PathBuf {
        self.root.join(SUSPECT)
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
    let files: Vec<_> = restore.chain.iter().map(|run| (run.clone(), directory.local(&run.object.key))).collect();
    let bytes: u64 = restore.chain.iter().map(|run| run.object.length).sum();
    let suspicion = directory.suspicion();
    let trust =
        if !serves || bytes <= config.verify_bytes || suspicion.exists() { Trust::Checksum } else { Trust::Footer };
    let rocks = match build(config, shared, directory, &files, trust) {
        Err(StateError::Rocks { source, .. }) if trust == Trust::Footer => {
            tracing::warn!(error = &source as &dyn std::error::Error, "a local file may be damaged, all are verified");
            build(config, shared, directory, &files, Trust::Checksum)?
        }
        built => built?,
    };
    if trust == Trust::Checksum
        && let Err(error) = std::fs::remove_file(&suspicion)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %suspicion.display(), error = &error as &dyn std::error::Error, "not removed");
    }
    let past: Arc<dyn Past> = Arc::clone(&rocks) as Arc<dyn Past>;
    if serves {
        shared.set_past(Arc::clone(&past));
        shared.ingesting.store(true, Ordering::Release);
    }
    Ok(Restored { files, past: Some(past), serving: serves.then_some(rocks) })
}

/// Why a local file is taken for what the chain names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It has its length and its end.
    Footer,
    /// It has its checksum.
    Checksum,
}

/// A new database with all files, in the place of what an earlier attempt left.
fn build(
    config: &StoreConfig,
    shared: &Shared,
    directory: &Directory,
    files: &[(RunRef, PathBuf)],
    trust: Trust,
) -> Result<Arc<Rocks>, StateError> {
    let path = directory.database();
    match std::fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(StateError::local("remove directory", path, source));
        }
        _ => {}
    }
    let purpose = match config.backend {
        BackendKind::RocksDb => Purpose::Serve(Arc::clone(&shared.clock)),
        BackendKind::Memory => Purpose::Merge,
    };
    let rocks = Arc::new(Rocks::create(path, directory.suspicion(), &config.tuning, purpose)?);
    fetch_and_ingest(config, directory, files, &rocks, trust)?;
    Ok(rocks)
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
    trust: Trust,
) -> Result<(), StateError> {
    let (tx, arrivals) = channel();
    let slots = Slots::default();
    // Dropped at the first failure, so that no download is left to meet those of the next attempt.
    let mut work = tokio::task::JoinSet::new();
    let mut awaited = BTreeSet::new();
    for (index, (run, local)) in files.iter().enumerate() {
        let is_here = looks_complete(local, run.object.length);
        if is_here && trust == Trust::Footer {
            continue;
        }
        awaited.insert(index);
        let (tx, slots) = (tx.clone(), slots.clone());
        let (objects, object, local) = (Arc::clone(&config.objects), run.object.clone(), local.clone());
        let file = async move {
            let _ = tx.send((index, obtain(&*objects, &object, &local, is_here, &slots).await));
        };
        work.spawn_on(file, &config.runtime);
    }
    drop(tx);
    let mut next = 0;
    loop {
        let ready = awaited.first().copied().unwrap_or(files.len());
        if ready > next {
            let batch: Vec<_> = files[next..ready].iter().map(|(_, local)| local.clone()).collect();
            rocks.ingest(&batch, &directory.links())?;
            next = ready;
        }
        if next == files.len() {
            return Ok(());
        }
        // Every file reports once, and there is one for every one that is awaited.
        let Ok(arrival) = arrivals.recv() else {
            return Err(StateError::ShutDown);
        };
        for (index, obtained) in std::iter::once(arrival).chain(arrivals.try_iter()) {
            obtained?;
            awaited.remove(&index);
        }
    }
}

/// Bounds what happens at the same time.
#[derive(Clone)]
struct Slots {
    downloads: Arc<tokio::sync::Semaphore>,
    /// One per core.
    checks: Arc<tokio::sync::Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let semaphore = |permits| Arc::new(tokio::sync::Semaphore::new(permits));
        Self { downloads: semaphore(PARALLEL_DOWNLOADS), checks: semaphore(cores) }
    }
}

/// Makes sure that a file is here and is what the chain names: verifies it if `is_here`, downloads it otherwise.
async fn obtain(
    objects: &dyn ObjectStore,
    object: &ObjectRef,
    local: &Path,
    is_here: bool,
    slots: &Slots,
) -> Result<(), StateError> {
    if is_here {
        let _slot = slots.checks.acquire().await.map_err(|_| StateError::ShutDown)?;
        let path = local.to_owned();
        let found = tokio::task::spawn_blocking(move || checksum(&path)).await.map_err(|_| StateError::ShutDown)?;
        // One that cannot be read is no better than one that is wrong.
        if found.is_ok_and(|found| found == (object.length, object.crc32c)) {
            return Ok(());
        }
        tracing::warn!(file = %local.display(), "a local file is damaged, it is fetched anew");
    }
    let _slot = slots.downloads.acquire().await.map_err(|_| StateError::ShutDown)?;
    download(objects, object, local).await
}

/// Brings files of the chain here that are not, or not whole.
pub(crate) fn fetch_missing(config: &StoreConfig, files: &[(ObjectRef, PathBuf)]) -> Result<(), StateError> {
    let missing = files.iter().filter(|(object, local)| !looks_complete(local, object.length));
    obtain_all(config, missing, false)
}

/// Verifies files of the chain, and fetches those anew that are damaged.
pub(crate) fn mend(config: &StoreConfig, files: &[(ObjectRef, PathBuf)]) -> Result<(), StateError> {
    obtain_all(config, files.iter(), true)
}

fn obtain_all<'a>(
    config: &StoreConfig,
    files: impl Iterator<Item = &'a (ObjectRef, PathBuf)>,
    is_here: bool,
) -> Result<(), StateError> {
    let (tx, arrivals) = channel();
    let slots = Slots::default();
    let mut work = tokio::task::JoinSet::new();
    let mut expected = 0;
    for (object, local) in files {
        expected += 1;
        let (object, local) = (object.clone(), local.clone());
        let (tx, slots, objects) = (tx.clone(), slots.clone(), Arc::clone(&config.objects));
        let file = async move {
            let _ = tx.send(obtain(&*objects, &object, &local, is_here, &slots).await);
        };
        work.spawn_on(file, &config.runtime);
    }
    drop(tx);
    (0..expected).try_for_each(|_| arrivals.recv().unwrap_or(Err(StateError::ShutDown)))
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
