//! The inputs of one subtask: which may be read, where event time stands, and when a barrier is aligned.

use weir_protocol::CheckpointId;

use crate::element::{AlignmentMode, Barrier, MAX_WATERMARK, MIN_WATERMARK};
use crate::task::Alignment;

#[derive(Debug, Clone, Copy)]
struct InputState {
    watermark: i64,
    idle: bool,
    ended: bool,
    /// The last checkpoint whose barrier this input delivered.
    delivered: CheckpointId,
}

/// What an input's idleness means for the subtask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idleness {
    /// The others' watermark counts now, and it is higher.
    Advanced(i64),
    /// No input has anything to say about event time.
    AllIdle,
    /// Nothing changed.
    Unchanged,
}

/// State of all input channels of one subtask.
pub struct InputGate {
    inputs: Vec<InputState>,
    mode: AlignmentMode,
    watermark: i64,
    all_idle: bool,
    aligning: Option<(CheckpointId, u64)>,
    cursor: usize,
}

impl InputGate {
    /// All inputs live, at the lowest watermark.
    pub fn new(inputs: usize, mode: AlignmentMode) -> Self {
        let state = InputState { watermark: MIN_WATERMARK, idle: false, ended: false, delivered: CheckpointId(0) };
        Self { inputs: vec![state; inputs], mode, watermark: MIN_WATERMARK, all_idle: false, aligning: None, cursor: 0 }
    }

    /// The input to look at next, round robin.
    pub fn next_input(&mut self) -> usize {
        let input = self.cursor;
        self.cursor = if input + 1 == self.inputs.len() { 0 } else { input + 1 };
        input
    }

    /// True while the input delivered a barrier that others still owe.
    pub fn is_blocked(&self, input: usize) -> bool {
        self.mode == AlignmentMode::ExactlyOnce && self.aligning.is_some_and(|(checkpoint, _)| self.inputs[input].delivered == checkpoint)
    }

    /// True while barriers of some inputs are owed.
    pub fn is_aligning(&self) -> bool {
        self.aligning.is_some()
    }

    /// An input's watermark went on; returns the subtask's, if that did too.
    pub fn watermark(&mut self, input: usize, watermark: i64) -> Option<i64> {
        let state = &mut self.inputs[input];
        state.idle = false;
        state.watermark = state.watermark.max(watermark);
        self.all_idle = false;
        self.raise()
    }

    /// An input has nothing to say about event time for now.
    pub fn idle(&mut self, input: usize) -> Idleness {
        self.inputs[input].idle = true;
        if self.inputs.iter().all(|state| state.idle) {
            return if std::mem::replace(&mut self.all_idle, true) { Idleness::Unchanged } else { Idleness::AllIdle };
        }
        self.raise().map_or(Idleness::Unchanged, Idleness::Advanced)
    }

    /// An input delivered its last record; true once all have.
    pub fn end(&mut self, input: usize) -> bool {
        self.inputs[input].ended = true;
        self.inputs.iter().all(|state| state.ended)
    }

    fn raise(&mut self) -> Option<i64> {
        let lowest = self.inputs.iter().filter(|state| !state.idle).map(|state| state.watermark).min().unwrap_or(MAX_WATERMARK);
        (lowest > self.watermark).then(|| {
            self.watermark = lowest;
            lowest
        })
    }

    /// An input delivered a barrier at `now_us`; returns when alignment began and ended once all inputs have.
    /// Barriers of checkpoints older than the one being aligned belong to an aborted one and are ignored; a newer one
    /// takes over.
    pub(crate) fn barrier(&mut self, input: usize, barrier: Barrier, now_us: u64) -> Option<Alignment> {
        let checkpoint = barrier.checkpoint;
        self.inputs[input].delivered = self.inputs[input].delivered.max(checkpoint);
        let first_us = match self.aligning {
            Some((current, _)) if checkpoint < current => return None,
            Some((current, since)) if checkpoint == current => since,
            _ => now_us,
        };
        if self.inputs.iter().all(|state| state.delivered >= checkpoint) {
            self.aligning = None;
            return Some(Alignment { first_us, last_us: now_us });
        }
        self.aligning = Some((checkpoint, first_us));
        None
    }
}
