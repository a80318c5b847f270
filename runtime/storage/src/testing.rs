//! Real servers and a fault proxy for tests: of this crate, of the crates above it, and of the whole.
//!
//! Nothing here skips: a server that cannot be had panics with the reason.

mod proxy;
mod server;

pub use proxy::{FaultCounts, FaultKind, FaultPlan, FaultProxy};
pub use server::TestServer;
