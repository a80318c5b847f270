//! What a worker remembers on its local disk, which survives a restart of the container and goes with the pod.
//!
//! Neither is a truth of its own. The job that it was redeployed with last saves a restarted container from running what
//! its ConfigMap said before. The mark of a fenced pod keeps a zombie, whose kubelet restarts it again and again, from
//! claiming the job back from its successor: only another pod may.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use weir_api::ResolvedJob;

/// The job that the process was redeployed with last.
const JOB: &str = "job.json";
/// Holds the uid of the pod that was fenced.
const FENCED: &str = "fenced";

/// Why a resolved job cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobFileError {
    /// It cannot be read.
    #[error("cannot read the resolved job {file}")]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is none.
    #[error("{place} is no resolved job of this version of Weir: {reason}")]
    Damaged {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The worker's local directory.
#[derive(Debug, Clone)]
pub(crate) struct LocalDir {
    directory: PathBuf,
    /// Empty outside Kubernetes: then nobody restarts a fenced process.
    pod_uid: String,
}

impl LocalDir {
    pub(crate) fn new(directory: &Path, pod_uid: &str) -> Self {
        Self { directory: directory.to_owned(), pod_uid: pod_uid.to_owned() }
    }

    /// What is to run: the job of the ConfigMap, or the one that a later redeployment brought.
    pub(crate) fn newest(&self, given: ResolvedJob) -> ResolvedJob {
        let kept = std::fs::read(self.directory.join(JOB)).ok().and_then(|bytes| parse(&bytes, JOB).ok());
        match kept {
            Some(kept) if is_same_job(&kept, &given) && kept.revision_number > given.revision_number => kept,
            Some(_) | None => given,
        }
    }

    /// Keeps a job for a restart of the container.
    pub(crate) fn keep(&self, job: &ResolvedJob) -> io::Result<()> {
        write_whole(&self.directory.join(JOB), &serde_json::to_vec(job)?)
    }

    /// Notes that another process has taken the job over from this pod.
    pub(crate) fn mark_fenced(&self) {
        if self.pod_uid.is_empty() {
            return;
        }
        if let Err(error) = write_whole(&self.directory.join(FENCED), self.pod_uid.as_bytes()) {
            tracing::warn!(%error, "that this pod was fenced cannot be noted");
        }
    }

    /// True if this very pod was fenced before.
    pub(crate) fn is_fenced(&self) -> bool {
        let marked = std::fs::read_to_string(self.directory.join(FENCED)).unwrap_or_default();
        !self.pod_uid.is_empty() && marked == self.pod_uid
    }
}

/// Reads a resolved job.
///
/// # Errors
/// When there is none.
pub(crate) fn read(file: &Path) -> Result<ResolvedJob, JobFileError> {
    let bytes = std::fs::read(file).map_err(|source| JobFileError::Read { file: file.to_owned(), source })?;
    parse(&bytes, &file.display().to_string())
}

/// Reads a resolved job from its bytes.
///
/// # Errors
/// When they are none.
pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<ResolvedJob, JobFileError> {
    let damaged = |reason: String| JobFileError::Damaged { place: place.to_owned(), reason };
    let job: ResolvedJob = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    let known = weir_api::resolved::FORMAT;
    if job.format != known {
        return Err(damaged(format!("found format {}; allowed: {known}", job.format)));
    }
    for (field, number) in [("slots", job.slots), ("workers", job.workers), ("parallelism", job.parallelism)] {
        if number == 0 {
            return Err(damaged(format!("found {field} 0; allowed: 1 or more")));
        }
    }
    Ok(job)
}

fn is_same_job(one: &ResolvedJob, other: &ResolvedJob) -> bool {
    (&one.namespace, &one.name, &one.owner) == (&other.namespace, &other.name, &other.owner)
}

/// Whole or not at all, also if the node goes down: the disk of a pod that is fenced may come back with it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::tests::job;

    #[test]
    fn the_higher_number_runs_and_another_job_s_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let local = LocalDir::new(directory.path(), "");
        let numbered = |revision_number| ResolvedJob { revision_number, ..job() };
        assert_eq!(local.newest(numbered(2)), numbered(2));
        local.keep(&numbered(4)).unwrap();
        assert_eq!(local.newest(numbered(2)), numbered(4));
        assert_eq!(local.newest(numbered(6)), numbered(6));
        let other = ResolvedJob { owner: "another".to_owned(), ..numbered(2) };
        assert_eq!(local.newest(other.clone()), other);
        std::fs::write(directory.path().join(JOB), "{").unwrap();
        assert_eq!(local.newest(numbered(2)), numbered(2));
    }

    #[test]
    fn a_pod_stays_fenced_and_the_next_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let zombie = LocalDir::new(directory.path(), "pod-1");
        assert!(!zombie.is_fenced());
        zombie.mark_fenced();
        assert!(zombie.is_fenced());
        assert!(!LocalDir::new(directory.path(), "pod-2").is_fenced());
        assert!(!LocalDir::new(directory.path(), "").is_fenced());
    }

    #[test]
    fn resolved_jobs_of_another_format_are_refused() {
        let mut later = serde_json::to_value(job()).unwrap();
        later["format"] = 9.into();
        let refused = parse(later.to_string().as_bytes(), "job.json").unwrap_err().to_string();
        assert_eq!(refused, "job.json is no resolved job of this version of Weir: found format 9; allowed: 1");
        for field in ["slots", "workers", "parallelism"] {
            let mut none = serde_json::to_value(job()).unwrap();
            none[field] = 0.into();
            let refused = parse(none.to_string().as_bytes(), "job.json").unwrap_err().to_string();
            assert!(refused.ends_with(&format!("found {field} 0; allowed: 1 or more")), "{refused}");
        }
    }
}
