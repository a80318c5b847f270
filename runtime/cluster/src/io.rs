//! What every I/O function of the coordinator works with.

use std::path::PathBuf;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use weir_protocol::coordinator::Event;

use crate::journal::JournalCalls;
use crate::options::RunOptions;
use crate::pulse::Pulse;
use crate::retry::{Backoff, Trouble};

/// Folder of scratch files below the work directory.
const SCRATCH: &str = "scratch";

/// What the coordinator's I/O works with.
pub(crate) struct Io {
    pub options: RunOptions,
    pub journal: JournalCalls,
    pub trouble: Trouble,
    pub pulse: Pulse,
    /// Keeps attempts to store a manifest apart.
    pub publishing: Mutex<Backoff>,
    /// Where answers go.
    pub events: mpsc::UnboundedSender<Event>,
    /// For files that are being copied; emptied at the start.
    pub scratch: PathBuf,
}

impl Io {
    pub(crate) fn new(options: RunOptions, pulse: Pulse, events: mpsc::UnboundedSender<Event>) -> Self {
        let trouble = Trouble::new(events.clone());
        let journal = JournalCalls::new(options.objects.clone(), trouble.clone());
        let scratch = options.work_dir.join(SCRATCH);
        // Left by an earlier process; only a cache.
        let _ = std::fs::remove_dir_all(&scratch);
        Self { options, journal, trouble, pulse, publishing: Mutex::new(Backoff::new()), events, scratch }
    }

    /// Hands an answer to the coordinator, which is gone only when the job is being left.
    pub(crate) fn answer(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
