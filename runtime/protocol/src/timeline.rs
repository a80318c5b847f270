//! How one checkpoint went in one subtask: the record behind `weir inspect timeline`.

use serde::{Deserialize, Serialize};

use crate::ids::{OperatorId, SubtaskIndex};

/// The phases of one checkpoint in one subtask. Points in time are microseconds since the Unix epoch, durations are
/// microseconds. In order: trigger → alignment start (first barrier) → alignment end (last barrier) → sync (seal, on the
/// record path) → async (run written behind the stream, `upload_us` of it spent uploading) → end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubtaskTimeline {
    /// The operator (the first one of a chain).
    pub operator: OperatorId,
    /// The subtask.
    pub subtask: SubtaskIndex,
    /// When the coordinator triggered the checkpoint.
    pub trigger_at_us: i64,
    /// When the first barrier arrived (sources: when the barrier was injected).
    pub alignment_start_us: i64,
    /// When the last barrier arrived.
    pub alignment_end_us: i64,
    /// Time the record path stood still: seal, freeze of sinks, forwarding the barrier.
    pub sync_us: u64,
    /// Time behind the stream: sorting, writing, uploading, preparing sinks.
    pub async_us: u64,
    /// The part of `async_us` spent uploading.
    pub upload_us: u64,
    /// When everything of this subtask was durable.
    pub end_us: i64,
    /// Bytes this subtask made durable.
    pub bytes: u64,
}

impl SubtaskTimeline {
    /// Time spent waiting for the other inputs' barriers, in microseconds.
    pub fn alignment_us(&self) -> u64 {
        u64::try_from(self.alignment_end_us.saturating_sub(self.alignment_start_us)).unwrap_or(0)
    }

    /// Time from the trigger to the end, in microseconds.
    pub fn duration_us(&self) -> u64 {
        u64::try_from(self.end_us.saturating_sub(self.trigger_at_us)).unwrap_or(0)
    }
}
