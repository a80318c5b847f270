//! The dataflow: batches, channels, subtasks, operators, windows and the typed API.

pub mod batch;
pub mod build;
pub mod channel;
pub mod deploy;
pub mod element;
pub mod error;
pub mod exchange;
pub mod gate;
pub mod graph;
pub mod join;
pub mod keyed;
pub mod operator;
pub mod operators;
pub mod record;
pub mod sink;
pub mod source;
pub mod source_task;
pub mod stage;
pub mod stream;
pub mod task;
pub mod time;
mod typed;
pub mod window;
