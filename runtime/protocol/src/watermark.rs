//! Watermarks: how far event time has come.
//!
//! A watermark *w* says that no later record has an event time at or below *w*; one that has is late, and a window whose
//! last millisecond is *w* is complete. A split's watermark is the largest time seen minus the allowed disorder minus 1 ms:
//! a record exactly that far behind is not late. A subtask's is the minimum over its live inputs; idle inputs are left out,
//! ended ones stand at [`END`]. When the last live input falls idle nobody holds the others back any more, so the maximum
//! over the idle ones counts, in whatever order they fell idle; ended ones have no say in that. It never goes backwards, not
//! even when an idle input wakes up far behind, nor in a restore.

#[cfg(test)]
mod tests;

/// The watermark of an input that ended: later than every time.
pub const END: i64 = i64::MAX;

/// The watermark of one split: largest time seen minus a bound minus 1 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundedDisorder {
    bound: u64,
    current: Option<i64>,
}

impl BoundedDisorder {
    /// Records may be out of order by at most `bound` milliseconds. `restored` is the watermark stored for the split.
    pub fn new(bound: u64, restored: Option<i64>) -> Self {
        Self { bound, current: restored }
    }

    /// Takes the time of a record (or the largest of a batch), in milliseconds.
    #[inline]
    pub fn observe(&mut self, time: i64) {
        let candidate = time.saturating_sub_unsigned(self.bound.saturating_add(1));
        self.current = Some(self.current.map_or(candidate, |current| current.max(candidate)));
    }

    /// The split will never deliver another record.
    pub fn end(&mut self) {
        self.current = Some(END);
    }

    /// The watermark; `None` before the first record.
    pub fn current(&self) -> Option<i64> {
        self.current
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Active,
    Idle,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Input {
    watermark: Option<i64>,
    activity: Activity,
}

/// What one event changed, to be told downstream in this order: the watermark, then idleness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WatermarkStep {
    /// The new watermark, if it advanced.
    pub advanced: Option<i64>,
    /// `Some(true)`: every live input is idle now. `Some(false)`: one of them woke up.
    pub idle: Option<bool>,
}

/// The watermark over several inputs (channels of a subtask, or splits of a source), numbered from 0 in order of addition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkMerge {
    inputs: Vec<Input>,
    current: Option<i64>,
    idle: bool,
}

impl WatermarkMerge {
    /// A merge over `inputs` inputs that have delivered nothing yet. `restored` is the watermark stored in the checkpoint.
    pub fn new(inputs: usize, restored: Option<i64>) -> Self {
        let input = Input { watermark: None, activity: Activity::Active };
        Self { inputs: vec![input; inputs], current: restored, idle: false }
    }

    /// Adds an input (a newly discovered split) and returns its number. It holds the watermark back until it delivers one.
    pub fn add_input(&mut self, restored: Option<i64>) -> usize {
        self.inputs.push(Input { watermark: restored, activity: Activity::Active });
        self.idle = false;
        self.inputs.len() - 1
    }

    /// The watermark; `None` before every live input has delivered one.
    pub fn current(&self) -> Option<i64> {
        self.current
    }

    /// True if no live input is active.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// `input` delivered a watermark; that also wakes it up. One that goes backwards is ignored.
    pub fn handle_watermark(&mut self, input: usize, watermark: i64) -> WatermarkStep {
        let input = &mut self.inputs[input];
        if input.activity == Activity::Ended {
            return WatermarkStep::default();
        }
        input.watermark = Some(input.watermark.map_or(watermark, |old| old.max(watermark)));
        input.activity = Activity::Active;
        self.step()
    }

    /// `input` delivered records: it is not idle any more.
    #[inline]
    pub fn handle_active(&mut self, input: usize) -> WatermarkStep {
        match self.inputs[input].activity {
            Activity::Idle => {
                self.inputs[input].activity = Activity::Active;
                self.step()
            }
            Activity::Active | Activity::Ended => WatermarkStep::default(),
        }
    }

    /// `input` has nothing to deliver for now and shall not hold back the others.
    pub fn handle_idle(&mut self, input: usize) -> WatermarkStep {
        match self.inputs[input].activity {
            Activity::Active => {
                self.inputs[input].activity = Activity::Idle;
                self.step()
            }
            Activity::Idle | Activity::Ended => WatermarkStep::default(),
        }
    }

    /// `input` ended.
    pub fn handle_end(&mut self, input: usize) -> WatermarkStep {
        self.inputs[input] = Input { watermark: Some(END), activity: Activity::Ended };
        self.step()
    }

    fn step(&mut self) -> WatermarkStep {
        let has = |wanted: Activity| self.inputs.iter().any(|input| input.activity == wanted);
        let idle = !has(Activity::Active) && has(Activity::Idle);
        let advanced = self.justified(idle).filter(|justified| self.current.is_none_or(|current| *justified > current));
        self.current = advanced.or(self.current);
        let turned = (idle != self.idle).then_some(idle);
        self.idle = idle;
        WatermarkStep { advanced, idle: turned }
    }

    /// The minimum over live inputs, if all of them have delivered one; while all are idle, the maximum over those. Only the
    /// end of every input reaches [`END`].
    fn justified(&self, idle: bool) -> Option<i64> {
        let by = |wanted: bool| self.inputs.iter().filter(move |input| (input.activity == Activity::Idle) == wanted);
        if idle {
            by(true).filter_map(|input| input.watermark).max()
        } else {
            by(false).map(|input| input.watermark).min().flatten()
        }
    }
}
