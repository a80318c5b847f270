//! The dataflow: batches, channels, subtasks, operators, windows and the typed API.

pub mod batch;
pub mod record;
pub mod sink;
pub mod source;
