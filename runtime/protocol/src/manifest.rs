//! The manifest: what a checkpoint consists of.
//!
//! A manifest names every object that a restore needs, with length and checksum, and is itself sealed. It is written
//! once, before the journal entry that makes it a checkpoint; without that entry it means nothing.

mod parts;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use parts::{OperatorSnapshot, SinkHandle, SplitPosition, StateInfo, StateKind};
pub use run::{RunKind, RunRef, merge_chains};

use crate::ids::{CheckpointId, Generation, JobId, Millis};
use crate::key_group::MaxParallelism;
use crate::stored::{self, Formats, StoredError};
use crate::timeline::SubtaskTimeline;

/// Why a manifest was refused; names the object.
pub type ManifestError = StoredError;

/// Why a checkpoint was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ManifestKind {
    /// Taken while the job runs.
    Checkpoint,
    /// Owned by the user; survives the job.
    Savepoint,
    /// The last one before the job stopped or finished.
    Final,
}

impl std::fmt::Display for ManifestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Checkpoint => "checkpoint",
            Self::Savepoint => "savepoint",
            Self::Final => "final",
        })
    }
}

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this record's format.
    pub format: u32,
    /// The job.
    pub job_id: JobId,
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// The generation that took it.
    pub generation: Generation,
    /// Why it was taken.
    pub kind: ManifestKind,
    /// Number of key groups of the job.
    pub max_parallelism: MaxParallelism,
    /// Parallelism the job ran with.
    pub parallelism: u32,
    /// Operators in the order of the job graph.
    pub operators: Vec<OperatorSnapshot>,
    /// Positions of all splits of all sources.
    pub splits: Vec<SplitPosition>,
    /// All keyed states.
    pub states: Vec<StateInfo>,
    /// All files of state in epoch order; a base replaces what precedes it over its key groups.
    pub chain: Vec<RunRef>,
    /// Output to be committed.
    pub sinks: Vec<SinkHandle>,
    /// How the checkpoint went, per subtask.
    pub timeline: Vec<SubtaskTimeline>,
    /// When it was triggered.
    pub triggered_at: Millis,
    /// When its last part was durable.
    pub completed_at: Millis,
    /// Bytes of all objects named.
    pub bytes_full: u64,
    /// Bytes uploaded for this checkpoint.
    pub bytes_incremental: u64,
}

impl Manifest {
    /// The format this build writes.
    pub const FORMAT: u32 = 1;
    /// The oldest format this build reads.
    pub const OLDEST_FORMAT: u32 = 1;

    /// Encodes and seals the manifest.
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(self.check(), Ok(()), "an inconsistent manifest must not be written");
        stored::encode(self)
    }

    /// Decodes the manifest stored as object `key`.
    ///
    /// # Errors
    /// When the object is damaged, cut short, of an unknown format, or contradicts itself; names the object.
    pub fn decode(key: &str, bytes: &[u8]) -> Result<Self, ManifestError> {
        let formats = Formats { oldest: Self::OLDEST_FORMAT, newest: Self::FORMAT };
        let manifest: Self = stored::decode(key, bytes, formats)?;
        manifest.check().map_err(|detail| StoredError::Inconsistent { key: key.to_owned(), detail })?;
        Ok(manifest)
    }

    /// Names of all objects the manifest needs besides itself.
    pub fn object_keys(&self) -> BTreeSet<String> {
        self.chain.iter().map(|run| run.object.key.clone()).collect()
    }

    /// Checks what must hold in any manifest before it is written and after it is read.
    ///
    /// # Errors
    /// Says what contradicts what.
    pub fn check(&self) -> Result<(), String> {
        let mut previous = CheckpointId(0);
        let mut objects = BTreeMap::new();
        for run in &self.chain {
            let key = &run.object.key;
            if run.epoch < previous || run.epoch > self.checkpoint {
                return Err(format!(
                    "run {key} of epoch {} follows {previous} in checkpoint {}",
                    run.epoch, self.checkpoint
                ));
            }
            previous = run.epoch;
            let groups = run.key_groups;
            if groups.is_empty() {
                return Err(format!("run {key} covers no key group"));
            }
            if objects.insert(key, &run.object).is_some_and(|other| *other != run.object) {
                return Err(format!("object {key} is named with two contents"));
            }
        }
        for handle in &self.sinks {
            if handle.epoch > self.checkpoint {
                return Err(format!(
                    "sink {} holds output of epoch {} after the checkpoint",
                    handle.operator, handle.epoch
                ));
            }
        }
        let mut splits = BTreeSet::new();
        for split in &self.splits {
            if !splits.insert((&split.operator, &split.split)) {
                return Err(format!("split {} of {} is named twice", split.split, split.operator));
            }
        }
        let mut ids = BTreeSet::new();
        for state in &self.states {
            if !ids.insert(state.id) {
                return Err(format!("state id {} is given twice", state.id));
            }
        }
        Ok(())
    }
}
