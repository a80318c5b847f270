//! Failures in words, and whether trying again can help.

use weir_engine::build::BuildError;
use weir_engine::error::{FailureKind, TaskError};
use weir_state::StateError;

use crate::message::{DeployFailure, TaskFailure};
use crate::retry::{chain, is_final};

/// A subtask's failure with its causes; operator, record and source position are part of the error's own words.
pub(super) fn describe(error: &TaskError) -> TaskFailure {
    let kind = match error.kind {
        FailureKind::UserCode => "user_code",
        FailureKind::Connector => "connector",
        FailureKind::State => "state",
        FailureKind::Cancelled => "cancelled",
    };
    TaskFailure { operator: error.operator.clone(), kind, reason: chain(error) }
}

/// True if another subtask's failure is the cause, and will be reported by itself.
pub(super) fn is_consequence(error: &TaskError) -> bool {
    error.kind == FailureKind::Cancelled
}

/// Why a deployment could not be put together. What the job declares and what the checkpoint holds do not change by trying again;
/// disks, connectors and user code may.
pub(super) fn of_build(error: &BuildError) -> DeployFailure {
    match error {
        BuildError::Type { .. } => DeployFailure::Refused(chain(error)),
        BuildError::State { source, .. } => of_state(source, chain(error)),
        BuildError::Connector { .. } | BuildError::User { .. } => DeployFailure::Failed(chain(error)),
    }
}

/// Why the store could not be opened.
pub(super) fn of_store(error: &StateError) -> DeployFailure {
    of_state(error, chain(error))
}

fn of_state(error: &StateError, reason: String) -> DeployFailure {
    match error {
        StateError::RestoreObject { source: Some(source), .. } if !is_final(source) => DeployFailure::Storage(reason),
        StateError::LocalFile { .. }
        | StateError::Rocks { .. }
        | StateError::Upload { .. }
        | StateError::Aborted { .. }
        | StateError::ShutDown => DeployFailure::Failed(reason),
        _ => DeployFailure::Refused(reason),
    }
}
