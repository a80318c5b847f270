//! The state engine against a reference model, across seals, aborts, restores and rescales, and with damaged storage.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod cluster;
mod defects;
mod durability;
mod expiry;
mod formats;
mod hand_over;
mod memory;
mod model;
mod restore;
mod scenario;
mod schema;
