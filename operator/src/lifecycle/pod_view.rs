//! Pods as decisions see them: what their status says, and nothing else.

use jiff::Timestamp;

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
