//! What is in a bucket or directory: `weir inspect`.
//!
//! Everything here reads, and reads only what the protocol documents: journal, manifests, objects. It needs no running
//! job and changes nothing. Each view is made in two steps: read what is stored into values, then turn values into a
//! report that serialises to JSON and renders as text.

use std::fmt;

use weir_protocol::stored::StoredError;
use weir_storage::{OpenError, StoreError};

mod chart;
mod checkpoints;
mod garbage;
mod impact;
mod journal;
mod model;
mod overview;
mod read;
mod target;
mod timeline;
mod verify;

pub use checkpoints::{CheckpointRow, Checkpoints, Phases, SubtaskRow, checkpoints};
pub use garbage::{Heap, Inventory};
pub use impact::{Impact, impact};
pub use journal::{JournalLine, JournalLines, journal};
pub use model::{Checkpoint, History, Savepoint};
pub(crate) use overview::restores;
pub use overview::{Overview, overview};
pub use read::{read_entries, read_history, read_inventory, read_savepoint, read_savepoints};
pub use target::{Access, Found, JobRoot, find, open};
pub use timeline::timeline;
pub use verify::{Damage, Verification, verify};

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// The place cannot be opened.
    #[error("cannot open {place}")]
    Open {
        /// The place as given.
        place: String,
        /// Why not.
        #[source]
        source: OpenError,
    },
    /// A path that is neither a URI, nor a directory, nor a manifest.
    #[error(
        "found {place:?}; allowed: file:///directory, s3://bucket/prefix, the path of a directory or of a manifest; {hint}"
    )]
    NoPlace {
        /// The place as given.
        place: String,
        /// What to do.
        hint: String,
    },
    /// The store did not answer, or said no.
    #[error("cannot read {place}")]
    Store {
        /// The place.
        place: String,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// Nothing of Weir's is there.
    #[error("{place} holds no Weir job: {found}")]
    NotAJob {
        /// The place.
        place: String,
        /// What is there instead.
        found: Contents,
    },
    /// Several jobs are below the place.
    #[error("{place} holds {} jobs: name one of {}", .jobs.len(), .jobs.join(", "))]
    SeveralJobs {
        /// The place.
        place: String,
        /// Their URIs.
        jobs: Vec<String>,
    },
    /// A record is damaged.
    #[error("damaged object in {place}")]
    Damaged {
        /// The place.
        place: String,
        /// Which one, and how.
        #[source]
        source: StoredError,
    },
    /// A savepoint where a job is needed.
    #[error("{place} is a savepoint, not a job: it has no {what}")]
    OnlyASavepoint {
        /// The place.
        place: String,
        /// What was asked for.
        what: &'static str,
    },
    /// Entries went away faster than they could be read.
    #[error("{place} changed again and again while it was read: try again")]
    Moving {
        /// The place.
        place: String,
    },
    /// A checkpoint that is not retained.
    #[error("checkpoint {id} is not retained; retained are: {retained}")]
    NoCheckpoint {
        /// The id asked for.
        id: u64,
        /// The ids there are.
        retained: String,
    },
    /// A report that `weir run --report` did not write.
    #[error("cannot read the report {file}")]
    Report {
        /// The file.
        file: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What is at a place that is no job: the first few names and how many objects each of them stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    names: Vec<(String, usize)>,
    more: usize,
}

/// Names that a message lists.
const NAMES_SHOWN: usize = 8;

impl Contents {
    fn of<'a>(keys: impl Iterator<Item = &'a str>) -> Self {
        let mut names: Vec<(String, usize)> = Vec::new();
        for key in keys {
            let name = key.split_once('/').map_or_else(|| key.to_owned(), |(folder, _)| format!("{folder}/"));
            match names.last_mut() {
                Some((last, count)) if *last == name => *count += 1,
                _ => names.push((name, 1)),
            }
        }
        let more = names.len().saturating_sub(NAMES_SHOWN);
        names.truncate(NAMES_SHOWN);
        Self { names, more }
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("it is empty, or does not exist");
        }
        f.write_str("there is ")?;
        for (index, (name, count)) in self.names.iter().enumerate() {
            let gap = if index > 0 { ", " } else { "" };
            match count {
                1 => write!(f, "{gap}{name}")?,
                count => write!(f, "{gap}{name} ({count} objects)")?,
            }
        }
        if self.more > 0 { write!(f, " and {} more", self.more) } else { Ok(()) }
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
