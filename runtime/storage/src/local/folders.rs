//! Folders that appear durably with their first object and vanish with their last.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Makes a folder and those above it, each one's name synced into the folder above.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => sync_above(folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(above) = folder.parent() else { return Err(error) };
            make_folder(above)?;
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => sync_above(folder),
            }
        }
        // Another writer made it: whether it synced the name already is unknown.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => sync_above(folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::new(io::ErrorKind::NotADirectory, error))
        }
        Err(error) => Err(error),
    }
}

fn sync_above(folder: &Path) -> io::Result<()> {
    folder.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Syncs the folder, or the nearest one above it that is there: who removes its last object removes the folder too.
pub(super) fn sync_nearest(folder: &Path) -> io::Result<()> {
    match sync_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => folder.parent().map_or(Ok(()), sync_nearest),
        result => result,
    }
}

/// Removes a folder and those above it, below `root`, as far as they are empty.
pub(super) fn prune_folders(root: &Path, folder: &Path) {
    let mut folder = folder;
    while folder != root && folder.starts_with(root) && fs::remove_dir(folder).is_ok() {
        let Some(above) = folder.parent() else { return };
        folder = above;
    }
}
