//! How long the operator waits before it replaces a pod that keeps failing, beside how long the kubelet would.
//!
//! Two counts, for two questions. The *budget* counts failures until there was none for `resetAfter`. The *delay* grows with
//! the failures since the newest completed checkpoint: a job that completes one between two failures makes progress, and
//! making it wait would only make it later.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::resolved::ResolvedRestart;

/// The kubelet's own back-off: from 10 s, doubled, to 5 min.
const KUBELET_FIRST: Duration = Duration::from_secs(10);
const KUBELET_MOST: Duration = Duration::from_secs(300);

/// Most failures whose times are kept: by then every delay has reached its maximum.
const MOST: usize = 40;

/// Failures in a row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackOff {
    /// How many.
    pub failures: u32,
    /// When the last one was.
    pub last: Option<Timestamp>,
    /// When those were that no checkpoint followed, oldest first.
    fruitless: Vec<Timestamp>,
}

impl BackOff {
    /// One more failure. A time without one makes both counts begin anew.
    pub fn failed(&mut self, at: Timestamp, restart: &ResolvedRestart) {
        if self.last.is_some_and(|last| since(at, last) >= millis(restart.reset_after)) {
            self.failures = 0;
            self.fruitless.clear();
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some(at);
        if self.fruitless.len() < MOST {
            self.fruitless.push(at);
        }
    }

    /// A checkpoint was completed at `at`: failures before it delay nothing any more. The budget still has them.
    pub fn progressed(&mut self, at: Timestamp) {
        self.fruitless.retain(|failure| *failure > at);
    }

    /// Failures in a row as of `now`, for the budget.
    pub fn in_a_row(&self, now: Timestamp, restart: &ResolvedRestart) -> u32 {
        if self.is_quiet(now, restart) { 0 } else { self.failures }
    }

    /// Failures as of `now` that no checkpoint followed, for the delay.
    pub fn fruitless(&self, now: Timestamp, restart: &ResolvedRestart) -> u32 {
        if self.is_quiet(now, restart) { 0 } else { u32::try_from(self.fruitless.len()).unwrap_or(u32::MAX) }
    }

    fn is_quiet(&self, now: Timestamp, restart: &ResolvedRestart) -> bool {
        self.last.is_none_or(|last| since(now, last) >= millis(restart.reset_after))
    }

    /// What is waited after the last of `failures` failures.
    pub fn delay(failures: u32, restart: &ResolvedRestart) -> Duration {
        doubled(millis(restart.initial), failures, millis(restart.max))
    }

    /// What the kubelet waits before it starts a container again: as it says, else as is known of a container that was
    /// restarted `restarts` times.
    pub fn kubelet(restarts: u32, said: &str) -> Duration {
        kubelet_says(said).unwrap_or_else(|| doubled(KUBELET_FIRST, restarts, KUBELET_MOST))
    }
}

/// From `back-off 1m20s restarting failed container=…`.
fn kubelet_says(said: &str) -> Option<Duration> {
    let text = said.strip_prefix("back-off ")?.split(' ').next()?;
    let duration: weir_api::Duration = text.parse().ok()?;
    Some(millis(duration))
}

fn doubled(first: Duration, nth: u32, most: Duration) -> Duration {
    let factor = 1_u32.checked_shl(nth.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// Time from `then` to `now`; none if clocks disagree.
pub(super) fn since(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// A duration of the API.
pub(super) fn millis(duration: weir_api::Duration) -> Duration {
    Duration::from_millis(duration.as_millis())
}
