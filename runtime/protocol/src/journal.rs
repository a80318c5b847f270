//! The journal: a job's linear history in the object store, built from create-if-absent alone.
//!
//! Entry *n + 1* may be written only by who has read entry *n*, under a name that nobody can write twice; so of several
//! coordinators exactly one wins each slot, and the loser learns of it. Every entry carries the whole [`Head`], so one
//! listing and one read rebuild a coordinator. A [claim](EntryKind::Claim) begins a generation; the older generation's
//! next append finds its slot taken. Decisions live here without I/O: [`machine`] speaks with the store, [`start`] says
//! what a start may do with the head it found.
//!
//! Why an append counts: names count down, so a listing begins with the newest entry, and the newest entry is never
//! trimmed. A slot above the newest entry is therefore free because it was never written; a slot below it may be free
//! because it was trimmed. After a successful create the machine lists again: the append counts only if it is now the
//! newest entry *and* its predecessor still exists.

mod attempt;
mod deletion;
mod entry;
mod head;
pub mod machine;
pub mod start;

pub use attempt::{AttemptId, Attempts};
pub use deletion::{DeleteDecision, resolve_delete};
pub use entry::{EntryKind, JournalEntry};
pub use head::{
    CONSUMED_REMEMBERED, CheckpointEntry, Head, JobRevision, JobStatus, Owner, PendingSavepoint, RestorePoint,
    RestoreRecord,
};
pub use machine::{Draft, FencedBy, JournalAction, JournalMachine};
pub use start::{
    RestoreRequest, RestoreTarget, RevisionRule, StartDecision, StartRefusal, StartRequest, resolve_start,
};
