//! Where a journal machine stands.

use std::sync::Arc;

use super::JournalAction;
use crate::ids::Sequence;
use crate::journal::entry::JournalEntry;

/// Where the machine stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    New,
    Listing,
    Reading {
        sequence: Sequence,
    },
    Ready,
    Validating,
    Appending {
        pending: Pending,
        step: Step,
    },
    /// Fenced for certain; reading by whom.
    Identifying {
        sequence: Sequence,
    },
    Fenced,
    Unreadable,
}

/// Where an append stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// `in_doubt`: an earlier create of this entry may have had, or may still have, its effect.
    Creating { in_doubt: bool },
    /// The slot is taken; reading by whom.
    ReadingBack,
    /// The slot is ours; listing whether that counts.
    Confirming,
}

/// The entry being appended, and its bytes, which never change from one attempt to the next.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Pending {
    pub entry: Arc<JournalEntry>,
    pub bytes: Arc<[u8]>,
}

impl Pending {
    pub fn new(entry: JournalEntry) -> Self {
        let bytes = entry.encode().into();
        Self { entry: Arc::new(entry), bytes }
    }

    pub fn create(&self) -> JournalAction {
        JournalAction::Create { sequence: self.entry.sequence, bytes: Arc::clone(&self.bytes) }
    }
}

impl Phase {
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "not open",
            Self::Listing | Self::Reading { .. } => "being opened",
            Self::Ready => "ready",
            Self::Validating => "being re-validated",
            Self::Appending { .. } => "being appended to",
            Self::Identifying { .. } | Self::Fenced => "fenced",
            Self::Unreadable => "unreadable",
        }
    }

    pub fn awaits_list(&self) -> bool {
        match self {
            Self::Listing | Self::Validating | Self::Appending { step: Step::Confirming, .. } => true,
            Self::New
            | Self::Reading { .. }
            | Self::Ready
            | Self::Appending { step: Step::Creating { .. } | Step::ReadingBack, .. }
            | Self::Identifying { .. }
            | Self::Fenced
            | Self::Unreadable => false,
        }
    }
}
