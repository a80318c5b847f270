//! `StreamJob`: what a user asks for, field by field, as it is written in a manifest.
//!
//! These types say only what was written: a field that was left out is `None`. Defaults are applied in one place,
//! [`resolve`](crate::resolve::resolve), never here and (but for two fields that the API server must know) never in the
//! schema. Every field's comment ends with its unit, default and, where the type does not say it, what is allowed; the
//! reference is made from these comments, and a test holds them against the bounds and the defaults.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds;
use crate::duration::Duration;
use crate::form;
use crate::quantity::Quantity;
use crate::status::StreamJobStatus;

mod checkpoint;
mod pod;
mod restore;
mod rules;
mod storage;

pub use checkpoint::{CheckpointMode, CheckpointSpec};
pub use pod::{EnvSpec, ImagePullPolicy, PodSpec, TaintEffect, TolerationOperator, TolerationSpec};
pub(crate) use restore::{DUPLICATES, EMPTY, EXACTLY_ONE};
pub use restore::{RestoreFromError, RestoreFromSpec};
pub(crate) use rules::{PARALLELISM, RESTART_ORDER, STORAGE_REQUIRED};
pub use storage::{CredentialsSpec, StorageSpec};

/// The API group of Weir's resources.
pub const GROUP: &str = "weir.dev";
/// The `apiVersion` of a manifest.
pub const API_VERSION: &str = "weir.dev/v1alpha1";
/// The `kind` of a manifest.
pub const KIND: &str = "StreamJob";

/// What a streaming job runs, with which resources, and where its state is kept.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "StreamJob",
    plural = "streamjobs",
    singular = "streamjob",
    shortname = "sj",
    namespaced,
    status = "StreamJobStatus",
    derive = "PartialEq",
    doc = "A streaming job: a graph of operators that runs without loss or doubles until it is stopped or its input ends.",
    scale(
        spec_replicas_path = ".spec.workers",
        status_replicas_path = ".status.workers",
        label_selector_path = ".status.selector"
    ),
    validation = rules::name_rule(),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health"),
    printcolumn(name = "Workers", type_ = "integer", json_path = ".spec.workers"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyWorkers"),
    printcolumn(name = "Last Checkpoint", type_ = "integer", json_path = ".status.lastCheckpoint.id"),
    printcolumn(name = "Age Of It", type_ = "date", json_path = ".status.lastCheckpoint.completedAt"),
    printcolumn(name = "Restarts", type_ = "integer", json_path = ".status.restarts"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = rules::storage_rule(),
    validation = rules::storage_kept_rule(),
    validation = rules::parallelism_rule()
)]
pub struct StreamJobSpec {
    /// Container image of the runtime pods. Not used by `weir run`. Unit: image reference. Default: the runtime image
    /// that belongs to the Weir operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::image_schema")]
    pub image: Option<String>,

    /// The job graph to run: one that is compiled into the image; `weir jobs` lists them. Unit: name. Default: none,
    /// required.
    #[schemars(schema_with = "form::graph_schema")]
    pub job: String,

    /// Arguments of the graph, handed to its builder, which refuses what it does not know; `weir jobs` lists them with
    /// their defaults. Unit: name to value. Default: none given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "args_schema")]
    pub args: Option<BTreeMap<String, Value>>,

    /// Runtime pods; the scale subresource writes this number. The job's parallelism is workers times slots. Unit:
    /// pods. Default: 1. Allowed: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 1))]
    #[x_kube(validation = bounds::WORKERS.rule())]
    pub workers: Option<i32>,

    /// Number of key groups: the most subtasks an operator can ever have. Fixed for the job's life. Unit: key groups.
    /// Default: 128. Allowed: 1 to 32768.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 128))]
    #[x_kube(validation = bounds::MAX_PARALLELISM.rule(), validation = rules::max_parallelism_kept_rule())]
    pub max_parallelism: Option<i32>,

    /// Resources of one worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerSpec>,

    /// Where runtime pods run and what they are given. Not used by `weir run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSpec>,

    /// Where operators keep their state while they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateSpec>,

    /// Where checkpoints are kept. Required on a cluster; `weir run` takes a local directory if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,

    /// When checkpoints are taken and how many are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointSpec>,

    /// How the job comes back after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartSpec>,

    /// Whether the job should run. Suspended stops it with a final checkpoint and keeps everything. Unit: state.
    /// Default: Running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<DesiredState>")]
    pub desired_state: Option<DesiredState>,

    /// What becomes of checkpoints and journal when the StreamJob is deleted. Savepoints are always kept. Unit: policy.
    /// Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<DeletionPolicy>")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// How a running job is moved to a changed spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeSpec>,

    /// What the job starts from, if not from its own latest checkpoint. Exactly one of journal, savepoint, checkpoint and
    /// empty. Consumed once: the claim records it, the same value is ignored afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_from: Option<RestoreFromSpec>,

    /// Asks for a restart from a final checkpoint; a new value asks once. Unit: number. Default: no request. Allowed: 0
    /// or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::NONCE.rule())]
    pub restart_nonce: Option<i64>,

    /// Asks for a checkpoint; a new value asks once. Unit: number. Default: no request. Allowed: 0 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::NONCE.rule())]
    pub checkpoint_nonce: Option<i64>,

    /// Asks for a savepoint: a checkpoint of its own objects that outlives the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<SavepointSpec>,
}

/// Resources of one worker process.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerSpec {
    /// Subtasks of each operator in a worker. Unit: slots. Default: 1. Allowed: 1 to 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::SLOTS.rule())]
    pub slots: Option<i32>,

    /// Memory of the whole process; Weir divides it. On a cluster it is the pod's request and limit. Unit: bytes.
    /// Default: 1Gi. Allowed: 64Mi to 4Ti.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::MEMORY.rule())]
    pub memory: Option<Quantity>,

    /// Cores the pod requests. Not used by `weir run`. Unit: cores. Default: one core per slot. Allowed: 10m to 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::CPU.rule())]
    pub cpu: Option<Quantity>,

    /// Local disk for state runs, a copy of what the bucket holds. Unit: bytes. Default: 10Gi. Allowed: 64Mi to 64Ti.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::DISK.rule())]
    pub disk: Option<Quantity>,

    /// Storage class of the local disk: each pod then gets a volume of its own that goes with it. Not used by `weir run`.
    /// Unit: name. Default: the node's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::class_schema")]
    pub disk_class: Option<String>,
}

/// Where operators keep their state while they run.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StateSpec {
    /// RocksDB keeps state larger than memory on local disk; Memory keeps all of it in memory. Checkpoints are the same,
    /// so that a job can change it at a restart. Unit: backend. Default: RocksDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<StateBackend>")]
    pub backend: Option<StateBackend>,
}

/// Where state lives while a job runs.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum StateBackend {
    /// On local disk, with hot values in memory.
    #[default]
    #[serde(rename = "RocksDB")]
    RocksDb,
    /// In memory only.
    Memory,
}

/// How the job comes back after a failure.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = rules::restart_rule())]
pub struct RestartSpec {
    /// ExponentialDelay doubles the delay with each failure in a row, with jitter. Unit: strategy. Default:
    /// ExponentialDelay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<RestartStrategy>")]
    pub strategy: Option<RestartStrategy>,

    /// Delay before the first restart. Unit: duration. Default: 1s. Allowed: 1ms to 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::RESTART_INITIAL.rule())]
    pub initial: Option<Duration>,

    /// Longest delay between restarts. Unit: duration. Default: 1m. Allowed: 1ms to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::RESTART_MAX.rule())]
    pub max: Option<Duration>,

    /// Time without a failure after which delay and budget start anew; for a pod that fails, a completed checkpoint starts
    /// the delay anew. Unit: duration. Default: 10m. Allowed: 1s to 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::RESTART_RESET_AFTER.rule())]
    pub reset_after: Option<Duration>,

    /// Restarts in a row after which the job is given up as failed. Unit: restarts. Default: no limit. Allowed: 0 to
    /// 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::RESTART_BUDGET.rule())]
    pub budget: Option<i32>,
}

/// How delays between restarts grow.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum RestartStrategy {
    /// Each delay is twice the one before, with jitter, up to a maximum.
    #[default]
    ExponentialDelay,
}

/// Whether a job should run.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum DesiredState {
    /// It runs.
    #[default]
    Running,
    /// It is stopped with a final checkpoint and can go on later.
    Suspended,
}

/// What becomes of a deleted job's checkpoints.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum DeletionPolicy {
    /// They stay; a new job can adopt the journal.
    #[default]
    Retain,
    /// They are deleted before the StreamJob goes.
    Delete,
}

/// How a running job is moved to a changed spec.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradeSpec {
    /// How long the old job may take for its final checkpoint; then its latest completed one is used. Unit: duration.
    /// Default: 1m. Allowed: 10ms to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::FINAL_CHECKPOINT_TIMEOUT.rule())]
    pub final_checkpoint_timeout: Option<Duration>,

    /// How long the new job may take for its first checkpoint; then the change is rolled back. Unit: duration. Default:
    /// 5m. Allowed: 1s to 168h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::UPGRADE_DEADLINE.rule())]
    pub deadline: Option<Duration>,
}

/// A request for a savepoint.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SavepointSpec {
    /// Name of the savepoint: the folder `savepoints/<name>` under the job. Unit: name. Default: none, required.
    #[schemars(schema_with = "form::savepoint_schema")]
    pub name: String,

    /// A new value asks once. Unit: number. Default: none, required. Allowed: 0 or more.
    #[x_kube(validation = bounds::NONCE.rule())]
    pub nonce: i64,
}

/// Any JSON under any name: only the graph knows.
fn args_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
