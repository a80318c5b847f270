//! What can go wrong with output files.

use std::io;
use std::path::PathBuf;

use weir_engine::source::ConnectorError;

use crate::io_errors::may_pass;

/// A failure of a file sink.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FileSinkError {
    #[error("{} is not a directory; name a directory for the output", path.display())]
    NotADirectory { path: PathBuf },
    #[error("the path {} is not UTF-8; name another directory for the output", path.display())]
    Name { path: PathBuf },
    #[error("cannot write to directory {}; make it writable, or name another directory for the output", path.display())]
    Unwritable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot create directory {}; create it, or name another directory for the output", path.display())]
    CreateDirectory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot list {}", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot create {}", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot encode a record as {format}: {reason}")]
    Encode { format: String, reason: String },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the output since the last checkpoint was lost by an earlier failure to write {}", path.display())]
    Lost { path: PathBuf },
    #[error("cannot make {} durable", path.display())]
    Sync {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("handle {handle} is not one of a file sink")]
    Handle {
        handle: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("handle {handle} names a file outside of its directory")]
    HandleName { handle: String },
    #[error("handle {handle} has format {found}; this version knows 1")]
    HandleFormat { handle: String, found: u32 },
    #[error("cannot inspect {}", path.display())]
    Inspect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot rename {} to {}", hidden.display(), target.display())]
    Rename {
        hidden: PathBuf,
        target: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot remove {}", path.display())]
    Remove {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "neither {} nor {} exists: a checkpoint's output is gone; put one of them back, or start without state",
        hidden.display(), target.display()
    )]
    BothGone { hidden: PathBuf, target: PathBuf },
    #[error("{} has {found} bytes, the checkpoint says {expected}: the output is damaged", path.display())]
    Length { path: PathBuf, found: u64, expected: u64 },
    #[error(
        "{} exists with other content than {}: another job writes to this directory; give each job its own",
        target.display(), hidden.display()
    )]
    Taken { hidden: PathBuf, target: PathBuf },
}

impl From<FileSinkError> for ConnectorError {
    fn from(error: FileSinkError) -> Self {
        let message = error.to_string();
        match error {
            FileSinkError::NotADirectory { .. }
            | FileSinkError::Name { .. }
            | FileSinkError::Encode { .. }
            | FileSinkError::Lost { .. }
            | FileSinkError::HandleName { .. }
            | FileSinkError::HandleFormat { .. }
            | FileSinkError::BothGone { .. }
            | FileSinkError::Length { .. }
            | FileSinkError::Taken { .. } => Self::permanent(message),
            FileSinkError::Handle { source, .. } => Self::permanent(message).caused_by(source),
            // After a failed fsync the kernel may have dropped the pages: a second one would succeed without them
            // (https://wiki.postgresql.org/wiki/Fsync_Errors). Only writing the epoch again helps.
            FileSinkError::Sync { source, .. } => Self::permanent(message).caused_by(source),
            FileSinkError::Unwritable { source, .. }
            | FileSinkError::CreateDirectory { source, .. }
            | FileSinkError::List { source, .. }
            | FileSinkError::Create { source, .. }
            | FileSinkError::Write { source, .. }
            | FileSinkError::Inspect { source, .. }
            | FileSinkError::Rename { source, .. }
            | FileSinkError::Remove { source, .. } => {
                let error = if may_pass(&source) { Self::transient(message) } else { Self::permanent(message) };
                error.caused_by(source)
            }
        }
    }
}
