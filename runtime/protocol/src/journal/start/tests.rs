//! Starts and refusals.
