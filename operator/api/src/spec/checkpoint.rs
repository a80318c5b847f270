//! When checkpoints are taken, how, and how many are kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::duration::Duration;
use crate::form;
use crate::quantity::Quantity;

/// When checkpoints are taken and how many are kept.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointSpec {
    /// Time from one trigger to the next. Unit: duration. Default: 10s. Allowed: 10ms to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::INTERVAL.rule())]
    pub interval: Option<Duration>,

    /// Least time from the end of one checkpoint to the start of the next. Unit: duration. Default: 0s. Allowed: 0s to
    /// 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::MIN_PAUSE.rule())]
    pub min_pause: Option<Duration>,

    /// Time after which an unfinished checkpoint is given up. Unit: duration. Default: 10m. Allowed: 10ms to 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::CHECKPOINT_TIMEOUT.rule())]
    pub timeout: Option<Duration>,

    /// Newest checkpoints that are kept. Unit: checkpoints. Default: 6. Allowed: 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::RETAINED.rule())]
    pub retained: Option<i32>,

    /// Checkpoints under way at once. Unit: checkpoints. Default: 1. Allowed: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::MAX_CONCURRENT.rule())]
    pub max_concurrent: Option<i32>,

    /// ExactlyOnce aligns the inputs of an operator at a barrier; AtLeastOnce does not wait, and may process records
    /// twice after a failure. Unit: mode. Default: ExactlyOnce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<CheckpointMode>")]
    pub mode: Option<CheckpointMode>,

    /// Also triggers after so many records read since the last checkpoint. Unit: records. Default: not used. Allowed: 1
    /// or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::EVERY_RECORDS.rule())]
    pub every_records: Option<i64>,

    /// Also triggers after so many bytes read since the last checkpoint. Unit: bytes. Default: not used. Allowed: 1 to
    /// 1Ei.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::EVERY_BYTES.rule())]
    pub every_bytes: Option<Quantity>,

    /// Checkpoints in a row that may fail before the job restarts; an outage of the storage never counts. Unit:
    /// checkpoints. Default: 3. Allowed: 0 to 1000000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::TOLERABLE_FAILURES.rule())]
    pub tolerable_failures: Option<i32>,
}

/// What a checkpoint promises after a restore.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum CheckpointMode {
    /// Every record changes state and output once.
    #[default]
    ExactlyOnce,
    /// Records between two barriers may be processed again.
    AtLeastOnce,
}
