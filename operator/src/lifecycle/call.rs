//! Calls to the control API, and what came of them.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::ResolvedJob;

/// A call to the control API.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Stop with a final checkpoint.
    Stop {
        /// The revision it is meant for.
        number: u64,
        /// How long the final checkpoint may take.
        timeout: Duration,
    },
    /// Stop without a final checkpoint: what the revision has done since the latest one is not to be gone on from.
    Discard {
        /// The revision it is meant for.
        number: u64,
    },
    /// Deploy another resolved job in the same process.
    Redeploy {
        /// That job.
        resolved: Box<ResolvedJob>,
        /// How long the final checkpoint may take.
        timeout: Duration,
    },
    /// Take a checkpoint.
    Checkpoint {
        /// The request.
        nonce: u64,
    },
    /// Take a savepoint.
    Savepoint {
        /// The request.
        nonce: u64,
        /// Its name.
        name: String,
    },
}

/// Which call; one of each at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// See [`Call::Stop`].
    Stop,
    /// See [`Call::Discard`].
    Discard,
    /// See [`Call::Redeploy`].
    Redeploy,
    /// See [`Call::Checkpoint`].
    Checkpoint,
    /// See [`Call::Savepoint`].
    Savepoint,
}

/// A call and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// The number or nonce it is for.
    pub key: u64,
    /// When it began.
    pub started: Timestamp,
    /// What came of it; nothing while it is under way.
    pub outcome: Option<Outcome>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and what it says.
    Done(String),
    /// No answer, or "not now": asking again is fine.
    Again(String),
    /// Refused: asking again is not.
    Refused(String),
}

impl Call {
    /// Which call.
    pub fn kind(&self) -> CallKind {
        match self {
            Call::Stop { .. } => CallKind::Stop,
            Call::Discard { .. } => CallKind::Discard,
            Call::Redeploy { .. } => CallKind::Redeploy,
            Call::Checkpoint { .. } => CallKind::Checkpoint,
            Call::Savepoint { .. } => CallKind::Savepoint,
        }
    }

    /// The number or nonce it is for.
    pub fn key(&self) -> u64 {
        match self {
            Call::Stop { number, .. } | Call::Discard { number } => *number,
            Call::Redeploy { resolved, .. } => resolved.revision_number,
            Call::Checkpoint { nonce } | Call::Savepoint { nonce, .. } => *nonce,
        }
    }
}
