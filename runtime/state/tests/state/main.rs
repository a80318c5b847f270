//! The state engine against a reference model, across seals, aborts, restores and rescales, and with damaged storage.

mod cluster;
mod model;
mod scenario;
