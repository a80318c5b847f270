//! Which refusals of the operating system may go away by themselves.

use std::io::{Error, ErrorKind};

/// True unless the user has to change something: a full or read-only disk recovers, a wrong path does not.
pub(crate) fn may_pass(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::NotADirectory
            | ErrorKind::IsADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidFilename
            | ErrorKind::BrokenPipe
    )
}
