//! Removes a job from its place: runs, manifests, journal. Savepoints are the user's and stay.
//!
//! **Order.** The journal goes last, and its newest entry last of all: as long as anything is left, the place says whose it
//! is, so an interrupted deletion can be gone on with by its owner and by nobody else. A job that was not stopped is not
//! harmed by half of it either: its own journal still fences it, and once that is gone nothing it appends counts.

use weir_protocol::journal::Owner;
use weir_protocol::layout;
use weir_storage::{ObjectStore, Retry, StoreError};

use crate::journal::{JournalError, read_newest};

/// Where probes of the store leave something when they are killed.
const PROBES: &str = "probe/";
/// Objects that are deleted by one call.
const BATCH: usize = 500;
/// How often everything is looked through again: a process that was not stopped may still have written something.
const MOST_PASSES: u32 = 5;

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Deleted {
    /// Objects.
    pub objects: u64,
    /// Uploads in parts that nobody finished.
    pub uploads: u64,
    /// Objects of savepoints that were left where they are.
    pub kept: u64,
}

/// Why a job was not removed.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// Somebody else's job is at this place.
    #[error("the storage holds a job of owner {found}, not of {requested}: it is left as it is")]
    ForeignOwner {
        /// The journal's owner.
        found: Owner,
        /// Who wanted it removed.
        requested: Owner,
    },
    /// Whose it is cannot be told.
    #[error("whose job the storage holds cannot be told")]
    Journal(#[source] JournalError),
    /// The store failed in the middle; the same deletion goes on where this one ended.
    #[error("{folder} cannot be removed")]
    Store {
        /// What was being removed.
        folder: &'static str,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

impl DeleteError {
    /// True if the same deletion may succeed later.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::ForeignOwner { .. } => false,
            Self::Journal(error) => error.retry() == Retry::Yes,
            Self::Store { source, .. } => source.can_retry(),
        }
    }
}

/// Removes the job at `objects`, which must be rooted at the job's own prefix, if it is `owner`'s. A place without a journal
/// is cleared too: that is what an interrupted deletion leaves at the latest.
///
/// # Errors
/// When the job is somebody else's, or the store fails; what is gone by then stays gone.
pub async fn delete_job(objects: &dyn ObjectStore, owner: &Owner) -> Result<Deleted, DeleteError> {
    if let Some(newest) = read_newest(objects).await.map_err(DeleteError::Journal)?
        && newest.head.owner != *owner
    {
        return Err(DeleteError::ForeignOwner { found: newest.head.owner, requested: owner.clone() });
    }
    let mut deleted = Deleted::default();
    let uploads = objects.abort_uploads(layout::RUNS).await;
    deleted.uploads = uploads.map_err(|source| DeleteError::Store { folder: layout::RUNS, source })? as u64;
    for _ in 0..MOST_PASSES {
        let removed = clear_all(objects).await?;
        deleted.objects += removed;
        if removed == 0 {
            break;
        }
    }
    let kept = objects.list(layout::SAVEPOINTS, None).await;
    deleted.kept = kept.map_err(|source| DeleteError::Store { folder: layout::SAVEPOINTS, source })?.len() as u64;
    Ok(deleted)
}

async fn clear_all(objects: &dyn ObjectStore) -> Result<u64, DeleteError> {
    let mut removed = 0;
    for folder in [layout::RUNS, layout::MANIFESTS, PROBES] {
        removed += clear(objects, folder, BATCH, false).await?;
    }
    // Names count down: the oldest entry lists last. One at a time, so that never a newer one goes first.
    removed += clear(objects, layout::JOURNAL, 1, true).await?;
    Ok(removed)
}

async fn clear(
    objects: &dyn ObjectStore,
    folder: &'static str,
    batch: usize,
    from_the_end: bool,
) -> Result<u64, DeleteError> {
    let failed = |source| DeleteError::Store { folder, source };
    let listed = objects.list(folder, None).await.map_err(failed)?;
    let mut keys: Vec<String> = listed.into_iter().map(|object| object.key).collect();
    if from_the_end {
        keys.reverse();
    }
    for some in keys.chunks(batch) {
        objects.delete(some).await.map_err(failed)?;
    }
    Ok(keys.len() as u64)
}
