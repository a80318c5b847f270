//! What a start would do, found out without doing it: the decision about the journal, and whether the job fits the checkpoint.
//!
//! The answer can be out of date the moment it is given; a start decides anew. It is there so that a job that cannot run is
//! refused before anything is claimed, and a running one need not be stopped to learn that.

use weir_protocol::journal::{Head, JobStatus, RestorePoint, StartDecision, StartRefusal, resolve_start};
use weir_protocol::{CheckpointId, Generation, Manifest, ObjectRef};
use weir_storage::{ObjectStore, Retry};

use crate::coordinator::make_graph;
use crate::fit::{self, Misfit};
use crate::journal::{JournalError, read_newest};
use crate::options::RunOptions;
use crate::outcome::Remedy;
use crate::restore_from::{RestoreFromError, open_place};
use crate::retry::chain;
use crate::run::start_request;

/// What a start would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preview {
    /// Nothing: the journal says that the job is settled.
    Settled(JobStatus),
    /// Claim the journal and deploy.
    Starts {
        /// The generation that it would begin.
        generation: Generation,
        /// What it would start from.
        restore: RestorePoint,
    },
}

/// Why a start would be refused, or what could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// The graph cannot be made.
    #[error("job graph: {0}")]
    Graph(String),
    /// `restoreFrom` cannot be resolved.
    #[error("restoreFrom: {0}")]
    RestoreFrom(#[source] RestoreFromError),
    /// The journal cannot be looked at.
    #[error("the job cannot start")]
    Journal(#[source] JournalError),
    /// The journal's head forbids the start.
    #[error("the job cannot start: {0}")]
    Refused(StartRefusal),
    /// The checkpoint's manifest is damaged or does not come.
    #[error(
        "checkpoint {checkpoint} cannot be restored, because its manifest {key} cannot be read: {reason}; \
         to go on from an older one, choose it with restoreFrom checkpoint"
    )]
    Manifest {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Its manifest.
        key: String,
        /// Why.
        reason: String,
        /// Whether it may come later.
        retry: Retry,
        /// What helps.
        remedy: Remedy,
    },
    /// The job does not fit itself or the checkpoint.
    #[error(transparent)]
    Misfit(#[from] Misfit),
}

impl PreviewError {
    /// True if the storage did not answer, and may do so later: nothing is known to be wrong.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Journal(error) => error.retry() == Retry::Yes,
            Self::RestoreFrom(error) => error.can_retry(),
            Self::Manifest { retry, .. } => *retry == Retry::Yes,
            Self::Graph(_) | Self::Refused(_) | Self::Misfit(_) => false,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Journal(error) => error.remedy(),
            Self::RestoreFrom(error) => error.remedy(),
            Self::Manifest { remedy, .. } => *remedy,
            Self::Graph(_) | Self::Refused(_) | Self::Misfit(_) => Remedy::Change,
        }
    }
}

/// Finds out what a start with these options would do. Reads a listing, an entry and a manifest; writes nothing.
///
/// # Errors
/// When it would be refused, or the storage does not tell.
pub async fn preview(options: &RunOptions) -> Result<Preview, PreviewError> {
    let graph = make_graph(&options.graph).await.map_err(PreviewError::Graph)?;
    let max = fit::check_job(&graph, options.job.parallelism, options.job.max_parallelism)?;
    let request = start_request(options).await.map_err(PreviewError::RestoreFrom)?;
    let newest = read_newest(&*options.objects).await.map_err(PreviewError::Journal)?;
    let decision = resolve_start(newest.as_ref().map(|entry| &entry.head), &request).map_err(PreviewError::Refused)?;
    match decision {
        StartDecision::Settled(status) => Ok(Preview::Settled(status)),
        StartDecision::Claim { kind: _, head } => {
            if let Some(manifest) = read_restored(options, &head).await? {
                fit::check_restore(&graph, max, &manifest)?;
            }
            Ok(Preview::Starts { generation: head.generation, restore: head.restore })
        }
    }
}

async fn read_restored(options: &RunOptions, head: &Head) -> Result<Option<Manifest>, PreviewError> {
    match &head.restore {
        RestorePoint::Empty => Ok(None),
        RestorePoint::Checkpoint(id) => match head.checkpoint(*id) {
            Some(entry) => read_manifest(&*options.objects, &entry.manifest, *id).await.map(Some),
            None => Ok(None),
        },
        RestorePoint::Imported { source, manifest, checkpoint } => {
            let place = open_place(options, source).await.map_err(PreviewError::RestoreFrom)?;
            read_manifest(&*place, manifest, *checkpoint).await.map(Some)
        }
    }
}

async fn read_manifest(
    objects: &dyn ObjectStore,
    object: &ObjectRef,
    checkpoint: CheckpointId,
) -> Result<Manifest, PreviewError> {
    let key = || object.key.clone();
    let failed = |reason, retry, remedy| PreviewError::Manifest { checkpoint, key: key(), reason, retry, remedy };
    let bytes = objects.get(&object.key).await;
    let bytes = bytes.map_err(|error| failed(chain(&error), error.retry, Remedy::of(&error)))?;
    let checked = weir_protocol::stored::verify(object, &bytes).and_then(|()| Manifest::decode(&object.key, &bytes));
    checked.map_err(|error| failed(chain(&error), Retry::No, Remedy::Change))
}
