//! Notices that the process stood still.
//!
//! A process that is stopped and continued (SIGSTOP, a frozen cgroup, a suspended machine) may have been replaced meanwhile.
//! The journal keeps it from doing harm; here it finds out at once, before it writes what nobody may need. A thread takes
//! the time every few milliseconds. When it, or whoever asks, finds that the last time taken lies too far back, every
//! decision made before is stale. On a machine that is short of CPU that may be said of a process that never stood
//! still; it costs one look at the journal.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Between two times taken.
const BEAT: Duration = Duration::from_millis(20);

/// A gap in which a successor may have started, claimed the journal and deployed the job.
const GAP: Duration = Duration::from_millis(100);

/// A write that could not be sent within this time after it was decided is not sent.
pub(crate) const MAX_DECISION_AGE: Duration = Duration::from_millis(1_000);

/// One job's pulse; its thread ends with it.
#[derive(Debug)]
pub(crate) struct Pulse {
    taken: Arc<Mutex<Taken>>,
    _stop: Sender<()>,
}

#[derive(Debug)]
struct Taken {
    last: Instant,
    gaps: u64,
    /// There is a gap between any two looks.
    restless: bool,
}

impl Taken {
    fn gaps_at(&mut self, now: Instant) -> u64 {
        if now.saturating_duration_since(self.last) > GAP || self.restless {
            self.gaps += 1;
        }
        self.last = self.last.max(now);
        self.gaps
    }
}

impl Pulse {
    /// A `restless` one finds a gap whenever it is asked, for tests.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(restless: bool) -> std::io::Result<Self> {
        let taken = Arc::new(Mutex::new(Taken { last: Instant::now(), gaps: 0, restless }));
        let (stop, stopped) = channel::<()>();
        let shared = Arc::clone(&taken);
        std::thread::Builder::new().name("weir-pulse".to_owned()).spawn(move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                shared.lock().gaps_at(Instant::now());
            }
        })?;
        Ok(Self { taken, _stop: stop })
    }

    /// How often the process has stood still.
    pub(crate) fn gaps(&self) -> u64 {
        self.taken.lock().gaps_at(Instant::now())
    }

    /// A decision made now.
    pub(crate) fn decide(&self) -> Decision {
        Decision { at: Instant::now(), gaps: self.gaps(), taken: Arc::clone(&self.taken) }
    }
}

/// When something was decided.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    at: Instant,
    gaps: u64,
    taken: Arc<Mutex<Taken>>,
}

impl Decision {
    /// True if somebody else may reign by now: what was decided must not be written or deleted any more.
    pub(crate) fn is_stale(&self) -> bool {
        let now = Instant::now();
        now.saturating_duration_since(self.at) > MAX_DECISION_AGE || self.taken.lock().gaps_at(now) != self.gaps
    }

    /// For calls of the store.
    pub(crate) fn guard(&self) -> weir_storage::Guard {
        let decision = self.clone();
        Arc::new(move || !decision.is_stale())
    }
}

#[cfg(test)]
impl Decision {
    /// A decision of this age, in a process that never stood still.
    pub(crate) fn of_age(age: Duration) -> Self {
        let now = Instant::now();
        let taken = Arc::new(Mutex::new(Taken { last: now + Duration::from_secs(3600), gaps: 0, restless: false }));
        Self { at: now.checked_sub(age).expect("the machine has run for longer"), gaps: 0, taken }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_makes_decisions_stale_whoever_finds_it() {
        let start = Instant::now();
        let taken = Arc::new(Mutex::new(Taken { last: start, gaps: 0, restless: false }));
        let decision = Decision { at: start, gaps: 0, taken: Arc::clone(&taken) };
        taken.lock().gaps_at(start + GAP);
        assert_eq!(taken.lock().gaps, 0, "as long as the pulse beats");
        taken.lock().gaps_at(start + GAP + GAP + Duration::from_millis(1));
        assert_eq!(taken.lock().gaps, 1);
        assert!(decision.is_stale());

        taken.lock().last = Instant::now().checked_sub(GAP * 2).unwrap();
        let other = Decision { gaps: 1, at: Instant::now(), taken: Arc::clone(&taken) };
        assert!(other.is_stale(), "found by the one who asks, before the thread runs again");
    }

    #[test]
    fn old_decisions_are_stale() {
        assert!(!Decision::of_age(Duration::ZERO).is_stale());
        assert!(Decision::of_age(MAX_DECISION_AGE + Duration::from_millis(1)).is_stale());
    }
}
