//! The coordinator's settings and bounds.

use crate::restart::RestartPolicy;

/// The coordinator asks for a wake-up at least this often, in milliseconds.
pub const TICK_MS: u64 = 500;

/// A gap of this many milliseconds between two events means that the process may have been stopped meanwhile, and
/// replaced: it re-validates its reign before it writes anything.
pub const PAUSE_SUSPECTED_MS: u64 = 2_000;

/// A manifest that was withdrawn this often in a row is sent without a guard, once the store has confirmed the reign: where
/// pauses never end nothing would be written else. What it leaves if somebody else reigns by then is swept, and the
/// journal takes no entry for it.
pub const MAX_WITHDRAWN: u32 = 3;

/// A start whose claim comes too late, because the reign that it replaces has appended once more, opens the journal again at
/// most this often.
pub const MAX_REOPENED: u32 = 16;

/// Checkpoint ids reserved ahead of the last one used. Aborted checkpoints leave no journal entry; after a crash their ids are skipped.
pub const RESERVED_AHEAD: u64 = 4;

/// Names in one deletion at most (the limit of one S3 request).
pub const DELETE_BATCH: usize = 1_000;

/// Requests by hand that may wait at the same time.
pub const MAX_WAITING_REQUESTS: usize = 64;

/// Settings of one job's coordinator. Durations in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct CoordinatorConfig {
    /// Time between two triggers; `None`: no trigger by time.
    pub interval_ms: Option<u64>,
    /// Trigger after this many records since the last one.
    pub every_records: Option<u64>,
    /// Trigger after this many bytes since the last one.
    pub every_bytes: Option<u64>,
    /// Least time from the end of one checkpoint to the trigger of the next (requests by hand do not wait).
    pub min_pause_ms: u64,
    /// A checkpoint that takes longer is aborted.
    pub timeout_ms: u64,
    /// Completed checkpoints kept.
    pub retained: usize,
    /// Failed checkpoints in a row that do not fail the job; one more does.
    pub tolerable_failures: u32,
    /// When a failed job starts again.
    pub restart: RestartPolicy,
    /// How often the journal's head is looked at when nothing else does.
    pub head_poll_ms: u64,
    /// The newest journal entries kept.
    pub journal_keep: u64,
    /// Manifests that nothing needs any more are deleted so many at a time.
    pub manifests_together: usize,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            interval_ms: Some(10_000),
            every_records: None,
            every_bytes: None,
            min_pause_ms: 0,
            timeout_ms: 600_000,
            retained: 6,
            tolerable_failures: 3,
            restart: RestartPolicy::default(),
            head_poll_ms: 15_000,
            journal_keep: crate::journal::machine::DEFAULT_KEEP,
            manifests_together: 4,
        }
    }
}
