//! Weir's protocol without I/O: ids, key groups, barrier alignment, watermarks, the journal, the manifest and the
//! coordinator's decisions.
//!
//! Nothing in this crate reads a clock, draws a random number, spawns, waits, or iterates an unordered collection: time
//! and randomness are arguments, effects come back as lists of actions, collections are ordered. The same inputs give the
//! same outputs, which is what the model check and the simulation stand on.

pub mod alignment;
pub mod coordinator;
pub mod defects;
pub mod ids;
pub mod journal;
pub mod key_group;
pub mod layout;
pub mod manifest;
pub mod object;
pub mod restart;
pub mod stored;
pub mod timeline;
pub mod watermark;

pub use ids::{CheckpointId, Generation, JobId, Millis, OperatorId, Sequence, StateId, SubtaskIndex, WorkerIndex};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_group, key_groups_of, key_hash, subtask_of};
pub use manifest::{
    Manifest, ManifestError, ManifestKind, OperatorSnapshot, RunKind, RunRef, SinkHandle, SplitPosition, StateInfo,
    StateKind,
};
pub use object::ObjectRef;
pub use timeline::SubtaskTimeline;
