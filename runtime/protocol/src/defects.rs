//! Defects that can be planted, so that tests can show that they would be noticed. All are off by default, and nothing
//! but tests turns one on.

/// Planted defects of the journal and the coordinator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Defects {
    /// A 412 is taken as someone else's entry without reading it back.
    pub foreign_on_exists: bool,
    /// An append counts although its slot was free only because it had been trimmed.
    pub count_trimmed_slot: bool,
    /// An append of unknown outcome is taken as failed, and what it would have published is discarded.
    pub discard_on_unknown: bool,
    /// Sinks commit before the checkpoint's journal entry exists.
    pub commit_before_publish: bool,
    /// Objects are deleted before the entry that stops naming them exists.
    pub delete_before_entry: bool,
    /// Output prepared for an aborted checkpoint is dropped instead of passed on to the next one.
    pub drop_output_on_abort: bool,
    /// Commits are not replayed at a restore.
    pub skip_commit_replay: bool,
}
