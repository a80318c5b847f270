//! The shell: watches, reads, carries out, and decides nothing.

mod act;
mod apply;
mod authority;
mod clients;
mod context;
mod control;
mod leadership;
mod observe;
mod reconcile;
mod run;
mod stores;
mod views;

pub use run::{RunError, run};
