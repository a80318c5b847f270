//! Files that are not objects yet, and their removal after a crash.
//!
//! Every process that writes has its own folder below `.weir-scratch`, and holds a lock on a file beside it for as long as it lives.
//! The kernel drops the lock with the process, so whoever gets a lock may remove what it guards; a stopped process keeps its own.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::key::SCRATCH;
use crate::random::unique_name;

/// How often a folder of one's own is tried for while others tidy up.
const MAX_CLAIMS: usize = 64;

/// This process's scratch folder in one store, made when first needed.
#[derive(Debug)]
pub(super) struct Scratch {
    all: PathBuf,
    mine: Mutex<Option<Mine>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Mine {
    folder: PathBuf,
    lock_path: PathBuf,
    /// Held, never read: the lock lives as long as it.
    _lock: File,
}

/// A name for a scratch file; the file is removed with it if it is still there.
#[derive(Debug)]
pub(super) struct ScratchFile(PathBuf);

impl ScratchFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Scratch {
    pub(super) fn new(root: &Path) -> Self {
        Self { all: root.join(SCRATCH), mine: Mutex::new(None), next: AtomicU64::new(0) }
    }

    /// A fresh name in a folder that exists.
    pub(super) fn file(&self) -> io::Result<ScratchFile> {
        let mut mine = self.mine.lock();
        // The folder can vanish only if somebody removed the whole store; a write then begins a new one.
        let folder = match &*mine {
            Some(mine) if mine.folder.is_dir() => mine.folder.clone(),
            _ => mine.insert(self.claim()?).folder.clone(),
        };
        drop(mine);
        Ok(ScratchFile(folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())))
    }

    fn claim(&self) -> io::Result<Mine> {
        self.remove_dead();
        let mut last = io::Error::other("no scratch folder");
        for _ in 0..MAX_CLAIMS {
            match self.try_claim() {
                Ok(Some(mine)) => return Ok(mine),
                Ok(None) => {}
                // Another process removed the common folder as empty.
                Err(error) if error.kind() == io::ErrorKind::NotFound => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// `None`: another process tidied the new lock away before it was held.
    fn try_claim(&self) -> io::Result<Option<Mine>> {
        fs::create_dir_all(&self.all)?;
        let name = unique_name();
        let lock_path = self.all.join(format!("{name}.lock"));
        File::create_new(&lock_path)?;
        // Held open for reading only: a file open for writing would keep the file system from becoming read-only.
        let lock = File::open(&lock_path)?;
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        let held = lock.metadata()?;
        if !fs::metadata(&lock_path).is_ok_and(|named| named.ino() == held.ino() && named.dev() == held.dev()) {
            return Ok(None);
        }
        let folder = self.all.join(name);
        fs::create_dir(&folder)?;
        Ok(Some(Mine { folder, lock_path, _lock: lock }))
    }

    /// Removes the folders whose owners are gone. What cannot be removed now is left for the next time.
    fn remove_dead(&self) {
        let Ok(entries) = fs::read_dir(&self.all) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "lock")
                && let Ok(lock) = File::open(&path)
                && lock.try_lock().is_ok()
            {
                let _ = fs::remove_dir_all(path.with_extension(""));
                let _ = fs::remove_file(&path);
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mine) = self.mine.get_mut().take() {
            let _ = fs::remove_dir_all(&mine.folder);
            let _ = fs::remove_file(&mine.lock_path);
            let _ = fs::remove_dir(&self.all);
        }
    }
}
