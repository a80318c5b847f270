//! Speaks with the store: opens the journal, appends entries, re-validates the reign, trims.
//!
//! Sans-IO: every `handle_*` takes the answer to one [`JournalAction`] and returns what to do next. At most one list,
//! read or create is under way at any time, beside at most one delete. Calls that failed without effect are simply asked
//! for again; the shell waits between repetitions.
//!
//! **Unknown outcomes.** A create that may have happened is neither success nor failure: the machine asks for it again
//! with identical bytes until the slot is known to be taken, and then reads back whose entry it holds. Only a create
//! that is known to have had no effect, on an attempt that never was in doubt, ends as [`JournalAction::NotAppended`].
//!
//! **What counts.** See the [module above](super): after the create, the entry must be the newest and its predecessor
//! must exist. If not, this coordinator is fenced: it appends, deletes and publishes nothing any more.
//!
//! A shell is a loop around it:
//!
//! ```
//! use std::collections::BTreeMap;
//! use weir_protocol::journal::machine::{CreateOutcome, ReadOutcome};
//! use weir_protocol::journal::{AttemptId, Draft, EntryKind, Head, JobRevision, JournalAction, JournalMachine, Owner};
//! use weir_protocol::{JobId, Millis, Sequence};
//!
//! let mut store: BTreeMap<Sequence, Vec<u8>> = BTreeMap::new();
//! let mut call = |machine: &mut JournalMachine, action| match action {
//!     JournalAction::List => {
//!         let newest: Vec<Sequence> = store.keys().rev().take(2).copied().collect();
//!         machine.handle_listed(Some(&newest))
//!     }
//!     JournalAction::Read { sequence } => {
//!         let outcome = store.get(&sequence).cloned().map_or(ReadOutcome::Absent, ReadOutcome::Found);
//!         machine.handle_read(sequence, outcome)
//!     }
//!     JournalAction::Create { sequence, bytes } => {
//!         let exists = store.contains_key(&sequence);
//!         store.entry(sequence).or_insert_with(|| bytes.to_vec());
//!         machine.handle_created(sequence, if exists { CreateOutcome::Exists } else { CreateOutcome::Done })
//!     }
//!     JournalAction::Delete { sequence } => {
//!         store.remove(&sequence);
//!         machine.handle_deleted(sequence, true)
//!     }
//!     _ => Vec::new(), // Opened, Appended, Fenced, … are for the coordinator.
//! };
//!
//! let mut machine = JournalMachine::new(16);
//! let mut actions = machine.open();
//! while let Some(action) = actions.pop() {
//!     actions.extend(call(&mut machine, action));
//! }
//! let draft = Draft {
//!     kind: EntryKind::Reserve,
//!     head: Head::new(JobId::from("job"), Owner::local(), JobRevision::default()),
//!     attempt: AttemptId("random-1".into()),
//!     written_at: Millis(0),
//! };
//! actions = machine.append(draft).expect("the journal is open");
//! while let Some(action) = actions.pop() {
//!     actions.extend(call(&mut machine, action));
//! }
//! assert_eq!(machine.head().map(|entry| entry.sequence), Some(Sequence(1)));
//! ```

mod phase;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use phase::{Pending, Phase, Step};

use super::attempt::AttemptId;
use super::entry::{EntryKind, JournalEntry};
use super::head::{Head, Owner};
use crate::defects::Defects;
use crate::ids::{Generation, Millis, Sequence};

/// How many of the newest entries a listing must deliver.
pub const LIST_LIMIT: usize = 2;

/// The newest entries that are kept, by default.
pub const DEFAULT_KEEP: u64 = 16;

/// Entries deleted after one append at most; one is enough to keep the length, more catch up.
const TRIM_PER_APPEND: u32 = 3;

/// What the shell is to do, or has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalAction {
    /// List the newest [`LIST_LIMIT`] entries; answer with [`JournalMachine::handle_listed`].
    List,
    /// Read an entry; answer with [`JournalMachine::handle_read`].
    Read {
        /// Which one.
        sequence: Sequence,
    },
    /// Create an entry if absent; answer with [`JournalMachine::handle_created`].
    Create {
        /// Which one.
        sequence: Sequence,
        /// Its content.
        bytes: Arc<[u8]>,
    },
    /// Delete a trimmed entry; answer with [`JournalMachine::handle_deleted`]. To be sent at once or not at all: after a
    /// pause of the process answer that it was not done.
    Delete {
        /// Which one.
        sequence: Sequence,
    },
    /// The journal is open; [`JournalMachine::head`] is its newest entry, `None` if there is no entry.
    Opened,
    /// The append counts; [`JournalMachine::head`] is the new entry.
    Appended {
        /// Its position.
        sequence: Sequence,
    },
    /// The append certainly did not happen, and will not. The draft may be appended again, or dropped.
    NotAppended,
    /// No newer generation exists at the time of the listing.
    Valid,
    /// Another coordinator reigns. Nothing may be written any more; the process must leave.
    Fenced(FencedBy),
    /// An entry cannot be read; the job must not go on.
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Who fenced us, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencedBy {
    /// The newest entry seen; not ours.
    pub sequence: Option<Sequence>,
    /// Its generation.
    pub generation: Option<Generation>,
    /// Its owner.
    pub owner: Option<Owner>,
    /// Which attempt wrote it.
    pub attempt: Option<AttemptId>,
}

impl std::fmt::Display for FencedBy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.sequence, self.generation, &self.owner) {
            (Some(sequence), Some(generation), Some(owner)) => {
                write!(f, "generation {generation} of owner {owner} in journal entry {sequence}")
            }
            (Some(sequence), _, _) => write!(f, "journal entry {sequence}"),
            (None, _, _) => f.write_str("the journal's removal"),
        }
    }
}

/// Answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The object's bytes.
    Found(Vec<u8>),
    /// There is no such object.
    Absent,
    /// The call failed.
    Failed,
}

/// Answer to a create-if-absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CreateOutcome {
    /// It was created by this call.
    Done,
    /// An object of this name exists (412).
    Exists,
    /// The call had no effect and never will.
    NotDone,
    /// The call may have had, or may still have, its effect (timeout, connection lost, 409, most 5xx).
    Unknown,
}

/// An entry to be appended; position, format and trimming watermark are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it records.
    pub kind: EntryKind,
    /// The whole head after it.
    pub head: Head,
    /// A fresh attempt id.
    pub attempt: AttemptId,
    /// The time, for humans.
    pub written_at: Millis,
}

/// An append was asked for while the machine cannot take one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal is {0} and takes no append")]
pub struct NotReady(&'static str);

/// The journal as one coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalMachine {
    phase: Phase,
    head: Option<Arc<JournalEntry>>,
    keep: u64,
    trimmed_below: Sequence,
    trim_budget: u32,
    deleting: bool,
    defects: Defects,
}

impl JournalMachine {
    /// A machine that keeps the newest `keep` entries (at least [`LIST_LIMIT`]).
    pub fn new(keep: u64) -> Self {
        Self {
            phase: Phase::New,
            head: None,
            keep: keep.max(LIST_LIMIT as u64),
            trimmed_below: Sequence(1),
            trim_budget: 0,
            deleting: false,
            defects: Defects::default(),
        }
    }

    /// Plants defects, for tests of tests.
    #[must_use]
    pub fn with_defects(mut self, defects: Defects) -> Self {
        self.defects = defects;
        self
    }

    /// The newest entry known to count; `None` before the journal's first.
    pub fn head(&self) -> Option<&JournalEntry> {
        self.head.as_deref()
    }

    /// True if an append can be started.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// True while an append is under way; until it is resolved its checkpoint can neither abort nor be followed.
    pub fn is_appending(&self) -> bool {
        matches!(self.phase, Phase::Appending { .. })
    }

    /// True once another coordinator reigns.
    pub fn is_fenced(&self) -> bool {
        matches!(self.phase, Phase::Fenced)
    }

    /// All entries below this one are known to be deleted.
    pub fn trimmed_below(&self) -> Sequence {
        self.trimmed_below
    }

    /// Trims nothing more until the next append counts.
    pub fn pause_trimming(&mut self) {
        self.trim_budget = 0;
    }

    /// Begins to open the journal; ends in `Opened`, `Unreadable`. What was known of it is forgotten, so that a coordinator
    /// whose claim came too late can begin anew.
    pub fn open(&mut self) -> Vec<JournalAction> {
        self.phase = Phase::Listing;
        self.head = None;
        self.trimmed_below = Sequence(1);
        vec![JournalAction::List]
    }

    /// Asks the store whether we still reign; ends in `Valid` or `Fenced`. Returns nothing while an append is under way,
    /// whose confirmation answers the same question.
    pub fn validate(&mut self) -> Vec<JournalAction> {
        if !self.is_ready() {
            return Vec::new();
        }
        self.phase = Phase::Validating;
        vec![JournalAction::List]
    }

    /// Begins to append; ends in `Appended`, `NotAppended`, `Fenced` or `Unreadable`.
    ///
    /// # Errors
    /// When the journal is not open, is fenced, or another call is under way ([`Self::is_ready`] tells).
    pub fn append(&mut self, draft: Draft) -> Result<Vec<JournalAction>, NotReady> {
        if !self.is_ready() {
            return Err(NotReady(self.phase.name()));
        }
        let Draft { kind, mut head, attempt, written_at } = draft;
        head.trimmed_below = self.trimmed_below;
        let found = self.head();
        let format = JournalEntry::next_format(found.map(|entry| entry.format), &kind);
        JournalEntry::fit_format(format, &mut head);
        let entry = JournalEntry {
            format,
            sequence: found.map_or(Sequence(1), |entry| entry.sequence.next()),
            attempt,
            written_at,
            kind,
            head,
        };
        let pending = Pending::new(entry);
        let create = pending.create();
        self.phase = Phase::Appending { pending, step: Step::Creating { in_doubt: false } };
        Ok(vec![create])
    }

    /// Takes the newest entries, newest first; `None` if the listing failed.
    pub fn handle_listed(&mut self, newest: Option<&[Sequence]>) -> Vec<JournalAction> {
        let Some(newest) = newest else {
            return if self.phase.awaits_list() { vec![JournalAction::List] } else { Vec::new() };
        };
        let first = newest.first().copied();
        match &mut self.phase {
            Phase::Listing => match first {
                None => {
                    self.phase = Phase::Ready;
                    vec![JournalAction::Opened]
                }
                Some(sequence) => {
                    self.phase = Phase::Reading { sequence };
                    vec![JournalAction::Read { sequence }]
                }
            },
            Phase::Validating => {
                if first == self.head.as_ref().map(|entry| entry.sequence) {
                    self.phase = Phase::Ready;
                    vec![JournalAction::Valid]
                } else {
                    self.identify(first)
                }
            }
            Phase::Appending { pending, step: Step::Confirming } => {
                let sequence = pending.entry.sequence;
                let is_newest = first == Some(sequence);
                let follows = newest.get(1).copied() == sequence.previous();
                if (is_newest && follows) || self.defects.count_trimmed_slot {
                    let entry = Arc::clone(&pending.entry);
                    self.appended(entry)
                } else {
                    self.identify(first)
                }
            }
            Phase::New
            | Phase::Reading { .. }
            | Phase::Ready
            | Phase::Appending { .. }
            | Phase::Identifying { .. }
            | Phase::Fenced
            | Phase::Unreadable => Vec::new(),
        }
    }

    /// Takes the answer to a read.
    pub fn handle_read(&mut self, sequence: Sequence, outcome: ReadOutcome) -> Vec<JournalAction> {
        match &mut self.phase {
            Phase::Reading { sequence: expected } if *expected == sequence => match outcome {
                ReadOutcome::Failed => vec![JournalAction::Read { sequence }],
                // Trimmed since it was listed: somebody appends quickly. Begin again.
                ReadOutcome::Absent => self.open(),
                ReadOutcome::Found(bytes) => self.opened(sequence, &bytes),
            },
            Phase::Appending { pending, step: step @ Step::ReadingBack } if pending.entry.sequence == sequence => {
                match outcome {
                    ReadOutcome::Failed => vec![JournalAction::Read { sequence }],
                    // Taken a moment ago, free now: it was trimmed. Creating again may win the emptied slot, which the
                    // confirmation then finds not to count.
                    ReadOutcome::Absent => {
                        *step = Step::Creating { in_doubt: true };
                        vec![pending.create()]
                    }
                    ReadOutcome::Found(bytes) if bytes[..] == pending.bytes[..] && !self.defects.foreign_on_exists => {
                        *step = Step::Confirming;
                        vec![JournalAction::List]
                    }
                    ReadOutcome::Found(bytes) => self.fenced(Some(sequence), &bytes),
                }
            }
            Phase::Identifying { sequence: expected } if *expected == sequence => match outcome {
                ReadOutcome::Failed => vec![JournalAction::Read { sequence }],
                ReadOutcome::Absent => self.fenced(Some(sequence), &[]),
                ReadOutcome::Found(bytes) => self.fenced(Some(sequence), &bytes),
            },
            Phase::New
            | Phase::Listing
            | Phase::Reading { .. }
            | Phase::Ready
            | Phase::Validating
            | Phase::Appending { .. }
            | Phase::Identifying { .. }
            | Phase::Fenced
            | Phase::Unreadable => Vec::new(),
        }
    }

    /// Takes the answer to a create.
    pub fn handle_created(&mut self, sequence: Sequence, outcome: CreateOutcome) -> Vec<JournalAction> {
        let Phase::Appending { pending, step } = &mut self.phase else { return Vec::new() };
        let Step::Creating { in_doubt } = *step else { return Vec::new() };
        if pending.entry.sequence != sequence {
            return Vec::new();
        }
        match outcome {
            CreateOutcome::Done => {
                *step = Step::Confirming;
                vec![JournalAction::List]
            }
            CreateOutcome::Exists => {
                *step = Step::ReadingBack;
                vec![JournalAction::Read { sequence }]
            }
            CreateOutcome::NotDone if !in_doubt => self.not_appended(),
            CreateOutcome::Unknown if self.defects.discard_on_unknown => self.not_appended(),
            CreateOutcome::NotDone | CreateOutcome::Unknown => {
                *step = Step::Creating { in_doubt: true };
                vec![pending.create()]
            }
        }
    }

    /// Takes the answer to a delete: `true` only if the object is known to be gone.
    pub fn handle_deleted(&mut self, sequence: Sequence, gone: bool) -> Vec<JournalAction> {
        if !self.deleting || sequence != self.trimmed_below {
            return Vec::new();
        }
        self.deleting = false;
        if gone {
            self.trimmed_below = sequence.next();
            self.trim_next()
        } else {
            // Not worth a retry of its own: the next append tries again.
            Vec::new()
        }
    }

    fn opened(&mut self, sequence: Sequence, bytes: &[u8]) -> Vec<JournalAction> {
        match JournalEntry::decode(sequence, bytes) {
            Ok(entry) => {
                self.trimmed_below = entry.head.trimmed_below;
                self.head = Some(Arc::new(entry));
                self.phase = Phase::Ready;
                vec![JournalAction::Opened]
            }
            Err(error) => {
                self.phase = Phase::Unreadable;
                let reason =
                    std::error::Error::source(&error).map_or(error.to_string(), |cause| format!("{error}: {cause}"));
                vec![JournalAction::Unreadable { key: error.key().to_owned(), reason }]
            }
        }
    }

    fn appended(&mut self, entry: Arc<JournalEntry>) -> Vec<JournalAction> {
        let sequence = entry.sequence;
        self.head = Some(entry);
        self.phase = Phase::Ready;
        self.trim_budget = TRIM_PER_APPEND;
        let mut actions = vec![JournalAction::Appended { sequence }];
        actions.extend(self.trim_next());
        actions
    }

    fn not_appended(&mut self) -> Vec<JournalAction> {
        self.phase = Phase::Ready;
        vec![JournalAction::NotAppended]
    }

    fn trim_next(&mut self) -> Vec<JournalAction> {
        let newest = self.head.as_ref().map_or(0, |entry| entry.sequence.0);
        let surplus = self.trimmed_below.0 + self.keep <= newest;
        if self.deleting || !surplus || self.trim_budget == 0 || self.is_fenced() {
            return Vec::new();
        }
        self.trim_budget -= 1;
        self.deleting = true;
        vec![JournalAction::Delete { sequence: self.trimmed_below }]
    }

    fn identify(&mut self, newest: Option<Sequence>) -> Vec<JournalAction> {
        match newest {
            Some(sequence) => {
                self.phase = Phase::Identifying { sequence };
                vec![JournalAction::Read { sequence }]
            }
            None => self.fenced(None, &[]),
        }
    }

    fn fenced(&mut self, sequence: Option<Sequence>, bytes: &[u8]) -> Vec<JournalAction> {
        self.phase = Phase::Fenced;
        let entry = sequence.and_then(|sequence| JournalEntry::decode(sequence, bytes).ok());
        let attempt = entry.as_ref().map(|entry| entry.attempt.clone());
        let (generation, owner) = entry.map(|entry| (entry.head.generation, entry.head.owner)).unzip();
        vec![JournalAction::Fenced(FencedBy { sequence, generation, owner, attempt })]
    }
}
