//! What fate a call to the store in memory meets, and why.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Operation, StoreErrorKind};
use crate::random::SplitMix64;

/// One injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Fails and nothing happens. Of kind `Timeout` the caller cannot know that.
    FailBefore(StoreErrorKind),
    /// Happens and then fails: an unknown outcome for the caller.
    FailAfter(StoreErrorKind),
    /// Fails as a timeout; the write happens at the start of the `calls`-th later call to the store.
    LandLater {
        /// How many calls later.
        calls: u32,
    },
    /// Takes this long, then succeeds.
    Delay(Duration),
    /// A read gives only the first half of the object, and no error.
    ShortRead,
}

/// How often each fault strikes, as shares of calls between 0 and 1; their sum is at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultRates {
    /// `Fault::FailBefore` with kind `Throttled`, `Unreachable` or `Timeout`.
    pub fail_before: f64,
    /// `Fault::FailAfter` with kind `Timeout` or `Unreachable`.
    pub fail_after: f64,
    /// `Fault::LandLater`, after one to eight calls; reads time out.
    pub land_later: f64,
    /// `Fault::Delay`.
    pub delay: f64,
    /// How long a delay is.
    pub delay_by: Duration,
    /// `Fault::ShortRead`; writes are left alone.
    pub short_read: f64,
}

impl Default for FaultRates {
    fn default() -> Self {
        Self {
            fail_before: 0.0,
            fail_after: 0.0,
            land_later: 0.0,
            delay: 0.0,
            delay_by: Duration::from_secs(3),
            short_read: 0.0,
        }
    }
}

/// What the store does with a call, after the delay if there is one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Go,
    Short,
    FailBefore(StoreErrorKind),
    FailAfter(StoreErrorKind),
    LandLater(u32),
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    scripts: BTreeMap<Operation, VecDeque<Fault>>,
    rates: Option<(SplitMix64, FaultRates)>,
    outage: bool,
    outage_until: Option<Instant>,
    injected: u64,
}

/// Whether a failure of this kind leaves a writer in doubt even if nothing happened.
pub(super) fn ambiguous(kind: StoreErrorKind) -> bool {
    matches!(kind, StoreErrorKind::Timeout | StoreErrorKind::Other | StoreErrorKind::Conflict)
}

impl Faults {
    pub(super) fn script(&mut self, operation: Operation, fault: Fault) {
        self.scripts.entry(operation).or_default().push_back(fault);
    }

    pub(super) fn set_rates(&mut self, seed: u64, rates: FaultRates) {
        self.rates = Some((SplitMix64::new(seed), rates));
    }

    pub(super) fn set_outage(&mut self, outage: bool) {
        self.outage = outage;
        self.outage_until = None;
    }

    pub(super) fn outage_until(&mut self, until: Instant) {
        self.outage_until = Some(until);
    }

    pub(super) fn injected(&self) -> u64 {
        self.injected
    }

    pub(super) fn decide(&mut self, operation: Operation) -> (Option<Duration>, Verdict) {
        if self.outage || self.outage_until.is_some_and(|until| Instant::now() < until) {
            self.injected += 1;
            return (None, Verdict::FailBefore(StoreErrorKind::Unreachable));
        }
        let scripted = self.scripts.get_mut(&operation).and_then(VecDeque::pop_front);
        let Some(fault) = scripted.or_else(|| self.rates.as_mut().and_then(|(random, rates)| draw(random, rates)))
        else {
            return (None, Verdict::Go);
        };
        self.injected += 1;
        match fault {
            Fault::FailBefore(kind) => (None, Verdict::FailBefore(kind)),
            Fault::FailAfter(kind) => (None, Verdict::FailAfter(kind)),
            Fault::LandLater { calls } => (None, Verdict::LandLater(calls.max(1))),
            Fault::Delay(delay) => (Some(delay), Verdict::Go),
            Fault::ShortRead => (None, Verdict::Short),
        }
    }
}

fn draw(random: &mut SplitMix64, rates: &FaultRates) -> Option<Fault> {
    const BEFORE: [StoreErrorKind; 3] =
        [StoreErrorKind::Throttled, StoreErrorKind::Unreachable, StoreErrorKind::Timeout];
    const AFTER: [StoreErrorKind; 2] = [StoreErrorKind::Timeout, StoreErrorKind::Unreachable];
    let mut at = random.next_f64();
    let detail = random.next_u64();
    let FaultRates { fail_before, fail_after, land_later, delay, delay_by, short_read } = *rates;
    let faults = [
        (fail_before, Fault::FailBefore(BEFORE[(detail % 3) as usize])),
        (fail_after, Fault::FailAfter(AFTER[(detail % 2) as usize])),
        (land_later, Fault::LandLater { calls: 1 + (detail % 8) as u32 }),
        (delay, Fault::Delay(delay_by)),
        (short_read, Fault::ShortRead),
    ];
    for (rate, fault) in faults {
        if at < rate {
            return Some(fault);
        }
        at -= rate;
    }
    None
}
