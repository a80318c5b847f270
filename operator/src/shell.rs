//! The shell: watches, reads, carries out, and decides nothing.

mod act;
mod apply;
mod authority;
mod clients;
mod context;
mod control;
mod deploy;
mod drift;
mod events;
mod failure;
mod leadership;
mod observe;
mod occasion;
mod reconcile;
mod run;
mod status;
mod stores;
mod trim;
mod views;

pub use run::{RunError, run};
