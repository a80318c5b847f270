//! Sources and sinks: nexmark, sequence, files, print, blackhole.
//!
//! Every connector implements the contracts of [`weir_engine::source`] and [`weir_engine::sink`] and nothing else: no
//! connector knows about checkpoints, generations or other connectors beyond what those contracts hand it.

pub mod nexmark;
pub mod sequence;

pub mod files;

pub mod compression;
pub mod format;

mod pace;
mod split;
