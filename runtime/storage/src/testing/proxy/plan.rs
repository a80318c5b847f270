//! Which fault a request meets, and the count of them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::random::SplitMix64;

/// The ways a request can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// Answered 500 and not forwarded.
    Status500,
    /// Answered 503 and not forwarded.
    Status503,
    /// Answered 429 and not forwarded.
    Status429,
    /// Answered 409 and not forwarded; for reads, which never conflict, 503 instead.
    Status409,
    /// Forwarded, then answered 500 whatever the server said.
    Status500After,
    /// Neither forwarded nor answered.
    TimeoutBefore,
    /// Forwarded, never answered.
    TimeoutAfter,
    /// Connection reset, not forwarded.
    ResetBefore,
    /// Forwarded, then the connection is reset without an answer.
    ResetAfter,
    /// The answer breaks off half way through its body, or through its head if it has none.
    TruncatedBody,
    /// The answer's body is cut and its `Content-Length` agrees with the cut.
    WrongLength,
    /// Forwarded after a wait.
    Latency,
}

impl FaultKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Status500,
        Self::Status503,
        Self::Status429,
        Self::Status409,
        Self::Status500After,
        Self::TimeoutBefore,
        Self::TimeoutAfter,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::TruncatedBody,
        Self::WrongLength,
        Self::Latency,
    ];
}

/// How often requests break, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Fixes the stream of decisions; which request meets which decision depends on the order of arrival.
    pub seed: u64,
    /// Share of requests that meet each kind, between 0 and 1; their sum is at most 1.
    pub rates: BTreeMap<FaultKind, f64>,
    /// How long a `Latency` fault waits.
    pub latency: Duration,
    /// How long a timeout holds a connection if the client does not give up before.
    pub hold: Duration,
}

impl FaultPlan {
    /// No faults but scripted ones.
    pub fn none() -> Self {
        Self { seed: 0, rates: BTreeMap::new(), latency: Duration::from_secs(3), hold: Duration::from_secs(120) }
    }

    /// Every kind alike, `rate` of all requests together.
    pub fn all_kinds(seed: u64, rate: f64) -> Self {
        let each = rate / FaultKind::ALL.len() as f64;
        Self { seed, rates: FaultKind::ALL.into_iter().map(|kind| (kind, each)).collect(), ..Self::none() }
    }
}

/// What a proxy has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Requests that arrived, broken ones included.
    pub requests: u64,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// Writes that happened at the server and whose client was not told.
    pub ambiguous: u64,
    /// Connections reset by an outage.
    pub outage_resets: u64,
}

impl FaultCounts {
    /// All faults, outages not counted.
    pub fn total(&self) -> u64 {
        self.faults.values().sum()
    }
}

#[derive(Debug)]
pub(super) struct Decider {
    plan: FaultPlan,
    random: SplitMix64,
    scripts: VecDeque<Option<FaultKind>>,
    counts: FaultCounts,
}

impl Decider {
    pub(super) fn new(plan: FaultPlan) -> Self {
        let random = SplitMix64::new(plan.seed);
        Self { plan, random, scripts: VecDeque::new(), counts: FaultCounts::default() }
    }

    pub(super) fn set_plan(&mut self, plan: FaultPlan) {
        self.random = SplitMix64::new(plan.seed);
        self.plan = plan;
    }

    pub(super) fn script(&mut self, fault: Option<FaultKind>) {
        self.scripts.push_back(fault);
    }

    pub(super) fn decide(&mut self, write: bool) -> (Option<FaultKind>, FaultPlan) {
        self.counts.requests += 1;
        let fault = match self.scripts.pop_front() {
            Some(scripted) => scripted,
            None => self.draw(),
        };
        let fault = match fault {
            Some(FaultKind::Status409) if !write => Some(FaultKind::Status503),
            fault => fault,
        };
        if let Some(fault) = fault {
            *self.counts.faults.entry(fault).or_default() += 1;
        }
        (fault, self.plan.clone())
    }

    fn draw(&mut self) -> Option<FaultKind> {
        let mut at = self.random.next_f64();
        for (&kind, &rate) in &self.plan.rates {
            if at < rate {
                return Some(kind);
            }
            at -= rate;
        }
        None
    }

    pub(super) fn count_ambiguous(&mut self) {
        self.counts.ambiguous += 1;
    }

    pub(super) fn count_outage(&mut self) {
        self.counts.outage_resets += 1;
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.counts.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kept_and_a_seed_fixes_the_stream() {
        let draw = |seed| {
            let mut decider = Decider::new(FaultPlan::all_kinds(seed, 0.3));
            let kinds: Vec<_> = (0..10_000).map(|_| decider.decide(true).0).collect();
            (kinds, decider.counts())
        };
        let (first, counts) = draw(1);
        assert_eq!(first, draw(1).0);
        assert_ne!(first, draw(2).0);
        assert!((2_700..3_300).contains(&counts.total()), "{counts:?}");
        assert!(
            counts.faults.len() == FaultKind::ALL.len() && counts.faults.values().all(|&count| count > 150),
            "{counts:?}"
        );
    }

    #[test]
    fn reads_never_conflict() {
        let mut decider = Decider::new(FaultPlan::none());
        decider.script(Some(FaultKind::Status409));
        decider.script(Some(FaultKind::Status409));
        assert_eq!(decider.decide(false).0, Some(FaultKind::Status503));
        assert_eq!(decider.decide(true).0, Some(FaultKind::Status409));
        assert_eq!(decider.decide(true).0, None);
    }
}
