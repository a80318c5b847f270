//! The machine against scripted answers.
