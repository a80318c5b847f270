//! What can go wrong with keyed state, by operation and object.

use std::path::PathBuf;
use std::sync::Arc;

use weir_protocol::{CheckpointId, OperatorId, StateId};
use weir_storage::StoreError;

use crate::keycodec::KeyCodecError;

/// A failure of the state engine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// A key could not be encoded; its type does not qualify, or its `Serialize` fails.
    #[error("cannot encode a key of state {state}")]
    EncodeKey {
        /// The state.
        state: StateName,
        /// The cause.
        #[source]
        source: KeyCodecError,
    },
    /// A stored key does not decode.
    #[error("cannot decode a stored key of state {state}")]
    DecodeKey {
        /// The state.
        state: StateName,
        /// The cause.
        #[source]
        source: KeyCodecError,
    },
    /// A value could not be encoded.
    #[error("cannot encode a value of state {state}")]
    EncodeValue {
        /// The state.
        state: StateName,
        /// The cause.
        #[source]
        source: ValueCodecError,
    },
    /// A stored value does not decode.
    #[error("cannot decode a stored value of state {state}")]
    DecodeValue {
        /// The state.
        state: StateName,
        /// The cause.
        #[source]
        source: ValueCodecError,
    },
    /// The order of a map's user keys is not the order of their encodings.
    #[error(
        "state {state}: the order of the map's keys (`Ord`) is not the order of their encoding; use a key type with derived order"
    )]
    KeyOrder {
        /// The state.
        state: StateName,
    },
    /// The state was stored with another declaration.
    #[error(
        "state {state} was stored with {what} {found}, the job declares {expected}; restore with the old declaration, or give the state a new name"
    )]
    Incompatible {
        /// The state.
        state: StateName,
        /// What differs: kind, key type, value type, user key type, version.
        what: &'static str,
        /// What the checkpoint holds.
        found: String,
        /// What the job declares.
        expected: String,
    },
    /// One state name was declared twice by one subtask.
    #[error("state {state} is declared twice")]
    DeclaredTwice {
        /// The state.
        state: StateName,
    },
    /// There are more states than ids.
    #[error("state {state} would be the {limit}th of the job; that many are not supported")]
    TooManyStates {
        /// The state.
        state: StateName,
        /// How many there may be.
        limit: u32,
    },
    /// A list grew beyond what one epoch can number.
    #[error("a list of state {state} got more than {limit} elements in one epoch")]
    ListTooLong {
        /// The state.
        state: StateName,
        /// How many one epoch may append.
        limit: u32,
    },
    /// An object of the chain cannot be had, or is not what the manifest says.
    #[error("state object {key} cannot be restored: {what}")]
    RestoreObject {
        /// The object's key.
        key: String,
        /// What was found and expected.
        what: String,
        /// The cause, if the store said no.
        #[source]
        source: Option<Arc<StoreError>>,
    },
    /// The checkpoint names a state file in a way this build does not understand.
    #[error("the chain to restore is inconsistent: {what}")]
    RestoreChain {
        /// What contradicts what.
        what: String,
    },
    /// A file or directory of the work directory cannot be used.
    #[error("cannot {operation} {path}")]
    LocalFile {
        /// What was attempted.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// RocksDB refused an operation.
    #[error("cannot {operation} {path}")]
    Rocks {
        /// What was attempted.
        operation: &'static str,
        /// The database or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rocksdb::Error,
    },
    /// A run could not be uploaded and trying again gives the same answer.
    #[error("cannot upload state object {key}")]
    Upload {
        /// The object's key.
        key: String,
        /// The cause.
        #[source]
        source: Arc<StoreError>,
    },
    /// The epoch was aborted before it was complete.
    #[error("epoch {epoch} was aborted")]
    Aborted {
        /// The epoch.
        epoch: CheckpointId,
    },
    /// A thread of the store panicked: a defect of Weir, described on standard error.
    #[error("a thread of the state store panicked")]
    Panicked,
    /// A state was declared after what was restored had been let go of.
    #[error("state {state} is declared too late: all states of the checkpoint had been loaded before")]
    DeclaredLate {
        /// The state.
        state: StateName,
    },
    /// The store was shut down.
    #[error("the state store was shut down")]
    ShutDown,
}

impl StateError {
    pub(crate) fn local(operation: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::LocalFile { operation, path: path.into(), source: Arc::new(source) }
    }

    /// True if RocksDB found bytes that are not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(self, Self::Rocks { source, .. } if source.kind() == rocksdb::ErrorKind::Corruption)
    }

    pub(crate) fn rocks(operation: &'static str, path: impl Into<PathBuf>, source: rocksdb::Error) -> Self {
        Self::Rocks { operation, path: path.into(), source }
    }
}

/// Why a value could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueCodecError {
    /// The value's format byte is not one this build knows.
    #[error("unknown value format {0}")]
    Format(u8),
    /// The bytes end too early.
    #[error("the value is cut short")]
    Truncated,
    /// The value's content does not fit its type.
    #[error("the value does not fit its type")]
    Content(#[source] postcard::Error),
    /// Bytes are left over behind the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// A state's full name, for messages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateName {
    /// The operator that owns it.
    pub operator: OperatorId,
    /// Its name within the operator.
    pub name: String,
    /// The id under which it is stored.
    pub id: Option<StateId>,
}

impl std::fmt::Display for StateName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.operator, self.name)
    }
}
