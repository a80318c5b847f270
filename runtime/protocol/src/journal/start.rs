//! What a start may do with the journal it found: claim it, leave it settled, or be refused.

use super::entry::EntryKind;
use super::head::{Head, JobRevision, JobStatus, Owner, RestorePoint, RestoreRecord};
use crate::ids::{CheckpointId, JobId};
use crate::object::ObjectRef;

#[cfg(test)]
mod tests;

/// When a settled (stopped, finished or failed) job runs again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevisionRule {
    /// Only for a revision above the one that settled: resolved jobs on Kubernetes.
    Numbered(u64),
    /// The start itself is the user's request (`weir run`): a stopped or failed job goes on, a finished one only if the
    /// resolved job changed.
    OnRequest,
}

/// What `restoreFrom` says, resolved by the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreTarget {
    /// Start without state.
    Empty,
    /// This very journal, whoever owns it: adoption.
    Journal,
    /// A retained checkpoint of the owner's own journal: an explicit choice instead of the newest.
    Checkpoint(CheckpointId),
    /// A savepoint, or a checkpoint of another stopped journal.
    Import {
        /// The URI that the manifest's names are relative to.
        source: String,
        /// Its manifest.
        manifest: ObjectRef,
        /// Its id.
        checkpoint: CheckpointId,
        /// The job that took it.
        job_id: JobId,
    },
}

/// A `restoreFrom`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// The value as the user wrote it, in canonical form; consumed once.
    pub record: RestoreRecord,
    /// What it means.
    pub target: RestoreTarget,
    /// The user accepts output that was already committed to be produced again.
    pub allow_duplicates: bool,
}

/// Who wants to start what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRequest {
    /// Who.
    pub owner: Owner,
    /// A fresh random id, used only if the journal begins with this start.
    pub fresh_job_id: JobId,
    /// When a settled job runs again.
    pub revision: RevisionRule,
    /// Hash of the resolved job.
    pub hash: String,
    /// What to start from, if the user says so.
    pub restore_from: Option<RestoreRequest>,
}

/// What a start may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartDecision {
    /// Append this claim, then deploy.
    Claim {
        /// The entry's kind.
        kind: EntryKind,
        /// The head after it.
        head: Box<Head>,
    },
    /// Serve the status and deploy nothing.
    Settled(JobStatus),
}

/// Why a start is refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefusal {
    /// Another owner's journal is under this prefix.
    #[error(
        "the storage holds job {job_id} of owner {found}, not of {requested}: \
         let restoreFrom name that journal to take the job over, or say `empty` to start without its state"
    )]
    ForeignOwner {
        /// The journal's owner.
        found: Owner,
        /// The journal's job.
        job_id: JobId,
        /// Who wanted to start.
        requested: Owner,
    },
    /// The job was taken over by another owner; that is final.
    #[error("owner {requested} was displaced by {found} and never runs job {job_id} again: use another storage prefix")]
    Displaced {
        /// The journal's owner.
        found: Owner,
        /// The journal's job.
        job_id: JobId,
        /// Who wanted to start.
        requested: Owner,
    },
    /// The job has moved on to a later revision; this one never takes it back.
    #[error("revision {found} of the job has run already, and this is revision {requested}: start the newest one")]
    Superseded {
        /// The journal's revision.
        found: u64,
        /// The one that wanted to start.
        requested: u64,
    },
    /// There is nothing to restore from.
    #[error("restoreFrom names this job's own journal, but the storage holds none")]
    NoJournal,
    /// The chosen checkpoint is not retained.
    #[error("checkpoint {chosen} is not retained; retained are: {retained}")]
    UnknownCheckpoint {
        /// The checkpoint asked for.
        chosen: CheckpointId,
        /// The ids there are.
        retained: String,
    },
    /// Output after the chosen checkpoint is already committed.
    #[error(
        "output up to checkpoint {committed} is committed; going back to {chosen} produces it again: say allowDuplicates to accept that"
    )]
    NeedsAllowDuplicates {
        /// The checkpoint asked for.
        chosen: CheckpointId,
        /// The newest completed one.
        committed: CheckpointId,
    },
}

/// Decides what `request` may do with a journal whose newest entry carries `found`.
///
/// # Errors
/// When it may do nothing; says why, and the way out.
pub fn resolve_start(found: Option<&Head>, request: &StartRequest) -> Result<StartDecision, StartRefusal> {
    let Some(found) = found else { return begin(request) };
    if found.displaced.contains(&request.owner) {
        return Err(StartRefusal::Displaced {
            found: found.owner.clone(),
            job_id: found.job_id.clone(),
            requested: request.owner.clone(),
        });
    }
    let foreign = found.owner != request.owner;
    let restore = request
        .restore_from
        .as_ref()
        .filter(|restore| foreign || found.consumed_restore.as_ref() != Some(&restore.record));
    let adopts = restore.is_some_and(|restore| match restore.target {
        RestoreTarget::Empty | RestoreTarget::Journal => true,
        RestoreTarget::Checkpoint(_) | RestoreTarget::Import { .. } => false,
    });
    if foreign && !adopts {
        return Err(StartRefusal::ForeignOwner {
            found: found.owner.clone(),
            job_id: found.job_id.clone(),
            requested: request.owner.clone(),
        });
    }
    // Revisions of different owners cannot be compared; adopting is itself the request to run.
    if let RevisionRule::Numbered(requested) = request.revision
        && !foreign
        && requested < found.revision.number
    {
        return Err(StartRefusal::Superseded { found: found.revision.number, requested });
    }
    if !foreign && found.status.is_settled() && !runs_again(found, request) {
        return Ok(StartDecision::Settled(found.status.clone()));
    }
    let mut head = found.clone();
    if let Some(restore) = restore {
        apply_restore(&mut head, restore)?;
    }
    head.revision = next_revision(Some(found), request);
    let (kind, head) = claim(head, found, &request.owner);
    Ok(StartDecision::Claim { kind, head: Box::new(head) })
}

/// The claim of the next deployment by the same coordinator: after a failure, a lost worker, a rescale.
pub fn resolve_redeploy(found: &Head) -> (EntryKind, Head) {
    claim(found.clone(), found, &found.owner)
}

fn begin(request: &StartRequest) -> Result<StartDecision, StartRefusal> {
    let revision = next_revision(None, request);
    let mut head = Head::new(request.fresh_job_id.clone(), request.owner.clone(), revision);
    if let Some(restore) = &request.restore_from {
        match restore.target {
            RestoreTarget::Journal | RestoreTarget::Checkpoint(_) => return Err(StartRefusal::NoJournal),
            RestoreTarget::Empty | RestoreTarget::Import { .. } => {}
        }
        apply_restore(&mut head, restore)?;
    }
    let found = head.clone();
    let (kind, head) = claim(head, &found, &request.owner);
    Ok(StartDecision::Claim { kind, head: Box::new(head) })
}

fn claim(mut head: Head, found: &Head, owner: &Owner) -> (EntryKind, Head) {
    let adopted_from = (found.owner != *owner).then(|| found.owner.clone());
    head.displaced.extend(adopted_from.clone());
    head.owner = owner.clone();
    head.generation = found.generation.next();
    head.status = JobStatus::Running;
    let kind = EntryKind::Claim { owner: owner.clone(), restored_from: head.restore.clone(), adopted_from };
    (kind, head)
}

fn runs_again(found: &Head, request: &StartRequest) -> bool {
    match request.revision {
        RevisionRule::Numbered(number) => number > found.revision.number,
        RevisionRule::OnRequest => match found.status {
            JobStatus::Running | JobStatus::Stopped | JobStatus::Failed { .. } => true,
            JobStatus::Finished => found.revision.hash != request.hash,
        },
    }
}

fn next_revision(found: Option<&Head>, request: &StartRequest) -> JobRevision {
    let number = match (request.revision, found) {
        (RevisionRule::Numbered(number), _) => number,
        (RevisionRule::OnRequest, None) => 1,
        (RevisionRule::OnRequest, Some(found)) => {
            let again = found.status.is_settled() || found.revision.hash != request.hash;
            found.revision.number + u64::from(again)
        }
    };
    JobRevision { number, hash: request.hash.clone() }
}

fn apply_restore(head: &mut Head, request: &RestoreRequest) -> Result<(), StartRefusal> {
    let newest = head.newest().map(|entry| entry.id);
    let may_fall_back = |chosen: CheckpointId| match newest {
        Some(committed) if chosen < committed && !request.allow_duplicates => {
            Err(StartRefusal::NeedsAllowDuplicates { chosen, committed })
        }
        _ => Ok(()),
    };
    match &request.target {
        RestoreTarget::Empty => {
            head.restore = RestorePoint::Empty;
            // Their output belongs to a history that the user leaves behind.
            head.pending_commits.clear();
        }
        RestoreTarget::Journal => {}
        RestoreTarget::Checkpoint(chosen) => {
            if head.checkpoint(*chosen).is_none() {
                let retained: Vec<String> = head.checkpoints.iter().map(|entry| entry.id.to_string()).collect();
                let retained = if retained.is_empty() { "none".to_owned() } else { retained.join(", ") };
                return Err(StartRefusal::UnknownCheckpoint { chosen: *chosen, retained });
            }
            may_fall_back(*chosen)?;
            head.restore = RestorePoint::Checkpoint(*chosen);
            head.pending_commits.retain(|pending| pending <= chosen);
        }
        RestoreTarget::Import { source, manifest, checkpoint, job_id } => {
            if *job_id == head.job_id {
                may_fall_back(*checkpoint)?;
                head.pending_commits.retain(|pending| pending <= checkpoint);
            } else {
                head.pending_commits.clear();
            }
            let (source, manifest, checkpoint) = (source.clone(), manifest.clone(), *checkpoint);
            head.reserved_ids = head.reserved_ids.max(checkpoint);
            head.restore = RestorePoint::Imported { source, manifest, checkpoint };
        }
    }
    head.consumed_restore = Some(request.record.clone());
    Ok(())
}
