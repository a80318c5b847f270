//! From the API server's objects to what decisions are made from. Pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use weir_control::v1;

use crate::lifecycle::{Checkpoint, NodeHealth, PodView, Report, RunState, TaskView, Terminated, Waiting};
use crate::names::CONFIG;

/// A runtime pod.
pub fn pod_view(pod: &Pod) -> PodView {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.as_ref().and_then(|all| all.first()).cloned();
    let state = container.as_ref().and_then(|container| container.state.clone()).unwrap_or_default();
    let last = container.as_ref().and_then(|container| container.last_state.clone()).unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let unschedulable = condition("PodScheduled")
        .filter(|condition| condition.status == "False" && condition.reason.as_deref() == Some("Unschedulable"))
        .map(|condition| condition.message.clone().unwrap_or_default());
    let ContainerState { running, waiting, terminated } = state;
    PodView {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        version: pod.resource_version().unwrap_or_default(),
        config: pod.annotations().get(CONFIG).cloned().unwrap_or_default(),
        created: at(pod.metadata.creation_timestamp.as_ref()),
        deleting: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        ip: status.pod_ip.filter(|ip| !ip.is_empty()),
        phase: status.phase.unwrap_or_default(),
        reason: status.reason,
        message: status.message,
        ready: condition("Ready").is_some_and(|condition| condition.status == "True"),
        unschedulable,
        restarts: container.and_then(|container| u32::try_from(container.restart_count).ok()).unwrap_or_default(),
        running_since: running.map(|running| at(running.started_at.as_ref())),
        waiting: waiting.map(|waiting| Waiting {
            reason: waiting.reason.unwrap_or_default(),
            message: waiting.message.unwrap_or_default(),
        }),
        terminated: terminated.map(ended),
        last_terminated: last.terminated.map(ended),
    }
}

/// A preflight or deletion pod.
pub fn task_view(pod: &Pod) -> TaskView {
    let view = pod_view(pod);
    let is_over = view.phase == "Succeeded" || view.phase == "Failed";
    let of_container = view.terminated.as_ref().map(|ended| (ended.exit_code, ended.message.clone()));
    let of_pod = || (1, view.message.clone().or(view.reason.clone()).unwrap_or_default());
    let waits = view.waiting.as_ref().filter(|waiting| waiting.reason != "ContainerCreating");
    let waits = waits.map(|waiting| format!("{}: {}", waiting.reason, waiting.message));
    TaskView {
        ended: is_over.then(|| of_container.unwrap_or_else(of_pod)),
        stuck: view.unschedulable.or(waits),
        name: view.name,
        uid: view.uid,
        config: view.config,
        created: view.created,
        deleting: view.deleting.is_some(),
    }
}

/// How a node is; nothing means that there is none.
pub fn node_health(node: Option<&Node>) -> NodeHealth {
    let Some(node) = node else { return NodeHealth::Gone };
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    match conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready") {
        Some(ready) if ready.status == "True" => NodeHealth::Ready,
        Some(ready) => NodeHealth::NotReady(at(ready.last_transition_time.as_ref())),
        None => NodeHealth::Unknown,
    }
}

/// What a coordinator said.
pub fn report(said: v1::StatusResponse) -> Report {
    let state = run_state(said.state());
    let journal = run_state(said.journal_state());
    let revision = said.revision.unwrap_or_default();
    let storage = said.storage.unwrap_or_default();
    let failure = said.last_failure.filter(|failure| failure.at > 0);
    Report {
        number: revision.number,
        hash: revision.hash,
        generation: said.generation,
        state,
        reason: said.reason,
        journal,
        journal_number: said.journal_revision.unwrap_or_default().number,
        job_id: said.job.unwrap_or_default().job_id,
        checkpoints: said.checkpoints.into_iter().map(checkpoint).collect(),
        restarts: said.restarts_by_kind.into_iter().collect(),
        last_failure: failure.map(|failure| (millis(failure.at), failure.kind, failure.reason)),
        storage_trouble: (storage.trouble_since > 0).then(|| (millis(storage.trouble_since), storage.message)),
        started_at: (said.started_at > 0).then(|| millis(said.started_at)),
        checkpoint_nonce: said.checkpoint_nonce,
        savepoint_nonce: said.savepoint_nonce,
    }
}

fn checkpoint(said: v1::Checkpoint) -> Checkpoint {
    Checkpoint {
        id: said.id,
        completed_at: millis(said.completed_at),
        duration: std::time::Duration::from_millis(said.duration_ms),
        bytes_full: said.bytes_full,
        bytes_incremental: said.bytes_incremental,
        generation: said.generation,
    }
}

fn run_state(state: v1::JobState) -> RunState {
    match state {
        v1::JobState::Unspecified => RunState::Unknown,
        v1::JobState::Starting => RunState::Starting,
        v1::JobState::Deploying => RunState::Deploying,
        v1::JobState::Running => RunState::Running,
        v1::JobState::Ending => RunState::Ending,
        v1::JobState::Restarting => RunState::Restarting,
        v1::JobState::Stopped => RunState::Stopped,
        v1::JobState::Finished => RunState::Finished,
        v1::JobState::Failed => RunState::Failed,
        v1::JobState::Left => RunState::Left,
    }
}

fn ended(state: ContainerStateTerminated) -> Terminated {
    Terminated {
        reason: state.reason.unwrap_or_default(),
        exit_code: state.exit_code,
        message: state.message.unwrap_or_default().trim().to_owned(),
        at: at(state.finished_at.as_ref()),
    }
}

fn at(time: Option<&Time>) -> Timestamp {
    time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

fn millis(since_epoch: i64) -> Timestamp {
    Timestamp::from_millisecond(since_epoch).unwrap_or(Timestamp::UNIX_EPOCH)
}
