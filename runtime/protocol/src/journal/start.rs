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
    /// The job was deleted.
    #[error("the job of owner {owner} was deleted: nothing of it is left to run")]
    Deleted {
        /// Whose it was.
        owner: Owner,
    },
    /// The job has moved on to a later revision; this one never takes it back.
    #[error("revision {found} of the job has run already, and this is revision {requested}: start the newest one")]
    Superseded {
        /// The journal's revision.
        found: u64,
        /// The one that wanted to start.
        requested: u64,
    },
    /// Another resolved job has run under this number.
    #[error("another job has run as revision {number} already: give this one a higher number")]
    OtherRevision {
        /// The number of both.
        number: u64,
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
    /// The job has output of its own, which a start without its state produces again.
    #[error(
        "output up to checkpoint {committed} is committed; starting without that checkpoint's state produces it again: \
         say allowDuplicates to accept that"
    )]
    LeavesHistory {
        /// The newest completed one.
        committed: CheckpointId,
    },
}

/// Decides what `request` may do with a journal whose newest entry carries `found`.
///
/// # Errors
/// When it may do nothing; says why, and the way out.
pub fn resolve_start(found: Option<&Head>, request: &StartRequest) -> Result<StartDecision, StartRefusal> {
    let Some(found) = found else { return begin(request, None) };
    if found.displaced.contains(&request.owner) {
        return Err(StartRefusal::Displaced {
            found: found.owner.clone(),
            job_id: found.job_id.clone(),
            requested: request.owner.clone(),
        });
    }
    if found.status == JobStatus::Deleted {
        // Who has no uid of his own cannot be told from a new one.
        let is_new = found.owner != request.owner || request.owner == Owner::local();
        let refused = || Err(StartRefusal::Deleted { owner: found.owner.clone() });
        return if is_new { begin(request, Some(found)) } else { refused() };
    }
    let foreign = found.owner != request.owner;
    let restore = request.restore_from.as_ref().filter(|restore| foreign || !found.has_consumed(&restore.record));
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
    if let RevisionRule::Numbered(number) = request.revision
        && !foreign
        && number == found.revision.number
        && request.hash != found.revision.hash
    {
        return Err(StartRefusal::OtherRevision { number });
    }
    let mut head = found.clone();
    if foreign {
        // What another owner has consumed is new to this one.
        (head.consumed_restore, head.consumed_before) = (None, Vec::new());
    }
    if let Some(restore) = restore {
        if !foreign {
            check_leaves_history(&head, restore)?;
        }
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

/// A job's first claim, in an empty place or behind a deleted job.
fn begin(request: &StartRequest, deleted: Option<&Head>) -> Result<StartDecision, StartRefusal> {
    let revision = next_revision(None, request);
    let mut head = Head::new(request.fresh_job_id.clone(), request.owner.clone(), revision);
    if let Some(deleted) = deleted {
        // The line of generations and ids goes on, so that nothing that comes late is taken for this job's.
        let mut line = deleted.clone();
        line.displace(&request.owner);
        (head.displaced, head.generation, head.reserved_ids) = (line.displaced, line.generation, line.reserved_ids);
    }
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
    head.displace(owner);
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
            JobStatus::Deleted => false,
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

/// Refuses to leave a history behind that has committed output, unless that is accepted. An adoption leaves another
/// owner's behind, and says so by naming it.
fn check_leaves_history(head: &Head, request: &RestoreRequest) -> Result<(), StartRefusal> {
    let leaves = match &request.target {
        RestoreTarget::Empty => true,
        RestoreTarget::Import { job_id, .. } => *job_id != head.job_id,
        RestoreTarget::Journal | RestoreTarget::Checkpoint(_) => false,
    };
    match head.restore {
        RestorePoint::Checkpoint(_) if leaves && !request.allow_duplicates => {
            let committed = head.newest().map_or(CheckpointId(0), |entry| entry.id);
            Err(StartRefusal::LeavesHistory { committed })
        }
        RestorePoint::Checkpoint(_) | RestorePoint::Empty | RestorePoint::Imported { .. } => Ok(()),
    }
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
    head.consume(request.record.clone());
    Ok(())
}
