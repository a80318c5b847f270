//! Decisions, held by tables and by a cluster that is a value.

mod classify;
mod conditions;
mod crashes;
mod flows;
mod sim;
mod steps;
mod troubles;
