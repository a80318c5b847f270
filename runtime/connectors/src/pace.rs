//! Rate limiting of generators: element `i` is due at `started + i / rate`, on the wall clock.
//!
//! `started` is part of the stored position: after an outage a generator catches up, as a queue would, and element `i`
//! has the same due time in every run of the job.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shortest pause between two reads of a rate-limited generator; it lets batches form.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

const MICROS_PER_SECOND: u128 = 1_000_000;

/// Wall clock in microseconds since the Unix epoch.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> i64 + Send + Sync>);

impl Clock {
    /// The machine's clock.
    pub(crate) fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        }))
    }

    #[cfg(test)]
    pub(crate) fn from_fn(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> i64 {
        (self.0)()
    }
}

/// Says how many elements are due.
pub(crate) struct Pace {
    per_second: u64,
    started: i64,
    clock: Clock,
}

impl Pace {
    /// `per_second` elements per second since `started`, or since now. `None` when the rate is unlimited.
    pub(crate) fn new(per_second: Option<u64>, started: Option<i64>, clock: &Clock) -> Option<Self> {
        let per_second = per_second?.max(1);
        Some(Self { per_second, started: started.unwrap_or_else(|| clock.now()), clock: clock.clone() })
    }

    /// When element 0 was due, in microseconds since the Unix epoch.
    pub(crate) fn started(&self) -> i64 {
        self.started
    }

    /// Number of elements that are due: all below this index.
    pub(crate) fn due(&self) -> u64 {
        let Ok(elapsed) = u128::try_from(i128::from(self.clock.now()) - i128::from(self.started)) else { return 0 };
        u64::try_from(elapsed * u128::from(self.per_second) / MICROS_PER_SECOND + 1).unwrap_or(u64::MAX)
    }

    /// How long until element `index` is due; at least [`SHORTEST_WAIT`].
    pub(crate) fn wait(&self, index: u64) -> Duration {
        let micros = u128::from(index) * MICROS_PER_SECOND / u128::from(self.per_second);
        let left = i128::try_from(micros).unwrap_or(i128::MAX).saturating_add(i128::from(self.started))
            - i128::from(self.clock.now());
        Duration::from_micros(u64::try_from(left.max(0)).unwrap_or(u64::MAX)).max(SHORTEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(per_second: u64, now: i64) -> Pace {
        Pace::new(Some(per_second), Some(1_000_000), &Clock::from_fn(move || now)).unwrap()
    }

    #[test]
    fn elements_become_due_at_their_time() {
        for (per_second, now, due) in
            [(1, 1_000_000, 1), (1, 1_999_999, 1), (1, 2_000_000, 2), (1_000_000, 1_000_003, 4), (10, 11_000_000, 101)]
        {
            assert_eq!(pace(per_second, now).due(), due, "{per_second}/s at {now}");
        }
    }

    #[test]
    fn nothing_is_due_before_the_start() {
        assert_eq!(pace(1000, 999_999).due(), 0);
    }

    #[test]
    fn the_wait_ends_when_the_next_element_is_due() {
        assert_eq!(pace(2, 1_000_000).wait(1), Duration::from_millis(500));
        assert_eq!(pace(2, 9_000_000).wait(1), SHORTEST_WAIT);
    }

    #[test]
    fn a_clock_far_from_the_start_does_not_overflow() {
        assert_eq!(pace(u64::MAX, i64::MAX).due(), u64::MAX);
        assert!(pace(1, i64::MIN).wait(u64::MAX) > Duration::from_secs(1));
    }
}
