//! What a coordinator says about its job.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// What the coordinator answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Control {
    /// There was nobody to ask.
    #[default]
    NotAsked,
    /// It did not answer.
    Unreachable(String),
    /// What it said.
    Answered(Box<Report>),
}

/// What a coordinator said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// The number of the revision it runs.
    pub number: u64,
    /// The hash of the revision it runs.
    pub hash: String,
    /// Its reign.
    pub generation: u64,
    /// What it does.
    pub state: RunState,
    /// Why, in a sentence.
    pub reason: String,
    /// The journal's last word.
    pub journal: RunState,
    /// The number that the journal's last word is about.
    pub journal_number: u64,
    /// The job's id.
    pub job_id: String,
    /// Retained checkpoints, newest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Restarts in this process, by kind.
    pub restarts: BTreeMap<String, u64>,
    /// Its last failure: when, kind, sentence.
    pub last_failure: Option<(Timestamp, String, String)>,
    /// Since when the object store does not answer, and what it says.
    pub storage_trouble: Option<(Timestamp, String)>,
    /// Since when this process runs.
    pub started_at: Option<Timestamp>,
    /// The last checkpoint request it carried out.
    pub checkpoint_nonce: Option<u64>,
    /// The last savepoint request it carried out.
    pub savepoint_nonce: Option<u64>,
}

/// What a coordinator does, or a journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunState {
    /// Not known.
    #[default]
    Unknown,
    /// Opening the journal.
    Starting,
    /// Restoring.
    Deploying,
    /// Running.
    Running,
    /// Taking the final checkpoint.
    Ending,
    /// Waiting before it tries again.
    Restarting,
    /// Stopped, durably.
    Stopped,
    /// Finished, durably.
    Finished,
    /// Given up, durably.
    Failed,
    /// It has no part in the job any more.
    Left,
}

/// A completed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// Its id.
    pub id: u64,
    /// When it was complete.
    pub completed_at: Timestamp,
    /// From trigger to completion.
    pub duration: Duration,
    /// What a restore reads.
    pub bytes_full: u64,
    /// What was uploaded for it.
    pub bytes_incremental: u64,
    /// The reign that took it.
    pub generation: u64,
}

impl Report {
    /// Whether the journal says that the revision `number` came to an end.
    pub(super) fn journal_settled(&self, number: u64) -> bool {
        use RunState::{Failed, Finished, Stopped};
        self.journal_number >= number && matches!(self.journal, Stopped | Finished | Failed)
    }
}
