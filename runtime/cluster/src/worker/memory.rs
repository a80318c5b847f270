//! Holds what the process really takes against `worker.memory`.
//!
//! The store's budgets go by estimates of what values, tables and the allocator take. The governor looks at the process a few times a
//! second and squeezes the budgets when it comes close to its limit: first the cache shrinks, then changes are spilled earlier, at
//! last sources pause until memory has come back. What the page cache holds does not count: it gives way by itself.

use std::time::Duration;

use weir_state::Squeeze;

/// Of the memory, in percent: from here on the cache shrinks.
const CACHE_SHRINKS: u64 = 85;
/// From here on changes spill earlier.
const CHANGES_SPILL: u64 = 90;
/// From here on sources pause.
const SOURCES_PAUSE: u64 = 95;
/// Below this the budgets recover.
const RECOVERS: u64 = 80;

/// Time between two looks: what a job can take meanwhile must fit between the marks above.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// What is left of a budget at each look that squeezes it, in permille.
const SHRINKS_TO: u32 = 970;
/// What a budget gets back at each look that finds room, in permille of the whole.
const GROWS_BY: u32 = 4;
/// What there is of each budget at first, in permille: nobody knows yet what values of this job take.
const AT_FIRST: u32 = 400;
/// The least that is left for changes, in permille: with nothing, nothing moves.
const LEAST_WRITE: u32 = 100;

/// Decides how much of its budgets the store may use.
#[derive(Debug)]
pub(super) struct Governor {
    limit: u64,
    squeeze: Squeeze,
}

impl Governor {
    /// For a process that may take `limit` bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, squeeze: Squeeze { write: AT_FIRST, clean: AT_FIRST, full: false } }
    }

    /// What the store may use now.
    pub(super) fn squeeze(&self) -> Squeeze {
        self.squeeze
    }

    /// What follows from the process taking `used` bytes.
    pub(super) fn judge(&mut self, used: u64) -> Squeeze {
        let above = |percent: u64| u128::from(used) * 100 > u128::from(self.limit) * u128::from(percent);
        let next = |permille: u32, shrinks_at: u64| {
            if above(shrinks_at) {
                permille * SHRINKS_TO / 1000
            } else if above(RECOVERS) {
                permille
            } else {
                (permille + GROWS_BY).min(1000)
            }
        };
        let Squeeze { write, clean, .. } = self.squeeze;
        self.squeeze = Squeeze {
            clean: next(clean, CACHE_SHRINKS),
            write: next(write, CHANGES_SPILL).max(LEAST_WRITE),
            full: above(SOURCES_PAUSE),
        };
        self.squeeze
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(governor: &mut Governor, used: u64) -> Squeeze {
        (0..1000).for_each(|_| {
            governor.judge(used);
        });
        governor.squeeze()
    }

    #[test]
    fn the_cache_shrinks_first_then_changes_then_sources_pause() {
        let mut governor = Governor::new(1000);
        assert_eq!(looks(&mut governor, 800), Squeeze::NONE);
        assert_eq!(governor.judge(850), Squeeze::NONE);
        assert_eq!(governor.judge(851), Squeeze { clean: 970, ..Squeeze::NONE });
        assert_eq!(governor.judge(901), Squeeze { write: 970, clean: 940, full: false });
        assert!(governor.judge(951).full);
        assert!(!governor.judge(950).full);
    }

    #[test]
    fn budgets_begin_low_recover_slowly_and_never_shrink_to_nothing() {
        let mut governor = Governor::new(1000);
        assert_eq!(governor.judge(500), Squeeze { write: AT_FIRST + 4, clean: AT_FIRST + 4, full: false });
        let least = looks(&mut governor, 2000);
        assert_eq!((least.write, least.full), (LEAST_WRITE, true));
        assert_eq!(governor.judge(820), Squeeze { full: false, ..least });
        assert_eq!(governor.judge(500), Squeeze { write: least.write + 4, clean: least.clean + 4, full: false });
    }
}
