//! Removes a job from its place: runs, manifests, journal. Savepoints are the user's and stay.
//!
//! **Order.** The journal goes last, and its newest entry last of all: as long as anything is left, the place says whose it
//! is, so an interrupted deletion can be gone on with by its owner and by nobody else. A job that was not stopped is not
//! harmed by half of it either: its own journal still fences it, and once that is gone nothing it appends counts.
//!
//! **Whose it is** is asked again before every call that deletes: a deletion may take minutes, and somebody else may adopt
//! the job, or begin one of his own where the journal was, while it is under way.

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
    /// New objects came as fast as they were removed.
    #[error("something still writes below the job's prefix: end the job's processes first")]
    StillWritten,
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
            Self::StillWritten => true,
            Self::Store { source, .. } => source.can_retry(),
        }
    }
}

/// Removes the job at `objects`, which must be rooted at the job's own prefix, if it is `owner`'s. A place without a journal
/// is cleared too: that is what an interrupted deletion leaves at the latest.
///
/// # Errors
/// When the job is somebody else's, something still writes it, or the store fails; what is gone by then stays gone.
pub async fn delete_job(objects: &dyn ObjectStore, owner: &Owner) -> Result<Deleted, DeleteError> {
    check_owner(objects, owner).await?;
    let mut deleted = Deleted::default();
    let uploads = objects.abort_uploads(layout::RUNS).await;
    deleted.uploads = uploads.map_err(|source| DeleteError::Store { folder: layout::RUNS, source })? as u64;
    for pass in 1..=MOST_PASSES {
        let removed = clear_all(objects, owner).await?;
        deleted.objects += removed;
        if removed == 0 {
            break;
        }
        if pass == MOST_PASSES {
            return Err(DeleteError::StillWritten);
        }
    }
    let kept = objects.list(layout::SAVEPOINTS, None).await;
    deleted.kept = kept.map_err(|source| DeleteError::Store { folder: layout::SAVEPOINTS, source })?.len() as u64;
    Ok(deleted)
}

/// Refuses to touch what is somebody else's by now.
async fn check_owner(objects: &dyn ObjectStore, owner: &Owner) -> Result<(), DeleteError> {
    match read_newest(objects).await.map_err(DeleteError::Journal)? {
        Some(newest) if newest.head.owner != *owner => {
            Err(DeleteError::ForeignOwner { found: newest.head.owner, requested: owner.clone() })
        }
        Some(_) | None => Ok(()),
    }
}

async fn clear_all(objects: &dyn ObjectStore, owner: &Owner) -> Result<u64, DeleteError> {
    let mut removed = 0;
    for folder in [layout::RUNS, layout::MANIFESTS, PROBES] {
        removed += clear(objects, owner, folder, BATCH, false).await?;
    }
    // Names count down: the oldest entry lists last. One at a time, so that never a newer one goes first.
    removed += clear(objects, owner, layout::JOURNAL, 1, true).await?;
    Ok(removed)
}

async fn clear(
    objects: &dyn ObjectStore,
    owner: &Owner,
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
        check_owner(objects, owner).await?;
        objects.delete(some).await.map_err(failed)?;
    }
    Ok(keys.len() as u64)
}
