//! What can go wrong with files.

use std::io;
use std::path::PathBuf;

use weir_engine::source::ConnectorError;

use crate::compression::Compression;
use crate::io_errors::may_pass;

/// Where in a file: a line counted from 1, or an offset where lines are not counted (in ranges).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line number.
    Line(u64),
    /// Byte offset in the unpacked file.
    Byte(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, ":{line}"),
            Self::Byte(byte) => write!(f, " at byte {byte}"),
        }
    }
}

/// A failure of a file source.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileError {
    #[error("{} does not exist; create it, or correct the path", path.display())]
    Missing { path: PathBuf },
    #[error("cannot list {}", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is named twice in the list of files", path.display())]
    NamedTwice { path: PathBuf },
    #[error("the name of {} is not UTF-8; rename it, or begin its name with a dot to have it ignored", path.display())]
    Name { path: PathBuf },
    #[error("split {split} is not among the files of this source")]
    Foreign { split: String },
    #[error("split {split} is not a range of {size} bytes; the range size of a job with state cannot change")]
    OtherRanges { split: String, size: u64 },
    #[error("position {position} does not belong to split {split}")]
    Position {
        split: String,
        position: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{} is gone, and the checkpoint stands at byte {offset} of it; put it back, or start without state", path.display())]
    Gone { path: PathBuf, offset: u64 },
    #[error("{} shrank from {before} to {now} bytes since the checkpoint; put the original back, or start without state", path.display())]
    Shrank { path: PathBuf, before: u64, now: u64 },
    #[error("{} changed from {before} to {now} compressed bytes since the checkpoint; put the original back, or start without state", path.display())]
    Changed { path: PathBuf, before: u64, now: u64 },
    #[error("{} unpacks to {now} bytes, and the checkpoint stands at byte {offset}; put the original back, or start without state", path.display())]
    ShrankInside { path: PathBuf, offset: u64, now: u64 },
    #[error("cannot open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read {}{place}", path.display())]
    Read {
        path: PathBuf,
        place: Place,
        #[source]
        source: io::Error,
    },
    #[error("{}{place}: the {compression} data is damaged or cut off from here", path.display())]
    Damaged {
        path: PathBuf,
        place: Place,
        compression: Compression,
        #[source]
        source: io::Error,
    },
    #[error("{}{place}: {reason}: {text}", path.display())]
    Record { path: PathBuf, place: Place, reason: String, text: String },
    #[error("{}{place}: longer than {max} bytes (the source's max_line_bytes): {text}", path.display())]
    TooLong { path: PathBuf, place: Place, max: usize, text: String },
}

impl From<FileError> for ConnectorError {
    fn from(error: FileError) -> Self {
        let message = error.to_string();
        match error {
            FileError::Missing { .. }
            | FileError::NamedTwice { .. }
            | FileError::Name { .. }
            | FileError::Foreign { .. }
            | FileError::OtherRanges { .. }
            | FileError::Gone { .. }
            | FileError::Shrank { .. }
            | FileError::Changed { .. }
            | FileError::ShrankInside { .. }
            | FileError::Record { .. }
            | FileError::TooLong { .. } => Self::permanent(message),
            FileError::Position { source, .. } => Self::permanent(message).caused_by(source),
            FileError::Damaged { source, .. } => Self::permanent(message).caused_by(source),
            FileError::List { source, .. } | FileError::Open { source, .. } | FileError::Read { source, .. } => {
                let error = if may_pass(&source) { Self::transient(message) } else { Self::permanent(message) };
                error.caused_by(source)
            }
        }
    }
}

/// Bytes of a line that an error shows.
const SHOWN_BYTES: usize = 120;

/// A line as errors show it: quoted, escaped, cut off.
pub(super) fn shown(line: &[u8]) -> String {
    let cut = &line[..line.len().min(SHOWN_BYTES)];
    let dots = if cut.len() < line.len() { "…" } else { "" };
    format!("\"{}{dots}\"", String::from_utf8_lossy(cut).escape_debug())
}
