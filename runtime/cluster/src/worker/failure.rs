//! Failures in words, and whether trying again can help.

use weir_engine::build::BuildError;
use weir_engine::error::{FailureKind, TaskError};
use weir_state::StateError;

use crate::message::{DeployFailure, TaskFailure};
use crate::retry::chain;

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
        BuildError::State { source, .. } if !can_pass(source) => DeployFailure::Refused(chain(error)),
        BuildError::State { .. } | BuildError::Connector { .. } | BuildError::User { .. } => {
            DeployFailure::Failed(chain(error))
        }
    }
}

/// Why the store could not be opened.
pub(super) fn of_store(error: &StateError) -> DeployFailure {
    if can_pass(error) { DeployFailure::Failed(chain(error)) } else { DeployFailure::Refused(chain(error)) }
}

fn can_pass(error: &StateError) -> bool {
    match error {
        StateError::RestoreObject { source, .. } => source.as_ref().is_some_and(|source| source.can_retry()),
        StateError::LocalFile { .. }
        | StateError::Rocks { .. }
        | StateError::Upload { .. }
        | StateError::Aborted { .. }
        | StateError::ShutDown => true,
        _ => false,
    }
}
