//! When the next periodic checkpoint is due.
//!
//! Ticks stand on a fixed grid from the deployment on. A tick that finds a checkpoint under way, or the pause after one, is counted and
//! skipped, never made up for. Records and bytes are levels: once over the bound they trigger as soon as nothing is in the way.

use super::config::CoordinatorConfig;
use crate::ids::Millis;

/// Periodic triggers of one deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Triggers {
    next_tick: Option<Millis>,
    ended_at: Option<Millis>,
    records: Progress,
    bytes: Progress,
    skipped: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    now: u64,
    at_last_trigger: u64,
}

impl Progress {
    fn since(self) -> u64 {
        self.now.saturating_sub(self.at_last_trigger)
    }
}

impl Triggers {
    /// A deployment begins.
    pub fn start(&mut self, config: &CoordinatorConfig, now: Millis) {
        let next_tick = config.interval_ms.map(|interval| now.plus(interval));
        *self = Self { next_tick, skipped: self.skipped, ..Self::default() };
    }

    /// Ticks that found something in the way so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// When to look again.
    pub fn next_wakeup(&self, config: &CoordinatorConfig) -> Option<Millis> {
        let level = self.is_level_reached(config).then(|| self.pause_ends(config)).flatten();
        self.next_tick.into_iter().chain(level).min()
    }

    pub fn handle_progress(&mut self, records: u64, bytes: u64) {
        self.records.now = records;
        self.bytes.now = bytes;
    }

    /// A checkpoint was triggered, whatever for.
    pub fn handle_triggered(&mut self) {
        self.records.at_last_trigger = self.records.now;
        self.bytes.at_last_trigger = self.bytes.now;
    }

    /// A checkpoint completed or was aborted.
    pub fn handle_ended(&mut self, now: Millis) {
        self.ended_at = Some(now);
    }

    /// True if a periodic checkpoint is to be triggered now. Consumes the ticks that are due.
    pub fn poll(&mut self, config: &CoordinatorConfig, is_free: bool, now: Millis) -> bool {
        let pausing = self.pause_ends(config).is_some_and(|end| now < end);
        let ticks = self.take_ticks(config, now);
        if !is_free || pausing {
            self.skipped += ticks;
            return false;
        }
        self.skipped += ticks.saturating_sub(1);
        ticks > 0 || self.is_level_reached(config)
    }

    fn take_ticks(&mut self, config: &CoordinatorConfig, now: Millis) -> u64 {
        let (Some(next), Some(interval)) = (self.next_tick, config.interval_ms) else { return 0 };
        if now < next {
            return 0;
        }
        let ticks = now.since(next) / interval.max(1) + 1;
        self.next_tick = Some(next.plus(ticks.saturating_mul(interval.max(1))));
        ticks
    }

    fn pause_ends(&self, config: &CoordinatorConfig) -> Option<Millis> {
        self.ended_at.map(|ended| ended.plus(config.min_pause_ms))
    }

    fn is_level_reached(&self, config: &CoordinatorConfig) -> bool {
        config.every_records.is_some_and(|bound| self.records.since() >= bound)
            || config.every_bytes.is_some_and(|bound| self.bytes.since() >= bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> CoordinatorConfig {
        CoordinatorConfig {
            interval_ms: Some(10),
            min_pause_ms: 3,
            every_records: Some(100),
            ..CoordinatorConfig::default()
        }
    }

    #[test]
    fn ticks_stand_on_a_grid_and_skipped_ones_are_counted_not_queued() {
        let (config, mut triggers) = (config(), Triggers::default());
        triggers.start(&config, Millis(0));
        assert!(!triggers.poll(&config, true, Millis(9)));
        assert!(triggers.poll(&config, true, Millis(12)));
        assert!(!triggers.poll(&config, false, Millis(21)), "one is under way");
        triggers.handle_ended(Millis(28));
        assert!(!triggers.poll(&config, true, Millis(29)), "the skipped tick is gone");
        assert!(!triggers.poll(&config, true, Millis(30)), "in the pause");
        assert_eq!(triggers.skipped(), 2);
        assert!(triggers.poll(&config, true, Millis(65)), "one trigger for three ticks");
        assert_eq!(triggers.skipped(), 4);
        assert_eq!(triggers.next_wakeup(&config), Some(Millis(70)));
    }

    #[test]
    fn records_trigger_once_per_bound_and_wait_for_the_pause() {
        let config = CoordinatorConfig { interval_ms: None, ..config() };
        let mut triggers = Triggers::default();
        triggers.start(&config, Millis(0));
        triggers.handle_progress(99, 0);
        assert!(!triggers.poll(&config, true, Millis(1)));
        triggers.handle_progress(120, 0);
        assert!(triggers.poll(&config, true, Millis(2)));
        triggers.handle_triggered();
        assert!(!triggers.poll(&config, false, Millis(3)));
        triggers.handle_progress(219, 0);
        triggers.handle_ended(Millis(4));
        assert!(!triggers.poll(&config, true, Millis(9)), "99 since the trigger");
        triggers.handle_progress(220, 0);
        assert!(!triggers.poll(&config, true, Millis(6)), "in the pause");
        assert_eq!(triggers.next_wakeup(&config), Some(Millis(7)));
        assert!(triggers.poll(&config, true, Millis(7)));
        assert_eq!(triggers.skipped(), 0, "levels are not ticks");
    }
}
