//! Files as a source: one file, a list, or a directory that may be followed; each file is a split.
//!
//! A position is the offset of the next record in the unpacked bytes, with its line. A plain file is read up to the
//! length it had when it was first opened, so that a reader opened at a position delivers what followed the first time; a
//! file that shrank, changed or vanished since is refused. Files must be complete when they appear under their name: write
//! them under another name first. Names that begin with `.` or `_`, or end in `.tmp` or `.inprogress`, are not looked at.
//!
//! The id of a split is the file's path below the directory (as given, in a list), with `/` between its parts; with
//! [`FileSource::range_bytes`] a plain file consists of the splits `<path>@<range bytes>-<number>`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use weir_engine::record::Record;
use weir_engine::source::{ConnectorError, Position, Source, SplitId, SplitReader};

use crate::compression::Compression;
use crate::format::Decode;

mod discover;
mod error;
mod input;
mod lines;
mod position;
mod reader;
mod records;

pub use error::FileError;

use discover::Roots;
use reader::{OpenFiles, Opener, Part};

/// What happens with a line that is not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The read fails; the line's file, number and text are in the error.
    #[default]
    Fail,
    /// The line is counted ([`FileSource::skipped`]), logged (the first few of every file) and left out.
    Skip,
}

/// Longest line (in CSV: record) in bytes unless the source says otherwise.
pub const DEFAULT_MAX_LINE_BYTES: usize = 16 * 1024 * 1024;

/// Files of a source that are open at a time in one process, unless the source says otherwise.
pub const DEFAULT_OPEN_FILES: usize = 64;

/// Smallest range that a file may be divided into, in bytes.
const MIN_RANGE_BYTES: u64 = 64 * 1024;

/// A source of the records in files.
pub struct FileSource<T> {
    roots: Roots,
    follow: Option<Duration>,
    options: Options,
    opener: Arc<dyn Opener<T>>,
}

/// What readers need to know.
#[derive(Debug, Clone)]
struct Options {
    compression: Option<Compression>,
    on_error: OnError,
    max_line_bytes: usize,
    range_bytes: Option<u64>,
    skipped: Arc<AtomicU64>,
    open_files: OpenFiles,
}

impl Options {
    fn compression(&self, path: &Path) -> Compression {
        self.compression.unwrap_or_else(|| Compression::of_path(path))
    }
}

impl<T: Record> FileSource<T> {
    /// The records of a file, or of all files in a directory.
    pub fn new(path: impl Into<PathBuf>, format: impl Decode<Item = T>) -> Self {
        Self::with_roots(Roots::Path { path: path.into(), recursive: false }, format)
    }

    /// The records of these files.
    pub fn list(paths: impl IntoIterator<Item = impl Into<PathBuf>>, format: impl Decode<Item = T>) -> Self {
        Self::with_roots(Roots::List(paths.into_iter().map(Into::into).collect()), format)
    }

    fn with_roots(roots: Roots, format: impl Decode<Item = T>) -> Self {
        let options = Options {
            compression: None,
            on_error: OnError::Fail,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            range_bytes: None,
            skipped: Arc::default(),
            open_files: OpenFiles::new(DEFAULT_OPEN_FILES),
        };
        Self { roots, follow: None, options, opener: reader::opener(format) }
    }

    /// Also reads the files in directories below the directory.
    #[must_use]
    pub fn recursive(mut self) -> Self {
        if let Roots::Path { recursive, .. } = &mut self.roots {
            *recursive = true;
        }
        self
    }

    /// Goes on looking for new files in the directory; the source then never ends.
    #[must_use]
    pub fn follow(mut self, interval: Duration) -> Self {
        self.follow = Some(interval);
        self
    }

    /// The compression of all files, instead of what their extensions say.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = Some(compression);
        self
    }

    /// What happens with a line that is not a record.
    #[must_use]
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.options.on_error = on_error;
        self
    }

    /// The longest line (in CSV: record) in bytes; longer ones are errors. It bounds a reader's memory.
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.options.max_line_bytes = bytes.max(1);
        self
    }

    /// How many files are open at a time in one process (at least one). The splits of the others wait, and hold the watermark back.
    #[must_use]
    pub fn open_files(mut self, most: usize) -> Self {
        self.options.open_files = OpenFiles::new(most);
        self
    }

    /// Divides plain files into splits of this many bytes (at least 64 KiB), to be read in parallel. No record may contain a line end,
    /// errors name byte offsets instead of lines, and the size cannot change while a job has state.
    #[must_use]
    pub fn range_bytes(mut self, bytes: u64) -> Self {
        self.options.range_bytes = Some(bytes.max(MIN_RANGE_BYTES));
        self
    }

    /// Counts the lines left out under [`OnError::Skip`] since this source was made; may be watched while it is read.
    pub fn skipped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.options.skipped)
    }
}

impl<T: Record> Source for FileSource<T> {
    type Item = T;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        let mut splits = Vec::new();
        for file in self.roots.list()? {
            let ranged = self.options.compression(&file.path) == Compression::None;
            match self.options.range_bytes {
                Some(size) if ranged => {
                    let ranges = file.length.div_ceil(size).max(1);
                    splits.extend((0..ranges).map(|index| SplitId(format!("{}@{size}-{index}", file.name))));
                }
                _ => splits.push(SplitId(file.name)),
            }
        }
        Ok(splits)
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = T>>, ConnectorError> {
        let file = self.resolve(split)?;
        let position = position.map(|position| position::parse(split, position)).transpose()?;
        Ok(self.opener.open(file, position, &self.options)?)
    }

    fn is_bounded(&self) -> bool {
        self.follow.is_none()
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.follow
    }
}

impl<T> FileSource<T> {
    /// The file, or the part of it, that a split names.
    fn resolve(&self, split: &SplitId) -> Result<Part, FileError> {
        let whole = || -> Result<Part, FileError> {
            let path = self.roots.path_of(&split.0)?;
            let compression = self.options.compression(&path);
            Ok(Part { path, compression, range: None })
        };
        let Some(size) = self.options.range_bytes else { return whole() };
        let Some((name, index)) = parse_range(&split.0, size) else {
            let file = whole()?;
            return match file.compression {
                Compression::None => Err(FileError::OtherRanges { split: split.0.clone(), size }),
                Compression::Gzip | Compression::Zstd => Ok(file),
            };
        };
        let path = self.roots.path_of(name)?;
        let start = index.saturating_mul(size);
        Ok(Part { path, compression: Compression::None, range: Some(start..start.saturating_add(size)) })
    }
}

/// Takes `<name>@<size>-<index>` apart.
fn parse_range(split: &str, size: u64) -> Option<(&str, u64)> {
    let (name, range) = split.rsplit_once('@')?;
    let (found, index) = range.split_once('-')?;
    (found.parse() == Ok(size)).then_some((name, index.parse().ok()?))
}

#[cfg(test)]
mod tests;
