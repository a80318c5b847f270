//! What went wrong with which object, whether trying again can help, and whether a write may have happened.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// The calls of [`ObjectStore`](crate::ObjectStore), for errors, counters and fault plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `put`
    Put,
    /// `put_file`
    PutFile,
    /// `create`
    Create,
    /// `get`
    Get,
    /// `get_range`
    GetRange,
    /// `get_file`
    GetFile,
    /// `head`
    Head,
    /// `list`
    List,
    /// `delete`
    Delete,
    /// `open_uploads`
    OpenUploads,
    /// `abort_uploads`
    AbortUploads,
}

impl Operation {
    /// Whether the call changes the store, so that its failure can be ambiguous.
    pub fn writes(self) -> bool {
        match self {
            Self::Put | Self::PutFile | Self::Create | Self::Delete | Self::AbortUploads => true,
            Self::Get | Self::GetRange | Self::GetFile | Self::Head | Self::List | Self::OpenUploads => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "put",
            Self::PutFile => "put file",
            Self::Create => "create",
            Self::Get => "get",
            Self::GetRange => "get range of",
            Self::GetFile => "get file",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::OpenUploads => "list uploads of",
            Self::AbortUploads => "abort uploads of",
        })
    }
}

/// Whether the same call can succeed later without a change to the call itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The cause can pass: an outage, a full or read-only disk, a throttled client.
    Yes,
    /// Trying again gives the same answer.
    No,
}

/// What is known about a failed write. Reads are always `NotDone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It did not happen, and will not.
    NotDone,
    /// It may have happened, or may still happen: keep, and read back.
    MaybeDone,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreErrorKind {
    /// The object is not there.
    NotFound,
    /// The credentials are wrong or do not allow the call.
    Denied,
    /// The bucket, or the directory that stands for it, is missing.
    NoBucket,
    /// No space is left, or a quota is used up.
    Full,
    /// The store takes no writes.
    ReadOnly,
    /// No connection, or the connection broke.
    Unreachable,
    /// No answer within the bound.
    Timeout,
    /// The store asks for fewer requests.
    Throttled,
    /// The store refused because another call on the same key was in progress.
    Conflict,
    /// What came back is not what was stored, or ends too early.
    Corrupt,
    /// The key, prefix, range or file given by the caller cannot be served.
    Invalid,
    /// The caller's guard withdrew the write before it took effect.
    Withdrawn,
    /// Anything else.
    Other,
}

impl StoreErrorKind {
    /// Whether failures of this kind can pass by themselves.
    pub fn retry(self) -> Retry {
        match self {
            Self::Full | Self::ReadOnly | Self::Unreachable | Self::Timeout | Self::Throttled | Self::Conflict => {
                Retry::Yes
            }
            Self::NotFound
            | Self::Denied
            | Self::NoBucket
            | Self::Corrupt
            | Self::Invalid
            | Self::Withdrawn
            | Self::Other => Retry::No,
        }
    }
}

/// A failed call to an object store.
///
/// `Display` names operation, key, store and what happened, with the way out where there is one; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {key:?} in {store}: {what}")]
pub struct StoreError {
    /// The call that failed.
    pub operation: Operation,
    /// The key, or the prefix of a listing, or the first key of a deletion.
    pub key: String,
    /// The store's [`describe`](crate::ObjectStore::describe).
    pub store: Arc<str>,
    /// What kind of failure it was.
    pub kind: StoreErrorKind,
    /// Whether the same call can succeed later.
    pub retry: Retry,
    /// What is known about a write.
    pub effect: Effect,
    /// What happened and the way out: lower case, no full stop.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of a kind, with the kind's own [`Retry`] and `Effect::NotDone`.
    pub fn new(
        operation: Operation,
        key: impl Into<String>,
        store: impl Into<Arc<str>>,
        kind: StoreErrorKind,
        what: impl Into<String>,
    ) -> Self {
        Self {
            operation,
            key: key.into(),
            store: store.into(),
            kind,
            retry: kind.retry(),
            effect: Effect::NotDone,
            what: what.into(),
            source: None,
        }
    }

    /// A write that its guard withdrew: not done.
    pub(crate) fn withdrawn(operation: Operation, key: &str, store: impl Into<Arc<str>>) -> Self {
        Self::new(operation, key, store, StoreErrorKind::Withdrawn, "withdrawn by the caller before it took effect")
    }

    /// The same error, as one whose write may have happened; nothing changes for a read.
    #[must_use]
    pub fn maybe_done(mut self) -> Self {
        if self.operation.writes() {
            self.effect = Effect::MaybeDone;
        }
        self
    }

    /// The same error with another [`Retry`].
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the object is absent.
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }

    /// Whether the same call can succeed later.
    pub fn can_retry(&self) -> bool {
        self.retry == Retry::Yes
    }

    /// Whether the write may have happened.
    pub fn may_be_done(&self) -> bool {
        self.effect == Effect::MaybeDone
    }
}
