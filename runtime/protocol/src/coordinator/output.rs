//! Sinks' output between its preparation and its commit: what aborted checkpoints left behind, and what is being committed.

use std::collections::{BTreeMap, BTreeSet};

use super::plan::{TaskAck, TaskId};
use crate::ids::CheckpointId;
use crate::journal::Head;
use crate::manifest::SinkHandle;

/// Output that is prepared but not known to be committed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Output {
    /// Prepared for checkpoints that were aborted; belongs to the next one.
    carried: Vec<SinkHandle>,
    /// Checkpoints aborted since the last completed one, and who acknowledged them.
    aborted: BTreeMap<CheckpointId, BTreeSet<TaskId>>,
    /// Told to commit, no answer yet.
    committing: BTreeSet<CheckpointId>,
    /// Committed; not in the journal yet.
    committed: BTreeSet<CheckpointId>,
}

impl Output {
    /// A deployment begins: sources rewind, output of no completed checkpoint is produced again.
    pub fn reset(&mut self) {
        self.carried.clear();
        self.aborted.clear();
        self.committing.clear();
    }

    pub fn carried(&self) -> &[SinkHandle] {
        &self.carried
    }

    /// A checkpoint was aborted after `acknowledged` had prepared `sinks` for it.
    pub fn handle_aborted(&mut self, checkpoint: CheckpointId, acknowledged: BTreeSet<TaskId>, sinks: Vec<SinkHandle>) {
        self.aborted.insert(checkpoint, acknowledged);
        self.carried.extend(sinks);
    }

    /// An acknowledgement of a checkpoint that is not under way: keeps its output if that checkpoint was aborted.
    pub fn handle_late_ack(&mut self, ack: TaskAck) {
        if let Some(acknowledged) = self.aborted.get_mut(&ack.checkpoint)
            && acknowledged.insert(ack.task)
        {
            self.carried.extend(ack.sinks);
        }
    }

    /// A checkpoint completed that contains everything carried. Its tasks acknowledged in order, so nothing older follows.
    pub fn handle_completed(&mut self) {
        self.carried.clear();
        self.aborted.clear();
    }

    pub fn handle_committing(&mut self, checkpoint: CheckpointId) {
        self.committing.insert(checkpoint);
    }

    pub fn handle_committed(&mut self, checkpoint: CheckpointId) {
        self.committing.remove(&checkpoint);
        self.committed.insert(checkpoint);
    }

    /// True once nothing that was told to commit is outstanding.
    pub fn is_committed(&self) -> bool {
        self.committing.is_empty()
    }

    /// True once nothing is outstanding that was told to commit for this checkpoint or an earlier one.
    pub fn is_committed_up_to(&self, checkpoint: CheckpointId) -> bool {
        self.committing.range(..=checkpoint).next().is_none()
    }

    /// Takes commits out of a head that is about to be written.
    pub fn apply(&self, head: &mut Head) {
        head.pending_commits.retain(|pending| !self.committed.contains(pending));
    }

    /// Forgets what the journal's head says.
    pub fn handle_head(&mut self, head: &Head) {
        self.committed.retain(|committed| head.pending_commits.contains(committed));
    }
}
