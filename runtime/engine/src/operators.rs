//! The operators of the typed API, one file each.

pub mod aggregate;
pub mod broadcast;
pub mod co_process;
pub mod dead_letter;
pub mod filter;
pub mod flat_map;
pub mod join;
mod keyed_core;
pub mod map;
pub mod process;
pub mod reduce;
mod runner;
pub mod sink;
pub mod window;
