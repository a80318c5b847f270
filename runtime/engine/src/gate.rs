//! The inputs of one subtask: which may be read, where event time stands, and when a barrier is aligned. The decisions are
//! [`weir_protocol`]'s; this joins them and deals out the inputs in turn.

use weir_protocol::CheckpointId;
use weir_protocol::alignment::Alignment as Aligner;
use weir_protocol::watermark::{WatermarkMerge, WatermarkStep};

use crate::element::{AlignmentMode, Barrier, MAX_WATERMARK, MIN_WATERMARK};
use crate::task::Alignment;

/// State of all input channels of one subtask.
pub struct InputGate {
    aligner: Aligner,
    watermarks: WatermarkMerge,
    ended: Vec<bool>,
    cursor: usize,
}

impl InputGate {
    /// All inputs live, after the restored checkpoint. No input has said anything yet; the subtask's `watermark` stays where
    /// it stood until all of them are beyond it.
    pub fn new(inputs: usize, mode: AlignmentMode, restored: CheckpointId, watermark: Option<i64>) -> Self {
        Self {
            aligner: Aligner::new(mode, inputs, restored),
            watermarks: WatermarkMerge::new(inputs, watermark),
            ended: vec![false; inputs],
            cursor: 0,
        }
    }

    /// The input to look at next, round robin.
    pub fn next_input(&mut self) -> usize {
        let input = self.cursor;
        self.cursor = if input + 1 == self.ended.len() { 0 } else { input + 1 };
        input
    }

    /// True while the input delivered a barrier that others still owe.
    pub fn is_blocked(&self, input: usize) -> bool {
        self.aligner.is_blocked(input)
    }

    /// True while barriers of some inputs are owed.
    pub fn is_aligning(&self) -> bool {
        self.aligner.aligning().is_some()
    }

    /// An input's watermark went on. The watermark after the last record is the input's end in event time: nothing it says
    /// about time counts any more, so that it does not speak for inputs that are idle.
    pub fn watermark(&mut self, input: usize, watermark: i64) -> WatermarkStep {
        if watermark == MAX_WATERMARK {
            self.watermarks.handle_end(input)
        } else {
            self.watermarks.handle_watermark(input, watermark)
        }
    }

    /// Where event time stands; [`MIN_WATERMARK`] before the first watermark.
    pub fn current_watermark(&self) -> i64 {
        self.watermarks.current().unwrap_or(MIN_WATERMARK)
    }

    /// An input delivered records.
    pub fn active(&mut self, input: usize) -> WatermarkStep {
        self.watermarks.handle_active(input)
    }

    /// An input has nothing to say about event time for now.
    pub fn idle(&mut self, input: usize) -> WatermarkStep {
        self.watermarks.handle_idle(input)
    }

    /// An input delivered its last record; true once all have. Barriers still come through it, and are waited for.
    pub fn end(&mut self, input: usize) -> (WatermarkStep, bool) {
        self.ended[input] = true;
        (self.watermarks.handle_end(input), self.ended.iter().all(|&ended| ended))
    }

    /// An input delivered a barrier at `now_us`; returns when alignment began and ended once all inputs have.
    pub(crate) fn barrier(&mut self, input: usize, barrier: Barrier, now_us: u64) -> Option<Alignment> {
        let step = self.aligner.handle_barrier(input, barrier.checkpoint, now_us as i64);
        step.aligned.map(|aligned| Alignment { first_us: aligned.first_us as u64, last_us: aligned.last_us as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_input_does_not_speak_for_idle_ones() {
        let mut gate = InputGate::new(2, AlignmentMode::ExactlyOnce, CheckpointId(0), None);
        assert_eq!(gate.watermark(1, 9).advanced, None);
        assert_eq!(gate.watermark(0, MAX_WATERMARK).advanced, Some(9));
        assert_eq!(gate.end(0), (WatermarkStep::default(), false));
        assert_eq!(gate.idle(1), WatermarkStep { advanced: None, idle: Some(true) });
        assert_eq!(gate.active(1), WatermarkStep { advanced: None, idle: Some(false) });
        assert_eq!(gate.watermark(1, 20).advanced, Some(20));
        assert_eq!(gate.watermark(1, MAX_WATERMARK).advanced, Some(MAX_WATERMARK));
        assert_eq!(gate.end(1), (WatermarkStep::default(), true));
    }

    #[test]
    fn an_input_that_ends_while_others_are_idle_leaves_the_watermark_to_them() {
        let mut gate = InputGate::new(2, AlignmentMode::ExactlyOnce, CheckpointId(0), None);
        gate.watermark(0, 30);
        gate.watermark(1, 9);
        assert_eq!(gate.idle(1).advanced, Some(30));
        assert_eq!(gate.watermark(0, MAX_WATERMARK), WatermarkStep { advanced: None, idle: Some(true) });
        assert_eq!(gate.watermark(1, 40), WatermarkStep { advanced: Some(40), idle: Some(false) });
    }
}
