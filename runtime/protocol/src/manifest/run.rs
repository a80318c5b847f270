//! Runs and chains: how a manifest names state.

use serde::{Deserialize, Serialize};

use crate::ids::{CheckpointId, WorkerIndex};
use crate::key_group::KeyGroupRange;
use crate::object::ObjectRef;

/// What a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RunKind {
    /// Changes of one epoch (or a part of it), tombstones included.
    Run,
    /// A full image that replaces everything older over its key groups.
    Base,
}

/// A reference to one sorted immutable file of state changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRef {
    /// The object that holds the run.
    pub object: ObjectRef,
    /// What it is.
    pub kind: RunKind,
    /// The last epoch whose changes it contains.
    pub epoch: CheckpointId,
    /// The worker that wrote it.
    pub worker: WorkerIndex,
    /// The key groups it covers.
    pub key_groups: KeyGroupRange,
    /// Number of entries, tombstones included.
    pub entries: u64,
    /// Size of the run's file in bytes (the object's length unless several runs share the object).
    pub file_bytes: u64,
}

/// One chain out of the workers' chains: every file once, in epoch order, each worker's own order kept among runs of one
/// epoch. After a rescale several workers name the same inherited file; it appears once.
pub fn merge_chains<'a>(chains: impl IntoIterator<Item = &'a [RunRef]>) -> Vec<RunRef> {
    let mut seen = std::collections::BTreeSet::new();
    let mut merged: Vec<RunRef> = Vec::new();
    for run in chains.into_iter().flatten() {
        if seen.insert(run) {
            merged.push(run.clone());
        }
    }
    merged.sort_by_key(|run| run.epoch);
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(key: &str, epoch: u64, worker: u32) -> RunRef {
        RunRef {
            object: ObjectRef::of(key, key.as_bytes()),
            kind: RunKind::Run,
            epoch: CheckpointId(epoch),
            worker: WorkerIndex(worker),
            key_groups: KeyGroupRange::new(0, 128),
            entries: 1,
            file_bytes: key.len() as u64,
        }
    }

    #[test]
    fn inherited_files_appear_once_and_epochs_ascend() {
        let parent = run("parent", 3, 0);
        let (left_spill, left) = (run("z-spill", 5, 0), run("a-rest", 5, 0));
        let right = run("right", 4, 1);
        let merged = merge_chains([
            &[parent.clone(), left_spill.clone(), left.clone()][..],
            &[parent.clone(), right.clone()][..],
        ]);
        assert_eq!(merged, [parent, right, left_spill, left]);
    }
}
