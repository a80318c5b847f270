//! Attempt ids: how a writer recognises its own write.

use serde::{Deserialize, Serialize};

/// Parts the name of a process from what is drawn.
const OF_PROCESS: char = '.';

/// Names one attempt to append an entry. Two processes never use the same one; a read-back that finds it is a success.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptId(pub String);

impl AttemptId {
    /// True if it was drawn by a process of this name, or by an earlier one that had it.
    pub fn is_of(&self, process: &str) -> bool {
        self.0.strip_prefix(process).is_some_and(|rest| rest.starts_with(OF_PROCESS))
    }
}

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

    /// The same for a process whose later ones are to know its entries by `name`: a pod, whose containers follow each other.
    pub fn named(name: &str, process: &str) -> Self {
        Self::new(format!("{name}{OF_PROCESS}{process}"))
    }

    /// The next id.
    pub fn draw(&mut self) -> AttemptId {
        self.used += 1;
        AttemptId(format!("{}-{}", self.process, self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_named_process_are_known_by_its_name() {
        let id = Attempts::named("pod-1", "c0ffee").draw();
        assert_eq!(id.0, "pod-1.c0ffee-1");
        assert!(id.is_of("pod-1") && !id.is_of("pod") && !id.is_of("pod-11"));
        assert!(!Attempts::new("c0ffee").draw().is_of("c0ffee"));
    }
}
