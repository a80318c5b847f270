//! What the process shows of itself at a moment: the job it was told to run, and the run that is under way or has ended.
//!
//! One value, replaced as a whole by the supervisor and read by the control API and over HTTP, so that neither can mix two
//! runs up.

use std::sync::Arc;

use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use weir_api::ResolvedJob;
use weir_cluster::status::{JobStatus, StorageStatus};
use weir_cluster::{JobCommand, JobState};

/// What the process shows at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Face {
    /// What the process was told to run last.
    pub told: Arc<ResolvedJob>,
    /// What its subtasks run; another job than the one told while that one waits for the final checkpoint.
    pub runs: Arc<ResolvedJob>,
    /// Where requests to the run go; closed when it has ended.
    pub commands: mpsc::Sender<JobCommand>,
    /// The run's status; the last one when it has ended.
    pub status: watch::Receiver<Arc<JobStatus>>,
    /// What earlier runs of this process add up to.
    pub before: Arc<JobStatus>,
    /// Why the run has not begun: the storage does not answer yet.
    pub waits: Option<StorageStatus>,
    /// The run's metrics.
    pub metrics: Registry,
}

impl Face {
    /// True while another job waits for the final checkpoint of the one that runs.
    pub(crate) fn is_redeploying(&self) -> bool {
        self.told.revision_number != self.runs.revision_number
    }

    /// The status over all runs of this process.
    pub(crate) fn status(&self) -> JobStatus {
        let now = self.status.borrow().clone();
        let mut status = sum(&self.before, &now);
        if let (Some(waits), JobState::Starting) = (&self.waits, &status.state) {
            status.storage = waits.clone();
        }
        status
    }
}

/// The last status of a run with what came before it: counters and records of this process, everything else as it is now.
fn sum(before: &JobStatus, now: &JobStatus) -> JobStatus {
    let mut status = now.clone();
    if before.started_at.0 > 0 {
        status.started_at = before.started_at;
    }
    status.restarts = before.restarts.iter().chain(&now.restarts).cloned().collect();
    let surplus = status.restarts.len().saturating_sub(weir_cluster::status::MAX_RESTART_RECORDS);
    status.restarts.drain(..surplus);
    status.restart_count += before.restart_count;
    status.completed += before.completed;
    status.skipped += before.skipped;
    status.storage.failures += before.storage.failures;
    for (kind, count) in &before.restarts_by_kind {
        *status.restarts_by_kind.entry(kind).or_default() += count;
    }
    for (reason, count) in &before.failed {
        *status.failed.entry(reason).or_default() += count;
    }
    if status.last_failure.is_none() {
        status.last_failure.clone_from(&before.last_failure);
    }
    // Until the next run has read the journal, it says what it said.
    if status.journal.is_none() {
        status.journal.clone_from(&before.journal);
        status.checkpoints.clone_from(&before.checkpoints);
        status.job_id.clone_from(&before.job_id);
    }
    status
}

#[cfg(test)]
mod tests {
    use weir_protocol::Millis;

    use super::*;

    #[test]
    fn counters_go_on_over_runs_and_the_journal_is_remembered() {
        let mut before = JobStatus { started_at: Millis(5), completed: 3, restart_count: 1, ..JobStatus::default() };
        before.restarts_by_kind.insert("user_code", 1);
        before.job_id = Some("j".into());
        let mut now = JobStatus { started_at: Millis(9), completed: 2, restart_count: 2, ..JobStatus::default() };
        now.restarts_by_kind.insert("user_code", 2);
        let sum = sum(&before, &now);
        assert_eq!((sum.started_at, sum.completed, sum.restart_count), (Millis(5), 5, 3));
        assert_eq!(sum.restarts_by_kind["user_code"], 3);
        assert_eq!(sum.job_id, Some("j".into()));
    }
}
