//! Nodes and their components, stopped and added; as it was again when the value that stands for it is dropped.

use crate::cluster::Cluster;

impl Cluster {
    /// A second node, which takes pods when this returns.
    pub fn join(&self, name: &'static str) -> Joined<'_> {
        let joined = Joined { cluster: self, name };
        let answer = self.script(&["join", name]);
        assert!(answer.ok, "{}{}", answer.out, answer.err);
        joined
    }

    /// Stops a component of the node, which then takes connections and answers nothing, until this is dropped.
    pub fn freeze(&self, component: &str) -> Frozen<'_> {
        let file = self.directory().join("node").join(format!("{component}.pid"));
        let process = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let frozen = Frozen { cluster: self, process: process.trim().to_owned() };
        frozen.signal("-STOP");
        frozen
    }
}

/// A component that is stopped.
pub struct Frozen<'a> {
    cluster: &'a Cluster,
    process: String,
}

impl Frozen<'_> {
    fn signal(&self, signal: &str) {
        let answer = self.cluster.inside(&["kill", signal, &self.process]);
        assert!(answer.ok || std::thread::panicking(), "{}", answer.err);
    }
}

/// A second node, which leaves when this is dropped.
pub struct Joined<'a> {
    cluster: &'a Cluster,
    name: &'static str,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let answer = self.cluster.script(&["leave", self.name]);
        // All else runs on the first one, also after a test that failed.
        self.cluster.kubectl(&["uncordon", "node-1"]);
        assert!(answer.ok || std::thread::panicking(), "{}{}", answer.out, answer.err);
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.signal("-CONT");
    }
}
