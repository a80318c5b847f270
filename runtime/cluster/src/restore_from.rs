//! What `restoreFrom` means: looks at the places it names and says what the start has to decide on.
//!
//! A value that a claim has consumed is not looked at again: its savepoint may be gone by now.

use std::sync::Arc;

use weir_api::resolved::RestoreFrom;
use weir_protocol::journal::{JournalEntry, RestoreRecord, RestoreRequest, RestoreTarget};
use weir_protocol::layout;
use weir_protocol::{CheckpointId, Manifest, ObjectRef};
use weir_storage::{ObjectStore, Retry, StoreError};

use crate::journal::{JournalError, read_newest};
use crate::options::RunOptions;
use crate::outcome::Remedy;
use crate::retry::chain;

/// Name of a savepoint's manifest, relative to the savepoint's own place.
const SAVEPOINT_MANIFEST: &str = "manifest.json";

/// Why `restoreFrom` names nothing to start from. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum RestoreFromError {
    /// The run was given no way to open other places.
    #[error("{uri} is another place, which this run has no access to")]
    NoOpener {
        /// The place.
        uri: String,
    },
    /// The place cannot be opened.
    #[error("{uri} cannot be opened: {reason}")]
    Open {
        /// The place.
        uri: String,
        /// Why.
        reason: String,
    },
    /// There is no savepoint.
    #[error(
        "{uri} holds no complete savepoint: name the folder <job>/savepoints/<name>; its {SAVEPOINT_MANIFEST} is written last"
    )]
    NoSavepoint {
        /// The place.
        uri: String,
    },
    /// There is no journal.
    #[error("{uri} holds no journal: name the job's folder <storage.uri>/<namespace>/<name>")]
    NoJournal {
        /// The place.
        uri: String,
    },
    /// The other job has no checkpoint.
    #[error("the job at {uri} has no completed checkpoint")]
    NoCheckpoint {
        /// The place.
        uri: String,
    },
    /// The other job may still write.
    #[error("the job at {uri} still runs: stop it first, or name one of its savepoints")]
    StillRuns {
        /// The place.
        uri: String,
    },
    /// The other job's last output may be hidden still.
    #[error(
        "output of checkpoint {checkpoint} of the job at {uri} is not committed yet: start that job and stop it once more"
    )]
    Uncommitted {
        /// The place.
        uri: String,
        /// The checkpoint.
        checkpoint: CheckpointId,
    },
    /// The other journal cannot be looked at.
    #[error("the journal at {uri} cannot be looked at: {reason}")]
    Journal {
        /// The place.
        uri: String,
        /// Why.
        reason: String,
        /// Whether it may come later.
        retry: Retry,
        /// What helps.
        remedy: Remedy,
    },
    /// This job's own journal cannot be looked at.
    #[error(transparent)]
    Own(JournalError),
    /// A manifest is damaged or does not come.
    #[error("manifest {key} in {uri} cannot be read: {reason}")]
    Manifest {
        /// The place.
        uri: String,
        /// The object.
        key: String,
        /// Why.
        reason: String,
        /// Whether it may come later.
        retry: Retry,
        /// What helps.
        remedy: Remedy,
    },
}

impl RestoreFromError {
    /// True if the storage did not answer, and may do so later.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Own(error) => error.retry() == Retry::Yes,
            Self::Journal { retry, .. } | Self::Manifest { retry, .. } => *retry == Retry::Yes,
            Self::NoOpener { .. }
            | Self::Open { .. }
            | Self::NoSavepoint { .. }
            | Self::NoJournal { .. }
            | Self::NoCheckpoint { .. }
            | Self::StillRuns { .. }
            | Self::Uncommitted { .. } => false,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Own(error) => error.remedy(),
            Self::Journal { remedy, .. } | Self::Manifest { remedy, .. } => *remedy,
            Self::NoOpener { .. }
            | Self::Open { .. }
            | Self::NoSavepoint { .. }
            | Self::NoJournal { .. }
            | Self::NoCheckpoint { .. }
            | Self::StillRuns { .. }
            | Self::Uncommitted { .. } => Remedy::Change,
        }
    }
}

/// Resolves the job's `restoreFrom`, if it has one.
///
/// # Errors
/// When it names nothing to start from; says the way out.
pub(crate) async fn resolve_restore_from(options: &RunOptions) -> Result<Option<RestoreRequest>, RestoreFromError> {
    let Some(wanted) = &options.job.restore_from else { return Ok(None) };
    let record = RestoreRecord(serde_json::to_string(wanted).expect("a resolved restoreFrom is JSON"));
    let own = read_newest(&*options.objects).await.map_err(RestoreFromError::Own)?;
    let is_consumed =
        own.as_ref().is_some_and(|entry| entry.head.owner == options.owner && entry.head.has_consumed(&record));
    if is_consumed {
        return Ok(None);
    }
    Ok(Some(RestoreRequest {
        record,
        target: resolve_target(options, wanted.target()).await?,
        allow_duplicates: wanted.allows_duplicates(),
    }))
}

async fn resolve_target(options: &RunOptions, wanted: &RestoreFrom) -> Result<RestoreTarget, RestoreFromError> {
    match wanted {
        RestoreFrom::Empty => Ok(RestoreTarget::Empty),
        RestoreFrom::Checkpoint { id, allow_duplicates: _ } => Ok(RestoreTarget::Checkpoint(CheckpointId(*id))),
        RestoreFrom::Journal(uri) if uri.to_string() == options.objects.describe() => Ok(RestoreTarget::Journal),
        RestoreFrom::Journal(uri) => of_other_journal(options, uri.to_string()).await,
        RestoreFrom::Savepoint(uri) => of_savepoint(options, uri.to_string()).await,
        RestoreFrom::Repeating(target) => Box::pin(resolve_target(options, target)).await,
    }
}

async fn of_savepoint(options: &RunOptions, uri: String) -> Result<RestoreTarget, RestoreFromError> {
    let store = open_place(options, &uri).await?;
    let key = SAVEPOINT_MANIFEST.to_owned();
    match store.get(&key).await {
        Ok(bytes) => import(uri, ObjectRef::of(key, &bytes), &bytes),
        Err(error) if error.is_not_found() => Err(RestoreFromError::NoSavepoint { uri }),
        Err(error) => Err(unreadable(uri, key, &error)),
    }
}

async fn of_other_journal(options: &RunOptions, uri: String) -> Result<RestoreTarget, RestoreFromError> {
    let store = open_place(options, &uri).await?;
    let newest = read_newest(&*store).await;
    let newest = newest.map_err(|error| RestoreFromError::Journal {
        uri: uri.clone(),
        reason: chain(&error),
        retry: error.retry(),
        remedy: error.remedy(),
    })?;
    let Some(JournalEntry { head, .. }) = newest else { return Err(RestoreFromError::NoJournal { uri }) };
    if !head.status.is_settled() {
        return Err(RestoreFromError::StillRuns { uri });
    }
    if let Some(&checkpoint) = head.pending_commits.first() {
        return Err(RestoreFromError::Uncommitted { uri, checkpoint });
    }
    let Some(entry) = head.restore.checkpoint().and_then(|id| head.checkpoint(id)) else {
        return Err(RestoreFromError::NoCheckpoint { uri });
    };
    let key = entry.manifest.key.clone();
    match store.get(&key).await {
        Ok(bytes) => import(uri, entry.manifest.clone(), &bytes),
        Err(error) => Err(unreadable(uri, key, &error)),
    }
}

fn import(source: String, manifest: ObjectRef, bytes: &[u8]) -> Result<RestoreTarget, RestoreFromError> {
    let read = weir_protocol::stored::verify(&manifest, bytes).and_then(|()| Manifest::decode(&manifest.key, bytes));
    match read {
        Ok(Manifest { checkpoint, job_id, .. }) => Ok(RestoreTarget::Import { source, manifest, checkpoint, job_id }),
        Err(error) => {
            let (uri, key, reason) = (source, manifest.key, chain(&error));
            Err(RestoreFromError::Manifest { uri, key, reason, retry: Retry::No, remedy: Remedy::Change })
        }
    }
}

fn unreadable(uri: String, key: String, error: &StoreError) -> RestoreFromError {
    RestoreFromError::Manifest { uri, key, reason: chain(error), retry: error.retry, remedy: Remedy::of(error) }
}

/// Opens another place; one below this job's own prefix needs no opener.
pub(crate) async fn open_place(options: &RunOptions, uri: &str) -> Result<Arc<dyn ObjectStore>, RestoreFromError> {
    let root = options.objects.describe();
    if let Some(below) = uri.strip_prefix(root.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'))
        && below.starts_with(layout::SAVEPOINTS)
    {
        return Ok(weir_storage::prefixed(Arc::clone(&options.objects), below));
    }
    let Some(opener) = &options.opener else { return Err(RestoreFromError::NoOpener { uri: uri.to_owned() }) };
    opener(uri.to_owned()).await.map_err(|reason| RestoreFromError::Open { uri: uri.to_owned(), reason })
}
