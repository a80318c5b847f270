//! Whole jobs in one process, against a store in memory: recovery, checkpoints, savepoints, zombies, outages, endings.

mod parts;
mod world;

mod checkpoints;
mod defects;
mod endings;
mod recovery;
mod refusals;
mod savepoints;
mod storage;
mod zombies;
