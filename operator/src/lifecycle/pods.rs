//! What a pod's status says about it, in one word.

use jiff::Timestamp;

use super::failures::Reason;
use super::world::{NodeHealth, PodView, Terminated, Waiting};

/// Exit codes of the runtime; see `weir_control::exit_code`.
const DONE: i32 = 0;
pub(super) const REFUSED: i32 = 2;
const FENCED: i32 = 3;
/// Exit codes above this are signals.
const SIGNALS: i32 = 128;

/// How a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodHealth {
    /// It is being made: scheduled, image pulled, container started.
    Starting,
    /// Its process runs.
    Running,
    /// It is being removed, since then.
    Terminating(Timestamp),
    /// Its node is gone since then: nobody will confirm anything about it.
    NodeGone(Timestamp),
    /// It cannot start for this reason.
    Stuck(Reason, String),
    /// Its process ended; the kubelet will start it again.
    Crashed(Crash),
    /// It is over and will be replaced by its StatefulSet.
    Over(Reason, String),
}

/// A process that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// Why.
    pub reason: Reason,
    /// Its exit code.
    pub exit_code: i32,
    /// Its last words.
    pub message: String,
    /// When it ended.
    pub at: Timestamp,
}

impl Crash {
    /// What it said, or how it ended.
    pub(super) fn words(&self) -> String {
        if self.message.is_empty() { format!("exit code {}", self.exit_code) } else { self.message.clone() }
    }
}

/// How a pod is, given what is known of its node.
pub fn resolve_health(pod: &PodView, node: &NodeHealth) -> PodHealth {
    let gone = match node {
        NodeHealth::Unknown | NodeHealth::Ready => None,
        NodeHealth::NotReady(since) => Some(*since),
        NodeHealth::Gone => Some(pod.created),
    };
    if let (Some(since), true) = (gone, pod.node.is_some()) {
        return PodHealth::NodeGone(since);
    }
    if let Some(since) = pod.deleting {
        return PodHealth::Terminating(since);
    }
    if pod.phase == "Failed" || pod.phase == "Succeeded" {
        return over(pod);
    }
    if let Some(message) = &pod.unschedulable {
        return PodHealth::Stuck(Reason::Unschedulable, message.clone());
    }
    if let Some(ended) = &pod.terminated {
        return PodHealth::Crashed(resolve_crash(ended));
    }
    match &pod.waiting {
        None if pod.running_since.is_some() => PodHealth::Running,
        None => PodHealth::Starting,
        Some(Waiting { reason, message }) => waiting(pod, reason, message),
    }
}

fn waiting(pod: &PodView, reason: &str, message: &str) -> PodHealth {
    let said = || if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable" => PodHealth::Stuck(Reason::Image, said()),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            PodHealth::Stuck(Reason::Configuration, said())
        }
        "CrashLoopBackOff" => match &pod.last_terminated {
            Some(ended) => PodHealth::Crashed(resolve_crash(ended)),
            None => PodHealth::Starting,
        },
        _ => PodHealth::Starting,
    }
}

fn over(pod: &PodView) -> PodHealth {
    let said = pod.message.clone().unwrap_or_default();
    match (pod.reason.as_deref(), &pod.terminated) {
        (Some("Evicted" | "Preempting" | "Terminated" | "NodeShutdown" | "Shutdown"), _) => {
            PodHealth::Over(Reason::Evicted, said)
        }
        (Some("NodeLost"), _) => PodHealth::Over(Reason::NodeGone, said),
        (Some("OutOfcpu" | "OutOfmemory" | "OutOfpods" | "NodeAffinity" | "UnexpectedAdmissionError"), _) => {
            PodHealth::Over(Reason::Unschedulable, said)
        }
        (_, Some(ended)) => {
            let crash = resolve_crash(ended);
            PodHealth::Over(crash.reason, crash.message)
        }
        _ => PodHealth::Over(Reason::PodDeleted, said),
    }
}

/// Why a process ended.
pub(super) fn resolve_crash(ended: &Terminated) -> Crash {
    let reason = match (ended.reason.as_str(), ended.exit_code) {
        ("OOMKilled", _) => Reason::OutOfMemory,
        ("ContainerStatusUnknown", _) => Reason::NodeGone,
        (_, DONE) => Reason::Exited,
        (_, REFUSED) => Reason::Refused,
        (_, FENCED) => Reason::Fenced,
        (_, code) if code > SIGNALS => Reason::Killed,
        (_, _) => Reason::Crashed,
    };
    Crash { reason, exit_code: ended.exit_code, message: ended.message.clone(), at: ended.at }
}
