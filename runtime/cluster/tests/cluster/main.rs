//! Whole jobs in one process, against a store in memory: recovery, checkpoints, savepoints, zombies, outages, endings.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod parts;
mod world;

mod checkpoints;
mod defects;
mod deletion;
mod endings;
mod recovery;
mod refusals;
mod savepoints;
mod storage;
mod zombies;
