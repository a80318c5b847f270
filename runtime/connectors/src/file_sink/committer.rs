//! Making prepared files visible, and removing those that no checkpoint names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use weir_engine::sink::{Handle, SinkCommitter, SinkContext};
use weir_engine::source::ConnectorError;

use super::directory;
use super::error::FileSinkError;
use super::handle::FileHandle;
use super::names::Author;

/// Bytes that a checksum is computed of at a time.
const CHECKSUM_BLOCK_BYTES: usize = 256 * 1024;

/// Commits and aborts for all subtasks.
pub(super) struct FileCommitter {
    directory: PathBuf,
}

impl FileCommitter {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

/// What a commit finds, and what is left to do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Rename,
    /// Committed before; whoever did it may have died before the name was durable.
    Sync,
    /// Both names exist: the same content twice is one commit, anything else a collision.
    Compare,
}

/// Decides from the lengths of the hidden and the final file.
fn resolve_commit(handle: &FileHandle, hidden: Option<u64>, target: Option<u64>) -> Result<Step, FileSinkError> {
    let length = |path: PathBuf, found: u64| match found == handle.bytes {
        true => Ok(()),
        false => Err(FileSinkError::Length { path, found, expected: handle.bytes }),
    };
    match (hidden, target) {
        (Some(bytes), None) => length(handle.hidden_path(), bytes).map(|()| Step::Rename),
        (None, Some(bytes)) => length(handle.target_path(), bytes).map(|()| Step::Sync),
        (Some(_), Some(_)) => Ok(Step::Compare),
        (None, None) => Err(FileSinkError::BothGone { hidden: handle.hidden_path(), target: handle.target_path() }),
    }
}

fn commit(handle: &FileHandle) -> Result<(), FileSinkError> {
    let (hidden, target) = (handle.hidden_path(), handle.target_path());
    match resolve_commit(handle, length(&hidden)?, length(&target)?)? {
        Step::Sync => {}
        Step::Rename => match fs::rename(&hidden, &target) {
            Ok(()) => {}
            // Another committer was faster; a file of this length is now there, or nothing is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                resolve_commit(handle, None, length(&target)?)?;
            }
            Err(source) => return Err(FileSinkError::Rename { hidden, target, source }),
        },
        Step::Compare => {
            if length(&target)? != Some(handle.bytes) || checksum(&target)? != handle.crc32c {
                return Err(FileSinkError::Taken { hidden, target });
            }
            remove(&hidden)?;
        }
    }
    directory::sync(handle.directory())
}

fn abort_except(directory: &Path, ctx: &SinkContext, keep: &[Handle]) -> Result<(), FileSinkError> {
    let kept: BTreeSet<String> =
        keep.iter().map(|handle| FileHandle::parse(handle).map(|handle| handle.hidden)).collect::<Result<_, _>>()?;
    let author = Author::new(ctx);
    let listing = |source| FileSinkError::List { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(listing(source)),
    };
    for entry in entries {
        let entry = entry.map_err(listing)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(generation) = author.generation_of(name) else { continue };
        if generation < ctx.generation && !kept.contains(name) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

impl SinkCommitter for FileCommitter {
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError> {
        Ok(commit(&FileHandle::parse(handle)?)?)
    }

    fn abort_except(&self, ctx: &SinkContext, keep: &[Handle]) -> Result<(), ConnectorError> {
        Ok(abort_except(&self.directory, ctx, keep)?)
    }
}

fn length(path: &Path) -> Result<Option<u64>, FileSinkError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileSinkError::Inspect { path: path.to_owned(), source }),
    }
}

/// Removes a file; one that is gone already is fine.
fn remove(path: &Path) -> Result<(), FileSinkError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileSinkError::Remove { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

fn checksum(path: &Path) -> Result<u32, FileSinkError> {
    let failed = |source| FileSinkError::Inspect { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut block = vec![0; CHECKSUM_BLOCK_BYTES];
    let mut crc32c = 0;
    loop {
        let bytes = file.read(&mut block).map_err(failed)?;
        if bytes == 0 {
            return Ok(crc32c);
        }
        crc32c = crc32c::crc32c_append(crc32c, &block[..bytes]);
    }
}
