//! Files as an exactly-once sink.
//!
//! Each subtask writes the records of an epoch to hidden files in the target directory. *Freeze* hands the open files
//! over, *prepare* makes them durable behind the stream, *commit* renames them: at any moment a reader of the directory
//! that ignores names with a leading dot sees exactly the records of committed checkpoints, in whole files.
//!
//! | | name |
//! |---|---|
//! | hidden | `.weir-<hash of the job id>-<operator>-<subtask>-g<generation>-<number>.inprogress` |
//! | final | `<operator>-<epoch, ten digits>-<subtask>.<extension>`, further files of an epoch `…-<subtask>_<part>.<extension>` |
//!
//! The final name is fixed when the epoch is frozen and stored in the checkpoint, so that a commit can be repeated by
//! anyone. A hidden file carries a number instead of its epoch, which is not known before its barrier arrives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use weir_engine::record::Record;
use weir_engine::sink::{Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::ConnectorError;

use crate::compression::Compression;
use crate::format::{Csv, Encode, JsonLines};
use crate::lines_out::{LineEncoder, Lines};

mod committer;
mod directory;
mod error;
mod handle;
mod names;
mod packer;
mod part;
mod writer;

pub use error::FileSinkError;

use committer::FileCommitter;
use names::Author;
use writer::FileWriter;

/// Size at which a file is closed and the epoch goes on in another, unless the sink says otherwise.
pub const DEFAULT_ROLL_BYTES: u64 = 1024 * 1024 * 1024;
/// Encoded bytes that a subtask holds before it writes them, unless the sink says otherwise.
pub const DEFAULT_BUFFER_BYTES: usize = 256 * 1024;
/// Smallest size at which a file may be closed.
const MIN_ROLL_BYTES: u64 = 64 * 1024;

/// A sink that writes files to a directory.
pub struct FileSink<T> {
    settings: Arc<Settings>,
    lines: Arc<dyn Lines<T>>,
}

/// What writers need to know.
#[derive(Debug, Clone)]
struct Settings {
    directory: PathBuf,
    compression: Compression,
    roll_bytes: u64,
    buffer_bytes: usize,
}

impl<T: Record> FileSink<T> {
    /// Files in this format in `directory`, which is created if it does not exist.
    pub fn new(directory: impl Into<PathBuf>, format: impl Encode<T>) -> Self {
        let settings = Settings {
            directory: directory.into(),
            compression: Compression::None,
            roll_bytes: DEFAULT_ROLL_BYTES,
            buffer_bytes: DEFAULT_BUFFER_BYTES,
        };
        Self { settings: Arc::new(settings), lines: Arc::new(format) }
    }

    /// JSON Lines.
    pub fn json_lines(directory: impl Into<PathBuf>) -> Self
    where
        T: Serialize,
    {
        Self::new(directory, JsonLines::new())
    }

    /// CSV without a header.
    pub fn csv(directory: impl Into<PathBuf>) -> Self
    where
        T: Serialize,
    {
        Self::new(directory, Csv::new())
    }

    /// Packs the files; their names get a further extension (`.gz`, `.zst`).
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        Arc::make_mut(&mut self.settings).compression = compression;
        self
    }

    /// The size in bytes on disk (at least 64 KiB) at which a file is closed and the epoch goes on in another.
    #[must_use]
    pub fn roll_bytes(mut self, bytes: u64) -> Self {
        Arc::make_mut(&mut self.settings).roll_bytes = bytes.max(MIN_ROLL_BYTES);
        self
    }

    /// Encoded bytes that a subtask holds before it writes them.
    #[must_use]
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.settings).buffer_bytes = bytes;
        self
    }

    /// The target directory.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }
}

impl<T: Record> Sink for FileSink<T> {
    type Item = T;

    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        directory::create(&self.settings.directory)?;
        let encoder: Box<dyn LineEncoder<T>> = self.lines.encoder();
        Ok(Box::new(FileWriter::new(Arc::clone(&self.settings), Author::new(ctx), encoder)))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        Some(Box::new(FileCommitter::new(self.settings.directory.clone())))
    }

    fn check(&self) -> Result<(), ConnectorError> {
        Ok(directory::check(&self.settings.directory)?)
    }
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
