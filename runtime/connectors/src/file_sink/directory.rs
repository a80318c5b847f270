//! The target directory: checked before a job runs, created when it does, made durable after each change.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::FileSinkError;

/// Finds out whether files can be written to the directory, or the directory can be created; leaves nothing behind.
pub(super) fn check(directory: &Path) -> Result<(), FileSinkError> {
    if directory.to_str().is_none() {
        return Err(FileSinkError::Name { path: directory.to_owned() });
    }
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => {
            probe(directory).map_err(|source| FileSinkError::Unwritable { path: directory.to_owned(), source })
        }
        Ok(_) => Err(FileSinkError::NotADirectory { path: directory.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing_parent(directory);
            probe(parent).map_err(|source| FileSinkError::CreateDirectory { path: directory.to_owned(), source })
        }
        Err(source) => Err(FileSinkError::CreateDirectory { path: directory.to_owned(), source }),
    }
}

/// Creates the directory and whatever is missing above it, durably.
pub(super) fn create(directory: &Path) -> Result<(), FileSinkError> {
    if directory.is_dir() {
        return Ok(());
    }
    let failed = |source| FileSinkError::CreateDirectory { path: directory.to_owned(), source };
    let parent = parent(directory);
    if parent != directory {
        create(parent)?;
    }
    match fs::create_dir(directory) {
        Ok(()) => {}
        // By another subtask, just now.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => {}
        Err(source) => return Err(failed(source)),
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)
}

/// Makes the names in the directory durable.
pub(super) fn sync(directory: &Path) -> Result<(), FileSinkError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| FileSinkError::Sync { path: directory.to_owned(), source })
}

/// The file has no name (`O_TMPFILE`), so that a process that is killed here leaves nothing behind.
fn probe(directory: &Path) -> io::Result<()> {
    tempfile::tempfile_in(directory).map(drop)
}

/// The directory above; for a single relative name the current one.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn existing_parent(path: &Path) -> &Path {
    let mut path = parent(path);
    while !path.exists() && parent(path) != path {
        path = parent(path);
    }
    path
}
