//! When a failed job starts again: exponential delay with jitter, forgotten after stability, optionally with a budget.

use serde::{Deserialize, Serialize};

use crate::ids::Millis;

#[cfg(test)]
mod tests;

/// The restart strategy. Durations in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// Delay before the first restart.
    pub initial_ms: u64,
    /// Largest delay, before jitter.
    pub max_ms: u64,
    /// Factor from one delay to the next.
    pub multiplier: f64,
    /// The delay varies by this share of itself, in both directions.
    pub jitter: f64,
    /// After running this long without a failure, failures before are forgotten.
    pub reset_after_ms: u64,
    /// Restarts allowed before the job fails for good; `None`: any number.
    pub budget: Option<u32>,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self { initial_ms: 1_000, max_ms: 60_000, multiplier: 2.0, jitter: 0.1, reset_after_ms: 600_000, budget: None }
    }
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartDecision {
    /// Start again after this many milliseconds.
    After(u64),
    /// The budget is used up.
    GiveUp,
}

/// Counts failures and decides on restarts.
#[derive(Debug, Clone, PartialEq)]
pub struct Restarts {
    policy: RestartPolicy,
    in_a_row: u32,
    running_since: Option<Millis>,
}

impl Restarts {
    /// No failure so far.
    pub fn new(policy: RestartPolicy) -> Self {
        Self { policy, in_a_row: 0, running_since: None }
    }

    /// Failures that are not forgotten yet.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// The job runs from `now` on.
    pub fn handle_running(&mut self, now: Millis) {
        self.running_since = Some(now);
    }

    /// The job failed at `now`. `random` is uniform in 0 to 1 and spreads the delay.
    pub fn handle_failure(&mut self, now: Millis, random: f64) -> RestartDecision {
        let stable = self.running_since.take().is_some_and(|since| now.since(since) >= self.policy.reset_after_ms);
        if stable {
            self.in_a_row = 0;
        }
        if self.policy.budget.is_some_and(|budget| self.in_a_row >= budget) {
            return RestartDecision::GiveUp;
        }
        let delay = self.delay(random.clamp(0.0, 1.0));
        self.in_a_row = self.in_a_row.saturating_add(1);
        RestartDecision::After(delay)
    }

    fn delay(&self, random: f64) -> u64 {
        let RestartPolicy { initial_ms, max_ms, multiplier, jitter, .. } = self.policy;
        // `powi` overflows to infinity, which the minimum takes back; the cast saturates.
        let exponent = i32::try_from(self.in_a_row).unwrap_or(i32::MAX);
        let base = (initial_ms as f64 * multiplier.max(1.0).powi(exponent)).min(max_ms as f64);
        (base * (1.0 + jitter * (2.0 * random - 1.0))) as u64
    }
}
