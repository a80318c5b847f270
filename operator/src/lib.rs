//! The Weir operator: brings every StreamJob to what its spec says, and says how it is.
//!
//! Read, decide, act. [`build`] and [`lifecycle`] are values in, values out; `shell` does the I/O and decides nothing.

pub mod names;
pub mod permissions;

pub mod build;
pub mod election;
pub mod lifecycle;

pub mod http;
pub mod metrics;
pub mod settings;
mod shell;

pub use shell::{RunError, run};
