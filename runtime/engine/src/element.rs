//! What a channel carries: batches and control elements, in one order.

use weir_protocol::{CheckpointId, Generation};

pub use weir_protocol::alignment::AlignmentMode;

use crate::batch::Batch;

/// The watermark after the last record of a bounded input.
pub const MAX_WATERMARK: i64 = i64::MAX;
/// The watermark before the first record.
pub const MIN_WATERMARK: i64 = i64::MIN;

/// The line between two epochs. Flows with the records and never overtakes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    /// The checkpoint it belongs to; names the epoch it closes.
    pub checkpoint: CheckpointId,
    /// The reign that injected it.
    pub generation: Generation,
    /// When the coordinator triggered it, microseconds since the Unix epoch.
    pub triggered_at_us: u64,
    /// Nothing comes after it: whoever it has passed reads, fires and emits no more, and waits for the end.
    pub is_final: bool,
}

/// One element of a channel. Control elements keep their place among the batches.
#[derive(Debug)]
pub enum Element<T> {
    /// Records.
    Batch(Batch<T>),
    /// No later record has an event time at or below this one.
    Watermark(i64),
    /// The line between two epochs.
    Barrier(Barrier),
    /// The sender has nothing to say about event time until it says something else.
    Idle,
    /// The last record was delivered. Barriers may still follow.
    End,
}
