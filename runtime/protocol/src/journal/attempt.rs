//! Attempt ids: how a writer recognises its own write.

use serde::{Deserialize, Serialize};

/// Names one attempt to append an entry. Two processes never use the same one; a read-back that finds it is a success.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub String);

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

/// Hands out attempt ids: a random part drawn once per process by the shell, and a counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempts {
    process: String,
    used: u64,
}

impl Attempts {
    /// `process` is at least 64 random bits as text, drawn anew by every process.
    pub fn new(process: impl Into<String>) -> Self {
        Self { process: process.into(), used: 0 }
    }

    /// The next id.
    pub fn draw(&mut self) -> AttemptId {
        self.used += 1;
        AttemptId(format!("{}-{}", self.process, self.used))
    }
}
