//! Removes a job from its place: runs, manifests, journal. Savepoints are the user's and stay.
//!
//! **Order.** First an entry is appended that says so ([`weir_protocol::journal::resolve_delete`]). It fences whoever still runs the job, and
//! it stays when everything else is gone: a container that comes back from a lost node finds it and begins nothing, an
//! interrupted deletion can be gone on with by its owner and by nobody else, and another owner begins a new job behind it.
//!
//! **Whose it is** is asked again before every call that deletes: a deletion may take minutes, and somebody else may begin
//! a job of his own behind the deleted one while it is under way.

use bytes::Bytes;
use jiff::Timestamp;
use weir_protocol::journal::machine::CreateOutcome;
use weir_protocol::journal::{
    Attempts, DeleteDecision, Draft, JobStatus, JournalAction, JournalEntry, JournalMachine, Owner, resolve_delete,
};
use weir_protocol::{JobId, Millis, layout};
use weir_storage::{Created, Effect, ObjectStore, Retry, StoreError};

use crate::journal::{JournalError, after_looks, read_newest};
use crate::random::random_id;
use crate::retry::Backoff;

/// Where probes of the store leave something when they are killed.
const PROBES: &str = "probe/";
/// Objects that are deleted by one call.
const BATCH: usize = 500;
/// How often everything is looked through again: a process that was not stopped may still have written something.
const MOST_PASSES: u32 = 5;
/// How often the last entry is tried again because a process that still runs the job appended one meanwhile.
const MOST_BURIALS: u32 = 5;
/// How often one entry is sent while it is not known whether it arrived.
const MOST_CREATES: u32 = 5;

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

/// Removes the job at `objects`, which must be rooted at the job's own prefix, if it is `owner`'s. One journal entry stays and
/// says so, also where no journal was: the owner's container may not have come so far yet.
///
/// # Errors
/// When the job is somebody else's, something still writes it, or the store fails; what is gone by then stays gone.
pub async fn delete_job(objects: &dyn ObjectStore, owner: &Owner) -> Result<Deleted, DeleteError> {
    bury(objects, owner).await?;
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

/// Appends the entry that says that the job is deleted, unless it is there.
async fn bury(objects: &dyn ObjectStore, owner: &Owner) -> Result<(), DeleteError> {
    let mut attempts = Attempts::new(random_id());
    for _ in 0..MOST_BURIALS {
        if try_bury(objects, owner, &mut attempts).await? {
            return Ok(());
        }
    }
    Err(DeleteError::StillWritten)
}

/// False if somebody else appended in this moment.
async fn try_bury(objects: &dyn ObjectStore, owner: &Owner, attempts: &mut Attempts) -> Result<bool, DeleteError> {
    // What the machine would trim goes with everything else.
    let mut machine = JournalMachine::new(u64::MAX / 2);
    let mut actions = machine.open();
    while let Some(action) = after_looks(objects, &mut machine, actions).await.map_err(DeleteError::Journal)? {
        actions = match action {
            JournalAction::Create { sequence, bytes } => {
                let outcome = create(objects, &layout::journal_key(sequence), &bytes).await;
                let outcome = outcome.map_err(|source| DeleteError::Journal(JournalError::Store(source)))?;
                machine.handle_created(sequence, outcome)
            }
            JournalAction::Opened => {
                let found = machine.head().map(|entry| &entry.head);
                match resolve_delete(found, owner, JobId(random_id())) {
                    DeleteDecision::Buried => return Ok(true),
                    DeleteDecision::Foreign(found) => {
                        return Err(DeleteError::ForeignOwner { found, requested: owner.clone() });
                    }
                    DeleteDecision::Bury { kind, head } => {
                        let written_at = Millis(Timestamp::now().as_millisecond());
                        let draft = Draft { kind, head: *head, attempt: attempts.draw(), written_at };
                        machine.append(draft).expect("an open journal takes an append")
                    }
                }
            }
            JournalAction::Appended { .. } => return Ok(true),
            JournalAction::NotAppended | JournalAction::Fenced(_) => return Ok(false),
            // Looks are answered, nothing is validated, nothing trimmed.
            _ => Vec::new(),
        };
    }
    Ok(false)
}

/// Sends an entry until it is known to be there, or not to be.
async fn create(objects: &dyn ObjectStore, key: &str, bytes: &[u8]) -> Result<CreateOutcome, StoreError> {
    let (mut creates, mut backoff) = (0, Backoff::new());
    loop {
        creates += 1;
        match objects.create(key, Bytes::copy_from_slice(bytes)).await {
            Ok(Created::Done) => return Ok(CreateOutcome::Done),
            Ok(Created::Exists) => return Ok(CreateOutcome::Exists),
            // The next deletion finds out: whatever became of this one, it names the same owner.
            Err(error) if error.effect == Effect::NotDone || creates == MOST_CREATES => return Err(error),
            Err(_) => tokio::time::sleep(backoff.next_wait()).await,
        }
    }
}

/// The entry that says that the job is deleted; refuses to touch what is somebody's again by now.
async fn check_buried(objects: &dyn ObjectStore, owner: &Owner) -> Result<JournalEntry, DeleteError> {
    match read_newest(objects).await.map_err(DeleteError::Journal)? {
        Some(newest) if newest.head.owner != *owner => {
            Err(DeleteError::ForeignOwner { found: newest.head.owner, requested: owner.clone() })
        }
        Some(newest) if newest.head.status == JobStatus::Deleted => Ok(newest),
        Some(_) | None => Err(DeleteError::StillWritten),
    }
}

async fn clear_all(objects: &dyn ObjectStore, owner: &Owner) -> Result<u64, DeleteError> {
    let mut removed = 0;
    for folder in [layout::RUNS, layout::MANIFESTS, PROBES] {
        removed += clear(objects, owner, folder, BATCH).await?;
    }
    // Names count down: the oldest entry lists last. One at a time, so that never a newer one goes first.
    removed += clear(objects, owner, layout::JOURNAL, 1).await?;
    Ok(removed)
}

async fn clear(
    objects: &dyn ObjectStore,
    owner: &Owner,
    folder: &'static str,
    batch: usize,
) -> Result<u64, DeleteError> {
    let failed = |source| DeleteError::Store { folder, source };
    let last = check_buried(objects, owner).await?.key();
    let listed = objects.list(folder, None).await.map_err(failed)?;
    let mut keys: Vec<String> = listed.into_iter().map(|object| object.key).filter(|key| *key != last).collect();
    keys.reverse();
    for some in keys.chunks(batch) {
        check_buried(objects, owner).await?;
        objects.delete(some).await.map_err(failed)?;
    }
    Ok(keys.len() as u64)
}
