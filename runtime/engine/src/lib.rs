//! The dataflow: batches, channels, subtasks, operators, windows and the typed API.

pub mod record;
pub mod batch;
pub mod element;
pub mod error;
pub mod time;
pub mod source;
pub mod sink;
pub mod graph;
pub mod stream;
pub mod keyed;
pub mod window;
pub mod join;
pub mod operators;
pub mod operator;
pub mod stage;
pub mod exchange;
pub mod channel;
pub mod gate;
pub mod task;
pub mod source_task;
pub mod build;
pub mod deploy;
mod typed;
