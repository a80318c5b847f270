//! Barrier alignment of one subtask.
//!
//! A subtask with several inputs seals its state when every live input has delivered the checkpoint's barrier. In
//! exactly-once mode an input that delivered its barrier is not read until the others have followed, so that the sealed
//! state contains exactly what preceded the barrier on every input (Chandy–Lamport as in Carbone et al., "Lightweight
//! Asynchronous Snapshots for Distributed Dataflows"). In at-least-once mode the same machine never blocks.
//!
//! Barriers travel behind whatever is queued, so one of a checkpoint that was aborted long ago may still arrive: it is
//! swallowed. A barrier of a newer checkpoint supersedes an alignment under way: the coordinator has given the older one
//! up, its epoch merges into the newer one. An input that will never deliver anything again counts as aligned; one whose
//! records have ended may go on delivering barriers, and is waited for until the caller says that it ended.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::ids::CheckpointId;

/// What a barrier does to the inputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AlignmentMode {
    /// Inputs that delivered their barrier wait for the others.
    #[default]
    ExactlyOnce,
    /// No input ever waits; after a restore records may be processed twice.
    AtLeastOnce,
}

/// All live inputs have delivered a checkpoint's barrier: seal, then forward the barrier. Nothing is blocked any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aligned {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// When the first input delivered its barrier, in the caller's microseconds.
    pub first_us: i64,
    /// When the alignment was complete, in the caller's microseconds.
    pub last_us: i64,
}

/// What one event changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AlignmentStep {
    /// An alignment that will never complete; its inputs are no longer blocked. No barrier is forwarded for it.
    pub cancelled: Option<CheckpointId>,
    /// An alignment that is complete.
    pub aligned: Option<Aligned>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Has not delivered the current barrier.
    Open,
    /// Has delivered the current barrier.
    Arrived,
    /// Will never deliver anything again.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Current {
    checkpoint: CheckpointId,
    first_us: i64,
}

/// The alignment of one subtask over its inputs, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alignment {
    mode: AlignmentMode,
    inputs: Vec<Input>,
    current: Option<Current>,
    /// Every checkpoint up to this one is aligned or given up.
    settled: CheckpointId,
}

impl Alignment {
    /// An alignment over `inputs` inputs of a deployment restored from `restored` (0: from nothing).
    pub fn new(mode: AlignmentMode, inputs: usize, restored: CheckpointId) -> Self {
        Self { mode, inputs: vec![Input::Open; inputs], current: None, settled: restored }
    }

    /// True if `input` must not be read now.
    pub fn is_blocked(&self, input: usize) -> bool {
        match self.mode {
            AlignmentMode::ExactlyOnce => self.inputs[input] == Input::Arrived,
            AlignmentMode::AtLeastOnce => false,
        }
    }

    /// The inputs that must not be read now, ascending.
    pub fn blocked_inputs(&self) -> impl Iterator<Item = usize> {
        (0..self.inputs.len()).filter(|&input| self.is_blocked(input))
    }

    /// The checkpoint whose barriers are being collected.
    pub fn aligning(&self) -> Option<CheckpointId> {
        self.current.map(|current| current.checkpoint)
    }

    /// When the first barrier of the alignment under way arrived, in the caller's microseconds.
    pub fn aligning_since_us(&self) -> Option<i64> {
        self.current.map(|current| current.first_us)
    }

    /// True once every input has ended.
    pub fn is_ended(&self) -> bool {
        self.inputs.iter().all(|input| *input == Input::Ended)
    }

    /// `input` delivered the barrier of `checkpoint` at `now_us`.
    pub fn handle_barrier(&mut self, input: usize, checkpoint: CheckpointId, now_us: i64) -> AlignmentStep {
        let newest = self.aligning().unwrap_or(self.settled).max(self.settled);
        let is_stale = checkpoint <= self.settled || checkpoint < newest;
        if is_stale || self.inputs[input] == Input::Ended {
            return AlignmentStep::default();
        }
        let cancelled = match self.current {
            Some(current) if current.checkpoint == checkpoint => None,
            Some(_) => self.cancel(),
            None => None,
        };
        self.current.get_or_insert(Current { checkpoint, first_us: now_us });
        self.inputs[input] = Input::Arrived;
        AlignmentStep { cancelled, aligned: self.complete(now_us) }
    }

    /// `input` ended at `now_us`.
    pub fn handle_end(&mut self, input: usize, now_us: i64) -> AlignmentStep {
        self.inputs[input] = Input::Ended;
        AlignmentStep { cancelled: None, aligned: self.complete(now_us) }
    }

    /// The coordinator gave `checkpoint` up; so it has all older ones.
    pub fn handle_abort(&mut self, checkpoint: CheckpointId) -> AlignmentStep {
        self.settled = self.settled.max(checkpoint);
        let cancelled = match self.current {
            Some(current) if current.checkpoint <= checkpoint => self.cancel(),
            Some(_) | None => None,
        };
        AlignmentStep { cancelled, aligned: None }
    }

    fn cancel(&mut self) -> Option<CheckpointId> {
        self.release();
        let cancelled = self.current.take().map(|current| current.checkpoint);
        self.settled = self.settled.max(cancelled.unwrap_or_default());
        cancelled
    }

    fn complete(&mut self, now_us: i64) -> Option<Aligned> {
        if self.inputs.contains(&Input::Open) {
            return None;
        }
        let Current { checkpoint, first_us } = self.current.take()?;
        self.release();
        self.settled = checkpoint;
        Some(Aligned { checkpoint, first_us, last_us: now_us })
    }

    fn release(&mut self) {
        for input in &mut self.inputs {
            if *input == Input::Arrived {
                *input = Input::Open;
            }
        }
    }
}
