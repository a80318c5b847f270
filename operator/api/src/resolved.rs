//! A job with every default applied and every rule checked: all that a runtime process sees of a manifest.
//!
//! On a cluster it is stored as JSON in an immutable ConfigMap, so its format has a version and a golden file. Fields are
//! only ever added, with a default that means what older writers meant.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::duration::Duration;
use crate::name::JobName;
use crate::spec::{
    CheckpointMode, DeletionPolicy, DesiredState, PodSpec, RestartStrategy, SavepointSpec, StateBackend,
};
use crate::uri::StorageUri;

/// The version of [`ResolvedJob`]'s stored form.
pub const FORMAT: u32 = 1;

/// A job that can run. Made by [`resolve`](crate::resolve::resolve) only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedJob {
    /// Version of this form.
    pub format: u32,
    /// This resolved job's place in the order of things: twice the StreamJob's generation, so that a rollback from it
    /// has the odd number behind it; 0 on the command line. A job that is stopped, finished or failed runs again only for
    /// a higher number, and a lower one never takes over. No part of what runs: the hash is the same for every number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision_number: u64,
    /// The job's name.
    pub name: JobName,
    /// Its namespace; `local` on the command line. With the name it makes the job's place under `storage.uri`.
    pub namespace: String,
    /// Who may write the job's journal: the StreamJob's uid, or `local`.
    pub owner: String,
    /// The runtime image; `None` means the one that belongs to the Weir operator.
    pub image: Option<String>,
    /// The job graph.
    pub job: String,
    /// The graph's arguments, as they were given.
    pub args: BTreeMap<String, Value>,
    /// Worker processes.
    pub workers: u32,
    /// Subtasks of each operator in a worker.
    pub slots: u32,
    /// Workers times slots.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: u32,
    /// Memory of a worker process, in bytes.
    pub memory_bytes: u64,
    /// Cores of a worker, in thousandths.
    pub cpu_millis: u64,
    /// Local disk of a worker, in bytes.
    pub disk_bytes: u64,
    /// Where state lives while the job runs.
    pub backend: StateBackend,
    /// Where checkpoints are kept; `None` only on the command line, which then chooses a directory.
    pub storage: Option<ResolvedStorage>,
    /// When checkpoints are taken and how many are kept.
    pub checkpoint: ResolvedCheckpoint,
    /// How the job comes back after a failure.
    pub restart: ResolvedRestart,
    /// What the job starts from, if not from its own latest checkpoint.
    pub restore_from: Option<RestoreFrom>,
    /// The last restart that was asked for.
    pub restart_nonce: Option<u64>,
    /// Storage class of the workers' local disks; `None` for the node's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_class: Option<String>,
    /// Where pods run and what they are given. Not read by the runtime.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pod: PodSpec,
    /// The wishes that change nothing in what runs.
    #[serde(default)]
    pub wishes: Wishes,
}

fn is_default(pod: &PodSpec) -> bool {
    *pod == PodSpec::default()
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What is asked of whoever runs the job, and does not make it another revision.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wishes {
    /// Whether the job should run.
    pub desired_state: DesiredState,
    /// What becomes of checkpoints when the job is deleted.
    pub deletion_policy: DeletionPolicy,
    /// How the job is moved to a changed spec.
    pub upgrade: ResolvedUpgrade,
    /// The last checkpoint that was asked for.
    pub checkpoint_nonce: Option<u64>,
    /// The last savepoint that was asked for.
    pub savepoint: Option<SavepointSpec>,
}

/// Where checkpoints are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedStorage {
    /// The place all jobs share; a job's own is below it.
    pub uri: StorageUri,
    /// Address of the S3 service; `None` for AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket; `None` takes the environment's.
    pub region: Option<String>,
    /// Secret with the credentials; `None` takes the environment's or the pod's workload identity.
    pub credentials_secret: Option<String>,
}

/// When checkpoints are taken and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedCheckpoint {
    /// Time from one trigger to the next.
    pub interval: Duration,
    /// Least time from the end of one checkpoint to the start of the next.
    pub min_pause: Duration,
    /// Time after which an unfinished checkpoint is given up.
    pub timeout: Duration,
    /// Newest checkpoints that are kept.
    pub retained: u32,
    /// Checkpoints under way at once.
    pub max_concurrent: u32,
    /// What a checkpoint promises.
    pub mode: CheckpointMode,
    /// Also trigger after so many records.
    pub every_records: Option<u64>,
    /// Also trigger after so many bytes.
    pub every_bytes: Option<u64>,
    /// Checkpoints in a row that may fail before the job restarts.
    pub tolerable_failures: u32,
}

/// How the job comes back after a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedRestart {
    /// How delays grow.
    pub strategy: RestartStrategy,
    /// Delay before the first restart.
    pub initial: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Time without a failure after which delay and budget start anew; for a pod that fails, a completed checkpoint starts
    /// the delay anew.
    pub reset_after: Duration,
    /// Restarts in a row after which the job is given up; `None` for no limit.
    pub budget: Option<u32>,
}

/// How a running job is moved to a changed spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedUpgrade {
    /// How long the old job may take for its final checkpoint.
    pub final_checkpoint_timeout: Duration,
    /// How long the new job may take for its first checkpoint.
    pub deadline: Duration,
}

impl Default for ResolvedUpgrade {
    fn default() -> Self {
        ResolvedUpgrade {
            final_checkpoint_timeout: crate::defaults::FINAL_CHECKPOINT_TIMEOUT,
            deadline: crate::defaults::UPGRADE_DEADLINE,
        }
    }
}

/// What a job starts from, if not from its own latest checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RestoreFrom {
    /// The journal at this place is adopted: same history, same job id.
    Journal(StorageUri),
    /// A new history begins with this savepoint.
    Savepoint(StorageUri),
    /// A retained checkpoint of the job's own journal.
    #[serde(rename_all = "camelCase")]
    Checkpoint {
        /// Its id.
        id: u64,
        /// Whether output committed after it may be repeated.
        allow_duplicates: bool,
    },
    /// No state at all.
    Empty,
}
