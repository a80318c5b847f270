//! What a decision is made from, and what it consists of: values, no clients.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use weir_api::spec::{DeletionPolicy, DesiredState};
use weir_api::{Invalid, ResolvedJob, StreamJobStatus};

use super::back_off::BackOff;
use super::deployment::{Deployment, Notes};
use crate::names::{Component, Job};

/// Everything that was seen of one job.
#[derive(Debug, Clone)]
pub struct World {
    /// Now.
    pub now: Timestamp,
    /// Which job.
    pub job: Job,
    /// The generation of its spec.
    pub generation: i64,
    /// Since when it is being deleted.
    pub deleting: Option<Timestamp>,
    /// Whether our finalizer is on it.
    pub finalizer: bool,
    /// Whether its namespace is being deleted.
    pub namespace_ending: bool,
    /// Whether it should run, as the spec says.
    pub desired_state: DesiredState,
    /// What deletion should leave, as the spec says.
    pub deletion_policy: DeletionPolicy,
    /// The spec, resolved by this operator.
    pub wanted: Result<Wanted, Vec<Invalid>>,
    /// An object with one of the job's names that is not the job's.
    pub conflict: Option<String>,
    /// Why the record of the StatefulSet that is there cannot be used; then nothing counts as deployed.
    pub unreadable: Option<String>,
    /// Where nothing is deployed: the highest number in its ConfigMaps, which outlive a StatefulSet.
    pub highest: u64,
    /// Pods of an earlier job with this name.
    pub strangers: usize,
    /// The StatefulSet, if it is there.
    pub deployed: Option<Deployed>,
    /// The resolved job of the stable deployment, if it is another one and still there.
    pub stable: Option<ResolvedJob>,
    /// ConfigMaps of the job, by name.
    pub configs: Vec<String>,
    /// Its runtime pods, by name.
    pub pods: Vec<PodView>,
    /// The node of its first pod.
    pub node: NodeHealth,
    /// Why the API server refuses to create its pods, if it does.
    pub not_admitted: Option<String>,
    /// Its preflight pods.
    pub checks: Vec<TaskView>,
    /// Its deletion pod.
    pub deletion: Option<TaskView>,
    /// What the coordinator answers.
    pub control: Control,
    /// The status as it is: kept counters, and what has changed since.
    pub status: StreamJobStatus,
    /// The runtime image of this operator.
    pub default_image: String,
    /// What is remembered since the last look.
    pub memory: Memory,
}

/// A spec, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// With image, and with number 0.
    pub resolved: ResolvedJob,
    /// Whether the user named the image.
    pub names_image: bool,
    /// The hash of the spec, wishes left out.
    pub spec: String,
}

/// The StatefulSet as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    /// The ConfigMap it names.
    pub config: String,
    /// The resolved job in it; nothing if the ConfigMap is gone.
    pub resolved: Option<ResolvedJob>,
    /// Its number, also if the ConfigMap is gone.
    pub number: u64,
    /// The serial of its certificate.
    pub serial: u64,
    /// Its replicas.
    pub replicas: i32,
    /// Pods that are ready.
    pub ready: i32,
    /// What is remembered with it.
    pub notes: Notes,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeHealth {
    /// Nobody asked, or the operator may not.
    #[default]
    Unknown,
    /// Its kubelet reports.
    Ready,
    /// Its kubelet is silent or unwell since then.
    NotReady(Timestamp),
    /// It is no node of the cluster any more.
    Gone,
}

/// A runtime pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version of the object that was seen.
    pub version: String,
    /// The ConfigMap it was made for.
    pub config: String,
    /// When it was made.
    pub created: Timestamp,
    /// Since when it is being removed.
    pub deleting: Option<Timestamp>,
    /// Its node.
    pub node: Option<String>,
    /// Its address.
    pub ip: Option<String>,
    /// `status.phase`
    pub phase: String,
    /// `status.reason`
    pub reason: Option<String>,
    /// `status.message`
    pub message: Option<String>,
    /// Whether it is ready.
    pub ready: bool,
    /// Why no node takes it, if none does.
    pub unschedulable: Option<String>,
    /// Restarts of its container.
    pub restarts: u32,
    /// Since when its container runs, if it does.
    pub running_since: Option<Timestamp>,
    /// What its container waits for, if it does.
    pub waiting: Option<Waiting>,
    /// How its container ended, if it is not running.
    pub terminated: Option<Terminated>,
    /// How its container ended before it was started again.
    pub last_terminated: Option<Terminated>,
}

/// What a container waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminated {
    /// `OOMKilled`, `Error`, `Completed`, …
    pub reason: String,
    /// Its exit code.
    pub exit_code: i32,
    /// Its termination message.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A preflight or deletion pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    /// The pod's name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The ConfigMap it was made for.
    pub config: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is being removed.
    pub deleting: bool,
    /// How it ended: exit code and last words. Nothing while it is under way.
    pub ended: Option<(i32, String)>,
    /// What keeps it from running.
    pub stuck: Option<String>,
}

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Control {
    /// There was nobody to ask.
    #[default]
    NotAsked,
    /// It did not answer.
    Unreachable(String),
    /// What it said.
    Answered(Box<Report>),
}

/// What a coordinator said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The number of the revision it runs.
    pub number: u64,
    /// The hash of the revision it runs.
    pub hash: String,
    /// Its reign.
    pub generation: u64,
    /// What it does.
    pub state: RunState,
    /// Why, in a sentence.
    pub reason: String,
    /// The journal's last word.
    pub journal: RunState,
    /// The number that the journal's last word is about.
    pub journal_number: u64,
    /// The job's id.
    pub job_id: String,
    /// Retained checkpoints, newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Restarts in this process, by kind.
    pub restarts: BTreeMap<String, u64>,
    /// Its last failure: when, kind, sentence.
    pub last_failure: Option<(Timestamp, String, String)>,
    /// Since when the object store does not answer, and what it says.
    pub storage_trouble: Option<(Timestamp, String)>,
    /// Since when this process runs.
    pub started_at: Option<Timestamp>,
    /// The last checkpoint request it carried out.
    pub checkpoint_nonce: Option<u64>,
    /// The last savepoint request it carried out.
    pub savepoint_nonce: Option<u64>,
}

/// What a coordinator does, or a journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunState {
    /// Not known.
    #[default]
    Unknown,
    /// Opening the journal.
    Starting,
    /// Restoring.
    Deploying,
    /// Running.
    Running,
    /// Taking the final checkpoint.
    Ending,
    /// Waiting before it tries again.
    Restarting,
    /// Stopped, durably.
    Stopped,
    /// Finished, durably.
    Finished,
    /// Given up, durably.
    Failed,
    /// It has no part in the job any more.
    Left,
}

/// A completed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Its id.
    pub id: u64,
    /// When it was complete.
    pub completed_at: Timestamp,
    /// From trigger to completion.
    pub duration: Duration,
    /// What a restore reads.
    pub bytes_full: u64,
    /// What was uploaded for it.
    pub bytes_incremental: u64,
    /// The reign that took it.
    pub generation: u64,
}

/// What is remembered between looks. Losing it costs time only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// Calls under way and what came of them, until they are used.
    pub calls: BTreeMap<CallKind, CallRecord>,
    /// Failures in a row.
    pub back_off: BackOff,
    /// The last crash that was counted there: the pod's uid, and which of its container's.
    pub crash_seen: Option<(String, u32)>,
    /// The pod that was last removed for a failure, and why.
    pub removed: Option<(String, String)>,
    /// Since when the coordinator does not answer.
    pub silent_since: Option<Timestamp>,
    /// Since when a job that runs was seen to run, with a storage that answers.
    pub progress_since: Option<Timestamp>,
    /// When status was last written.
    pub status_written: Option<Timestamp>,
}

impl Memory {
    /// What is remembered once a plan was made: `self` is what is remembered now, `before` what the plan was made from,
    /// `after` what it remembers.
    ///
    /// What came of calls in the meantime is newer. A call that the plan only begins is left out: whoever carries it out
    /// remembers it, so that a plan that fails before it does not leave a call that nobody makes.
    #[must_use]
    pub fn followed_by(&self, before: &Memory, mut after: Memory, actions: &[Action]) -> Memory {
        for (kind, record) in &self.calls {
            let is_news = before.calls.get(kind) != Some(record);
            if let Some(kept) = after.calls.get_mut(kind)
                && is_news
                && kept.key == record.key
            {
                *kept = record.clone();
            }
        }
        for action in actions {
            let Action::Call(call) = action else { continue };
            let is_known = before.calls.get(&call.kind()).is_some_and(|known| known.key == call.key());
            if !is_known {
                after.calls.remove(&call.kind());
            }
        }
        after
    }
}

/// A call to the control API.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Stop with a final checkpoint.
    Stop {
        /// The revision it is meant for.
        number: u64,
        /// How long the final checkpoint may take.
        timeout: Duration,
    },
    /// Deploy another resolved job in the same process.
    Redeploy {
        /// That job.
        resolved: Box<ResolvedJob>,
        /// How long the final checkpoint may take.
        timeout: Duration,
    },
    /// Take a checkpoint.
    Checkpoint {
        /// The request.
        nonce: u64,
    },
    /// Take a savepoint.
    Savepoint {
        /// The request.
        nonce: u64,
        /// Its name.
        name: String,
    },
}

/// Which call; one of each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// See [`Call::Stop`].
    Stop,
    /// See [`Call::Redeploy`].
    Redeploy,
    /// See [`Call::Checkpoint`].
    Checkpoint,
    /// See [`Call::Savepoint`].
    Savepoint,
}

/// A call and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The number or nonce it is for.
    pub key: u64,
    /// When it began.
    pub started: Timestamp,
    /// What came of it; nothing while it is under way.
    pub outcome: Option<Outcome>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and what it says.
    Done(String),
    /// No answer, or "not now": asking again is fine.
    Again(String),
    /// Refused: asking again is not.
    Refused(String),
}

impl Call {
    /// Which call.
    pub fn kind(&self) -> CallKind {
        match self {
            Call::Stop { .. } => CallKind::Stop,
            Call::Redeploy { .. } => CallKind::Redeploy,
            Call::Checkpoint { .. } => CallKind::Checkpoint,
            Call::Savepoint { .. } => CallKind::Savepoint,
        }
    }

    /// The number or nonce it is for.
    pub fn key(&self) -> u64 {
        match self {
            Call::Stop { number, .. } => *number,
            Call::Redeploy { resolved, .. } => resolved.revision_number,
            Call::Checkpoint { nonce } | Call::Savepoint { nonce, .. } => *nonce,
        }
    }
}

/// What a pod that is removed is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Its grace period.
    Graceful,
    /// Nothing: its kubelet will not confirm anything.
    Forced,
    /// Nothing: its process is dead already. Only if the pod is still as it was seen, so that none was started meanwhile.
    Dead {
        /// The version that was seen.
        version: String,
    },
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Put our finalizer on the StreamJob, or take it off.
    SetFinalizer(bool),
    /// Create the ConfigMap of a resolved job, then a preflight or deletion pod for it.
    CreateTask {
        /// Which.
        component: Component,
        /// The job, with image and number.
        resolved: Box<ResolvedJob>,
        /// The hash of its spec.
        spec: String,
    },
    /// Remove a pod.
    DeletePod {
        /// Its name.
        name: String,
        /// Its uid: another pod of that name is left alone.
        uid: String,
        /// What it is given.
        how: Removal,
    },
    /// Remove a ConfigMap that nothing uses.
    DeleteConfig(String),
    /// Call the control API, in the background.
    Call(Call),
    /// Say on the Namespace that a job's checkpoints are kept although it says Delete.
    TellNamespace(String),
}

/// An event to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whether someone should look.
    pub warning: bool,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub note: String,
}

/// What to do, and what to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Whether Service, budget and policy should be there.
    pub support: bool,
    /// What should be deployed; nothing leaves the StatefulSet alone.
    pub deployment: Option<Deployment>,
    /// Further things to do, in this order, after the deployment.
    pub actions: Vec<Action>,
    /// Events to say.
    pub notices: Vec<Notice>,
    /// Restarts to count, by reason.
    pub restarted: BTreeMap<String, u64>,
    /// The status.
    pub status: StreamJobStatus,
    /// What to remember.
    pub memory: Memory,
    /// When to look again.
    pub again: Duration,
}
