//! From a job's status to the control API's words. Pure.

use std::collections::BTreeMap;

use weir_api::ResolvedJob;
use weir_cluster::status::{
    CheckpointSummary, FailureRecord, JobState, JobStatus, OperatorStatus, RestartRecord, StateBytes, StorageStatus,
    SubtaskLoad,
};
use weir_control::v1;
use weir_protocol::ManifestKind;
use weir_protocol::journal::JobStatus as SettledStatus;

/// What is not in the job's own status.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub pod: String,
    pub pod_uid: String,
    pub checkpoint_nonce: Option<u64>,
    pub savepoint_nonce: Option<u64>,
}

/// The answer to `Status`: `told` is what the process was told to run last, `runs` what its subtasks are of.
pub(crate) fn status(status: &JobStatus, told: &ResolvedJob, runs: &ResolvedJob, about: About) -> v1::StatusResponse {
    let (state, reason, next_attempt_at) = state(&status.state);
    let mut operators: BTreeMap<String, v1::Operator> =
        status.operators.iter().map(|(id, counters)| (id.to_string(), operator(&id.to_string(), counters))).collect();
    for (name, load) in &status.loads {
        let Some((id, index)) = subtask_of(name) else { continue };
        let operator = operators
            .entry(id.to_owned())
            .or_insert_with(|| v1::Operator { id: id.to_owned(), ..v1::Operator::default() });
        operator.subtasks.push(subtask(index, load));
    }
    for operator in operators.values_mut() {
        operator.subtasks.sort_by_key(|subtask| subtask.index);
    }
    v1::StatusResponse {
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
        job: Some(v1::JobIdentity {
            namespace: told.namespace.clone(),
            name: told.name.to_string(),
            uid: told.owner.clone(),
            job_id: status.job_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            graph: told.job.clone(),
        }),
        revision: Some(revision(told)),
        generation: status.generation.map_or(0, |generation| generation.0),
        state: state.into(),
        reason,
        next_attempt_at,
        parallelism: runs.parallelism,
        workers: runs.workers,
        slots: runs.slots,
        started_at: status.started_at.0,
        sampled_at: status.sampled_at.0,
        restored_from: status.restored_from.map(|id| id.0),
        checkpoints: status.checkpoints.iter().map(checkpoint).collect(),
        in_flight: status.in_flight.map(|id| id.0),
        completed: status.completed,
        failed: counts(&status.failed),
        skipped: status.skipped,
        restarts: status.restarts.iter().map(restart).collect(),
        restart_count: status.restart_count,
        restarts_by_kind: counts(&status.restarts_by_kind),
        last_failure: status.last_failure.as_ref().map(failure),
        storage: Some(storage(&status.storage)),
        operators: operators.into_values().collect(),
        state_size: Some(state_size(&status.state_bytes)),
        lag_ms: status.lag_ms,
        checkpoint_nonce: about.checkpoint_nonce,
        savepoint_nonce: about.savepoint_nonce,
        journal_state: status.journal.as_ref().map_or(v1::JobState::Unspecified, |j| journal_state(&j.status)).into(),
        journal_revision: status
            .journal
            .as_ref()
            .map(|j| v1::Revision { number: j.revision.number, hash: j.revision.hash.clone() }),
        pod: about.pod,
        pod_uid: about.pod_uid,
    }
}

/// A resolved job's place in the order of things.
pub(crate) fn revision(job: &ResolvedJob) -> v1::Revision {
    v1::Revision { number: job.revision_number, hash: job.revision() }
}

/// A settled or unsettled journal.
pub(crate) fn journal_state(status: &SettledStatus) -> v1::JobState {
    match status {
        SettledStatus::Running => v1::JobState::Running,
        SettledStatus::Stopped => v1::JobState::Stopped,
        SettledStatus::Finished => v1::JobState::Finished,
        SettledStatus::Failed { .. } => v1::JobState::Failed,
        // No process serves a deleted job.
        SettledStatus::Deleted => v1::JobState::Unspecified,
    }
}

fn state(state: &JobState) -> (v1::JobState, String, i64) {
    match state {
        JobState::Starting => (v1::JobState::Starting, String::new(), 0),
        JobState::Deploying => (v1::JobState::Deploying, String::new(), 0),
        JobState::Running => (v1::JobState::Running, String::new(), 0),
        JobState::Ending => (v1::JobState::Ending, String::new(), 0),
        JobState::Restarting { at, reason } => (v1::JobState::Restarting, reason.clone(), at.0),
        JobState::Stopped => (v1::JobState::Stopped, String::new(), 0),
        JobState::Finished => (v1::JobState::Finished, String::new(), 0),
        JobState::Failed { reason } => (v1::JobState::Failed, reason.clone(), 0),
        JobState::Left { reason } => (v1::JobState::Left, reason.clone(), 0),
    }
}

/// A completed checkpoint.
pub(crate) fn checkpoint(summary: &CheckpointSummary) -> v1::Checkpoint {
    let CheckpointSummary { id, generation, kind, completed_at, duration_ms, bytes_full, bytes_incremental } = summary;
    let kind = match kind {
        ManifestKind::Checkpoint => v1::CheckpointKind::Checkpoint,
        ManifestKind::Savepoint => v1::CheckpointKind::Savepoint,
        ManifestKind::Final => v1::CheckpointKind::Final,
    };
    v1::Checkpoint {
        id: id.0,
        kind: kind.into(),
        triggered_at: completed_at.0.saturating_sub_unsigned(*duration_ms),
        completed_at: completed_at.0,
        duration_ms: *duration_ms,
        bytes_full: *bytes_full,
        bytes_incremental: *bytes_incremental,
        generation: generation.0,
    }
}

fn restart(record: &RestartRecord) -> v1::Restart {
    let RestartRecord { at, reason, operator, kind, restored, delay_ms } = record;
    v1::Restart {
        at: at.0,
        reason: reason.clone(),
        operator: operator.as_ref().map(ToString::to_string).unwrap_or_default(),
        restored: restored.map(|id| id.0),
        delay_ms: *delay_ms,
        kind: (*kind).to_owned(),
    }
}

fn failure(record: &FailureRecord) -> v1::Failure {
    let FailureRecord { at, reason, operator, kind } = record;
    let operator = operator.as_ref().map(ToString::to_string).unwrap_or_default();
    v1::Failure { at: at.0, reason: reason.clone(), operator, kind: (*kind).to_owned() }
}

fn storage(status: &StorageStatus) -> v1::Storage {
    let StorageStatus { trouble_since, message, failures } = status;
    v1::Storage { trouble_since: trouble_since.map_or(0, |at| at.0), message: message.clone(), failures: *failures }
}

fn operator(id: &str, counters: &OperatorStatus) -> v1::Operator {
    let OperatorStatus { records_in, records_out, bytes_in, late, dead, watermark } = *counters;
    let id = id.to_owned();
    v1::Operator { id, records_in, records_out, bytes_in, late, dead, watermark, subtasks: Vec::new() }
}

fn subtask(index: u32, load: &SubtaskLoad) -> v1::Subtask {
    let SubtaskLoad { busy, idle, backpressured, aligning } = *load;
    v1::Subtask { index, busy, idle, backpressured, aligning }
}

/// `operator[subtask]` taken apart.
fn subtask_of(name: &str) -> Option<(&str, u32)> {
    let (id, rest) = name.rsplit_once('[')?;
    Some((id, rest.strip_suffix(']')?.parse().ok()?))
}

fn state_size(bytes: &StateBytes) -> v1::StateSize {
    let StateBytes { write, clean, pinned, past, chain, pending } = *bytes;
    v1::StateSize { write, clean, pinned, past, chain, pending }
}

fn counts(by: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    by.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_are_found_under_their_operators() {
        let mut job = JobStatus::default();
        job.operators.insert("a[b]".into(), OperatorStatus { records_in: 3, ..OperatorStatus::default() });
        for index in [1, 0] {
            job.loads
                .insert(format!("a[b][{index}]"), SubtaskLoad { busy: f64::from(index), ..SubtaskLoad::default() });
        }
        let told = crate::worker::tests::job();
        let answer = status(&job, &told, &told, About::default());
        assert_eq!(answer.operators.len(), 1);
        let operator = &answer.operators[0];
        assert_eq!((operator.id.as_str(), operator.records_in), ("a[b]", 3));
        assert_eq!(operator.subtasks.iter().map(|s| (s.index, s.busy)).collect::<Vec<_>>(), [(0, 0.0), (1, 1.0)]);
        assert_eq!(answer.state(), v1::JobState::Starting);
        assert_eq!(answer.journal_state(), v1::JobState::Unspecified);
    }
}
