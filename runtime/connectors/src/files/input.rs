//! The bytes of a file: checked against the checkpoint, opened, skipped.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::error::{FileError, Place};
use super::position::FilePosition;
use crate::compression::Compression;

/// The length up to which the file is read, after comparing it with what the checkpoint says.
pub(super) fn checked_length(
    path: &Path,
    compression: Compression,
    position: Option<FilePosition>,
) -> Result<u64, FileError> {
    let path = || path.to_owned();
    let now = match (std::fs::metadata(path()), position) {
        (Ok(metadata), _) => metadata.len(),
        (Err(error), Some(position)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::Gone { path: path(), offset: position.offset });
        }
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::Missing { path: path() });
        }
        (Err(source), _) => return Err(FileError::Open { path: path(), source }),
    };
    let Some(FilePosition { length: before, .. }) = position else { return Ok(now) };
    match compression {
        Compression::None if now < before => Err(FileError::Shrank { path: path(), before, now }),
        Compression::Gzip | Compression::Zstd if now != before => Err(FileError::Changed { path: path(), before, now }),
        Compression::None | Compression::Gzip | Compression::Zstd => Ok(before),
    }
}

/// The unpacked bytes from `offset` on, of the first `length` bytes of the file.
pub(super) fn input(
    path: &Path,
    compression: Compression,
    length: u64,
    offset: u64,
) -> Result<Box<dyn Read + Send>, FileError> {
    let failed = |source| FileError::Open { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    match compression {
        Compression::None => {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
            Ok(Box::new(file.take(length.saturating_sub(offset))))
        }
        Compression::Gzip | Compression::Zstd => {
            let mut unpacked = compression.unpack(file).map_err(failed)?;
            skip(&mut unpacked, offset, path, compression)?;
            Ok(unpacked)
        }
    }
}

/// Unpacks and drops `bytes` bytes.
fn skip(input: &mut impl Read, bytes: u64, path: &Path, compression: Compression) -> Result<(), FileError> {
    let skipped = io::copy(&mut input.by_ref().take(bytes), &mut io::sink())
        .map_err(|source| read_error(path, compression, Place::Byte(bytes), source))?;
    if skipped < bytes {
        return Err(FileError::ShrankInside { path: path.to_owned(), offset: bytes, now: skipped });
    }
    Ok(())
}

/// Errors of the operating system carry its number; all others come from the unpacking.
pub(super) fn read_error(path: &Path, compression: Compression, place: Place, source: io::Error) -> FileError {
    let path = path.to_owned();
    match compression {
        Compression::Gzip | Compression::Zstd if source.raw_os_error().is_none() => {
            FileError::Damaged { path, place, compression, source }
        }
        Compression::None | Compression::Gzip | Compression::Zstd => FileError::Read { path, place, source },
    }
}
