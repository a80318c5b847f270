//! What a decision is made from: values, no clients.

use jiff::Timestamp;
use weir_api::spec::{DeletionPolicy, DesiredState};
use weir_api::{Invalid, ResolvedJob, StreamJobStatus};

use super::deployment::Notes;
use super::memory::Memory;
use super::pod_view::{PodView, TaskView};
use super::report::Control;
use crate::names::Job;

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
    /// Whether somebody edited it since it was applied.
    pub drifted: bool,
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
