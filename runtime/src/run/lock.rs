//! One process per work directory.
//!
//! What is in the directory is only a cache, but two databases in it would break each other. The lock is the kernel's and
//! goes with the process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Name of the locked file; it holds the id of the process.
const NAME: &str = "lock";

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// It cannot be made or written to.
    #[error("cannot use the work directory {directory}: choose another --work-dir")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process is in it.
    #[error("process {process} runs in the work directory {directory}: stop it, or give this one another --work-dir")]
    Taken {
        /// The directory.
        directory: PathBuf,
        /// Its id.
        process: String,
    },
}

/// A work directory that is ours until this is dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    _lock: File,
}

/// Makes the directory if it is missing, and takes it.
pub(crate) fn take(directory: &Path) -> Result<WorkDir, LockError> {
    let failed = |source| LockError::Directory { directory: directory.to_owned(), source };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let path = directory.join(NAME);
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = file.read_to_string(&mut process);
            let process = process.trim().to_owned();
            return Err(LockError::Taken { directory: directory.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed)?;
    Ok(WorkDir { _lock: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_work_directory_has_one_process_at_a_time() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("a/b");
        let taken = take(&directory).unwrap();
        assert_eq!(
            take(&directory).unwrap_err().to_string(),
            format!(
                "process {} runs in the work directory {}: stop it, or give this one another --work-dir",
                std::process::id(),
                directory.display()
            )
        );
        drop(taken);
        take(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let base = tempfile::tempdir().unwrap();
        let file = base.path().join("file");
        std::fs::write(&file, "").unwrap();
        let directory = file.join("work");
        let error = take(&directory).unwrap_err();
        assert_eq!(
            crate::cli::chain(&error),
            format!(
                "cannot use the work directory {}: choose another --work-dir: Not a directory (os error 20)",
                directory.display()
            )
        );
    }
}
