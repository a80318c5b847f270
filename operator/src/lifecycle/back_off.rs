//! How long the operator waits before it replaces a pod that keeps failing, beside how long the kubelet would.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::resolved::ResolvedRestart;

/// The kubelet's own back-off: from 10 s, doubled, to 5 min.
const KUBELET_FIRST: Duration = Duration::from_secs(10);
const KUBELET_MOST: Duration = Duration::from_secs(300);

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackOff {
    /// How many.
    pub failures: u32,
    /// When the last one was.
    pub last: Option<Timestamp>,
}

impl BackOff {
    /// One more failure. A time without one makes the count begin anew.
    pub fn failed(&mut self, at: Timestamp, restart: &ResolvedRestart) {
        let quiet = self.last.is_some_and(|last| since(at, last) >= millis(restart.reset_after));
        self.failures = if quiet { 1 } else { self.failures.saturating_add(1) };
        self.last = Some(at);
    }

    /// Failures in a row as of `now`.
    pub fn in_a_row(&self, now: Timestamp, restart: &ResolvedRestart) -> u32 {
        match self.last {
            Some(last) if since(now, last) < millis(restart.reset_after) => self.failures,
            _ => 0,
        }
    }

    /// What is waited after the last of `failures` failures.
    pub fn delay(failures: u32, restart: &ResolvedRestart) -> Duration {
        doubled(millis(restart.initial), failures, millis(restart.max))
    }

    /// What the kubelet waits before it starts a container again that was restarted `restarts` times.
    pub fn kubelet(restarts: u32) -> Duration {
        doubled(KUBELET_FIRST, restarts, KUBELET_MOST)
    }
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
