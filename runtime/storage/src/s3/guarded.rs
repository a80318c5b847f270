//! Withdraws a request right before it is sent.
//!
//! Between the decision to write and the moment when bytes leave, a process may be stopped for any time: while it waits for its
//! turn, signs, or waits before another attempt. So the caller's guard is asked last of all.

use std::fmt;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use crate::store::Guard;

/// The caller's guard said no.
#[derive(Debug, thiserror::Error)]
#[error("withdrawn by the caller before it was sent")]
struct Withdrawn;

/// Asks a guard before every transmission.
pub(super) struct Guarded(pub Guard);

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded")
    }
}

impl Intercept for Guarded {
    fn name(&self) -> &'static str {
        "Guarded"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if (self.0)() { Ok(()) } else { Err(Withdrawn.into()) }
    }
}

/// Whether this error, or what caused it, is a withdrawal.
pub(super) fn is_withdrawn(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Withdrawn>())
}
