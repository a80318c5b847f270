//! `StreamJob` status: what the Weir operator last saw. A cache; no decision reads it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form;

/// What the Weir operator last saw of a job.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamJobStatus {
    /// The generation of the spec that this status answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// When the journal's head was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<Time>,

    /// Where the job stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<JobState>")]
    pub state: Option<JobState>,

    /// Whether someone should look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<Health>")]
    pub health: Option<Health>,

    /// The revision of the resolved job that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,

    /// The image that the runtime pods are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,

    /// The job's id in its journal, drawn by the first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<String>,

    /// Runtime pods that exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<i32>,

    /// Runtime pods that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_workers: Option<i32>,

    /// Label selector of the runtime pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Ready, Progressing, Degraded, CheckpointHealthy and UpdateAvailable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The newest completed checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checkpoint: Option<CheckpointStatus>,

    /// Retained checkpoints, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<CheckpointStatus>,

    /// Restarts since the job was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i64>,

    /// Restarts by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts_by_reason: BTreeMap<String, i64>,

    /// Up to where restarts are counted: the pod's uid, its container's restarts, the job's restarts within that process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts_mark: Option<String>,

    /// The last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureStatus>,

    /// The last savepoint that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<SavepointStatus>,
}

/// What became of a request for a savepoint.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavepointStatus {
    /// Its name.
    pub name: String,

    /// The nonce it was asked for with.
    pub nonce: i64,

    /// What was answered.
    pub message: String,
}

/// Where a job stands.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum JobState {
    /// Accepted, nothing runs yet.
    Pending,
    /// Pods are started, no task runs yet.
    Starting,
    /// Tasks run.
    Running,
    /// A failure is being recovered from.
    Restarting,
    /// It is being moved to a changed spec.
    Upgrading,
    /// It is being stopped with a final checkpoint.
    Suspending,
    /// It is stopped and can go on.
    Suspended,
    /// Its input ended and all output is committed.
    Finished,
    /// It was given up; the last failure says why.
    Failed,
}

impl JobState {
    /// All of them, in the order of a job's life.
    pub const ALL: [JobState; 9] = [
        JobState::Pending,
        JobState::Starting,
        JobState::Running,
        JobState::Restarting,
        JobState::Upgrading,
        JobState::Suspending,
        JobState::Suspended,
        JobState::Finished,
        JobState::Failed,
    ];
}

impl fmt::Display for JobState {
    /// As it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Serialize::serialize(self, f)
    }
}

/// Whether someone should look at a job.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum Health {
    /// It does what it should.
    Healthy,
    /// It does not, or not for long: the conditions say why.
    Degraded,
    /// It cannot be told now.
    Unknown,
}

/// A completed checkpoint.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// Its id: monotone over the job's life.
    pub id: i64,

    /// When its journal entry was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,

    /// From trigger to journal entry, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_millis: Option<i64>,

    /// Bytes a restore would read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_full: Option<i64>,

    /// Bytes this checkpoint uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_incremental: Option<i64>,
}

/// A failure of a job.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// Why, in one word of a closed list.
    pub reason: String,

    /// The pod it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,

    /// The process's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,

    /// The process's last words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,

    /// When it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
}
