//! Sources and sinks: nexmark, sequence, files, print, blackhole.
//!
//! Every connector implements the contracts of [`weir_engine::source`] and [`weir_engine::sink`] and nothing else: no
//! connector knows about checkpoints, generations or other connectors beyond what those contracts hand it.

pub mod nexmark;
pub mod sequence;

pub mod files;

pub mod blackhole;
pub mod collect;
pub mod file_sink;
pub mod print;

pub mod compression;
pub mod format;

mod io_errors;
mod lines_out;
mod pace;
mod split;

/// A writing subtask, for tests.
#[cfg(test)]
fn test_context() -> weir_engine::sink::SinkContext {
    weir_engine::sink::SinkContext {
        job_id: "job".into(),
        operator: "out".into(),
        subtask: 0,
        parallelism: 1,
        generation: 1,
        restored_epoch: 0,
    }
}
