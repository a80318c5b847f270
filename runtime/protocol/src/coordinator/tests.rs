//! The coordinator against a store in memory and workers that answer at once.

mod checkpoints;
mod endings;
mod fencing;
mod random;
mod restarts;
mod retirement;
mod savepoints;
mod sim;
