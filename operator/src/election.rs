//! Who leads: decided from a Lease and the observer's own clock. Pure.
//!
//! Time stamps of other machines are never compared with our clock: a lease is over when we have watched it unchanged for
//! its whole duration. The number of transitions is the fencing number of a reign. A leader steps down by its own clock
//! before anybody else may step up, whether or not its calls come back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a reign lasts without renewal.
pub const DURATION: Duration = Duration::from_secs(15);
/// How often a leader renews, and others look.
pub const RENEW_EVERY: Duration = Duration::from_secs(4);
/// A leader that could not renew for so long steps down: well before others may step up.
pub const STEP_DOWN: Duration = Duration::from_secs(10);

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Who holds it; empty for nobody.
    pub holder: String,
    /// Changes with every write.
    pub version: String,
    /// Changes of holder so far.
    pub transitions: i32,
    /// How long it is valid without renewal, as its holder says.
    pub duration: Duration,
}

/// What to do with the Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// There is none: create it, as holder.
    Create,
    /// It is ours, or it is over: write it, guarded by the version that was read.
    Write {
        /// The version that was read.
        version: String,
        /// The fencing number to write.
        transitions: i32,
    },
    /// Somebody else holds it.
    Wait,
}

/// What one process knows of the election.
#[derive(Debug)]
pub struct Election {
    me: String,
    /// The last Lease seen, and when it was first seen like that.
    watched: Option<(Seen, Instant)>,
    /// When the last successful write was sent, and its fencing number.
    held: Option<(Instant, i32)>,
}

impl Election {
    /// A process that takes part as `me`.
    pub fn new(me: String) -> Self {
        Election { me, watched: None, held: None }
    }

    /// What to do after the Lease was read at `now`.
    pub fn observe(&mut self, lease: Option<Seen>, now: Instant) -> Move {
        let Some(lease) = lease else {
            // Somebody removed it: whoever held it may lead on until it would have been over.
            if let Some((seen, at)) = &self.watched
                && !seen.holder.is_empty()
                && now.duration_since(*at) < seen.duration.max(DURATION)
            {
                return Move::Wait;
            }
            self.watched = None;
            return Move::Create;
        };
        if lease.holder == self.me {
            // Ours, also after a restart under the same name: the reign before is over, so it is another one.
            let transitions = match self.held {
                Some((_, ours)) if ours == lease.transitions => ours,
                _ => lease.transitions.saturating_add(1),
            };
            return Move::Write { version: lease.version, transitions };
        }
        self.held = None;
        let first_seen = match &self.watched {
            Some((seen, at)) if seen.version == lease.version => *at,
            _ => now,
        };
        let is_over = lease.holder.is_empty() || now.duration_since(first_seen) >= lease.duration.max(DURATION);
        let take = Move::Write { version: lease.version.clone(), transitions: lease.transitions.saturating_add(1) };
        self.watched = Some((lease, first_seen));
        if is_over { take } else { Move::Wait }
    }

    /// A write that was sent at `sent` succeeded.
    pub fn written(&mut self, sent: Instant, transitions: i32) {
        self.held = Some((sent, transitions));
        self.watched = None;
    }

    /// The fencing number of our reign at `now`; nothing if we do not lead, or may not any more.
    pub fn leads(&self, now: Instant) -> Option<i32> {
        self.held.filter(|(sent, _)| now.duration_since(*sent) < STEP_DOWN).map(|(_, transitions)| transitions)
    }
}

/// Whether this process may write: asked before every write, answered by our own clock, so that a process that was paused
/// finds out by itself, before anybody tells it.
#[derive(Debug)]
pub struct Reign {
    begun: Instant,
    /// Milliseconds after `begun`; 0 for not at all.
    until: AtomicU64,
}

impl Reign {
    /// No reign yet.
    pub fn new(now: Instant) -> Self {
        Reign { begun: now, until: AtomicU64::new(0) }
    }

    /// A write of the Lease that was sent at `sent` succeeded.
    pub fn renewed(&self, sent: Instant) {
        let until = sent.duration_since(self.begun) + STEP_DOWN;
        self.until.store(u64::try_from(until.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }

    /// It is over.
    pub fn ended(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Whether it lasts at `now`.
    pub fn lasts(&self, now: Instant) -> bool {
        now.duration_since(self.begun).as_millis() < u128::from(self.until.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(holder: &str, version: &str, transitions: i32) -> Option<Seen> {
        Some(Seen { holder: holder.into(), version: version.into(), transitions, duration: DURATION })
    }

    fn write(version: &str, transitions: i32) -> Move {
        Move::Write { version: version.into(), transitions }
    }

    #[test]
    fn a_lease_is_over_when_it_was_watched_unchanged_for_its_whole_duration() {
        let start = Instant::now();
        let mut election = Election::new("b".into());
        assert_eq!(election.observe(seen("a", "1", 4), start), Move::Wait);
        let almost = start + DURATION - Duration::from_millis(1);
        assert_eq!(election.observe(seen("a", "1", 4), almost), Move::Wait);
        assert_eq!(election.observe(seen("a", "2", 4), start + DURATION), Move::Wait, "it was renewed");
        assert_eq!(election.observe(seen("a", "2", 4), start + DURATION * 2), write("2", 5));
        assert_eq!(election.leads(start + DURATION * 2), None, "not before the write succeeded");
        election.written(start + DURATION * 2, 5);
        assert_eq!(election.leads(start + DURATION * 2), Some(5));
    }

    #[test]
    fn a_lease_that_is_removed_does_not_make_two_leaders() {
        let start = Instant::now();
        let mut election = Election::new("b".into());
        assert_eq!(election.observe(seen("a", "1", 4), start), Move::Wait);
        assert_eq!(election.observe(None, start + DURATION - Duration::from_millis(1)), Move::Wait);
        assert_eq!(election.observe(None, start + DURATION), Move::Create);
        let mut holder = Election::new("a".into());
        holder.written(start, 4);
        assert_eq!(holder.observe(None, start + Duration::from_secs(4)), Move::Create, "its own is made anew at once");
    }

    #[test]
    fn a_leader_steps_down_by_its_own_clock() {
        let start = Instant::now();
        let mut election = Election::new("a".into());
        assert_eq!(election.observe(None, start), Move::Create);
        election.written(start, 0);
        assert_eq!(election.leads(start + STEP_DOWN - Duration::from_millis(1)), Some(0));
        assert_eq!(election.leads(start + STEP_DOWN), None);
        assert!(STEP_DOWN + RENEW_EVERY <= DURATION, "it stepped down before others may step up");
    }

    #[test]
    fn renewing_keeps_the_fencing_number_and_coming_back_does_not() {
        let now = Instant::now();
        let mut election = Election::new("a".into());
        election.written(now, 3);
        assert_eq!(election.observe(seen("a", "7", 3), now), write("7", 3));
        let mut again = Election::new("a".into());
        assert_eq!(again.observe(seen("a", "7", 3), now), write("7", 4));
    }

    #[test]
    fn who_was_displaced_does_not_lead() {
        let now = Instant::now();
        let mut election = Election::new("a".into());
        election.written(now, 3);
        assert_eq!(election.observe(seen("b", "9", 4), now), Move::Wait);
        assert_eq!(election.leads(now), None);
    }

    #[test]
    fn a_reign_ends_by_itself() {
        let start = Instant::now();
        let reign = Reign::new(start);
        assert!(!reign.lasts(start));
        let sent = start + Duration::from_secs(7);
        reign.renewed(sent);
        assert!(reign.lasts(sent + STEP_DOWN - Duration::from_millis(1)));
        assert!(!reign.lasts(sent + STEP_DOWN));
        reign.renewed(sent + Duration::from_secs(4));
        assert!(reign.lasts(sent + STEP_DOWN));
        reign.ended();
        assert!(!reign.lasts(sent));
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let mut election = Election::new("a".into());
        assert_eq!(election.observe(seen("", "9", 4), Instant::now()), write("9", 5));
    }
}
