//! Identifiers.

/// A checkpoint's id: monotone over the job's life, never reused. It also names the epoch that its barrier closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub u64);
