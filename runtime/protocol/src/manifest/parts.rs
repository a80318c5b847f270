//! What operators, splits, states and sinks contribute to a manifest.

use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, OperatorId, StateId, SubtaskIndex};

/// The kind of a keyed state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StateKind {
    /// One value per key.
    Value,
    /// A list of elements per key.
    List,
    /// An ordered map per key.
    Map,
    /// One value per key, combined by a reduce function.
    Reducing,
    /// One accumulator per key.
    Aggregating,
    /// Timers, ordered by timestamp.
    Timers,
    /// A map that every subtask holds in full.
    Broadcast,
}

impl std::fmt::Display for StateKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Reducing => "reducing",
            Self::Aggregating => "aggregating",
            Self::Timers => "timers",
            Self::Broadcast => "broadcast",
        })
    }
}

/// A keyed state as declared by the job; compared at restore before any output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateInfo {
    /// The number under which the state's entries are stored.
    pub id: StateId,
    /// The operator that owns it.
    pub operator: OperatorId,
    /// Its name within the operator.
    pub name: String,
    /// Its kind.
    pub kind: StateKind,
    /// Fingerprint of the key type.
    pub key_type: String,
    /// Fingerprint of the value type (element or accumulator type for lists and aggregates).
    pub value_type: String,
    /// Fingerprint of a map's user key type.
    pub user_key_type: Option<String>,
    /// The schema version the job's author gave it.
    pub version: u32,
}

/// Where a source stands in one split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitPosition {
    /// The source.
    pub operator: OperatorId,
    /// The split's name.
    pub split: String,
    /// The connector's own position after the last record read; `None`: discovered, not yet read.
    pub position: Option<serde_json::Value>,
    /// The split's watermark in milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
    /// True if the split will never deliver another record.
    pub finished: bool,
}

/// What is stored of an operator besides its keyed state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorSnapshot {
    /// The operator.
    pub operator: OperatorId,
    /// Number of its subtasks.
    pub parallelism: u32,
    /// Each subtask's watermark (milliseconds since the Unix epoch) when it sealed; `None` before the first. For sources what
    /// they emitted. The end of a bounded input does not count: once restored, the input may have grown.
    pub watermarks: Vec<Option<i64>>,
    /// True if it has keyed state that must not be left behind at a restore.
    pub stateful: bool,
    /// Records taken in since the job's first start.
    pub records_in: u64,
    /// Records passed on since the job's first start.
    pub records_out: u64,
}

/// Prepared output of a sink, to be committed once the checkpoint's journal entry exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkHandle {
    /// The sink.
    pub operator: OperatorId,
    /// The subtask that prepared it.
    pub subtask: SubtaskIndex,
    /// The epoch the output belongs to; older than the checkpoint if that epoch's own checkpoint was aborted.
    pub epoch: CheckpointId,
    /// The connector's own description of the output.
    pub payload: serde_json::Value,
}
