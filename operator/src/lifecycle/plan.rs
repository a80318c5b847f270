//! What a decision consists of: things to do, in order, and things to say.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_api::{ResolvedJob, StreamJobStatus};

use super::call::Call;
use super::deployment::Deployment;
use super::memory::Memory;
use crate::names::Component;

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
    /// Whether it has happened already, whatever becomes of the plan; else it is what the plan does.
    pub happened: bool,
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
