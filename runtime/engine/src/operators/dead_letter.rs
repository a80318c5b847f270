//! Records that user code refuses: fail the job, or go to a side output if the job consumes it.

use serde::{Deserialize, Serialize};

use crate::error::{TaskError, UserError};
use crate::operator::{Collector, OutputTag};
use crate::record::Record;

/// A record that user code refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The operator whose user code refused it.
    pub operator: String,
    /// What it said.
    pub error: String,
    /// The record as JSON.
    pub record: String,
    /// Its event time in milliseconds, if the stream has any.
    pub time: Option<i64>,
}

/// The tag of every operator's dead-letter output.
pub fn tag() -> OutputTag<DeadLetter> {
    OutputTag::new("dead-letters")
}

/// Sends a refused record to the dead-letter output, or fails if nobody consumes it.
///
/// # Errors
/// The user's error with the operator and the record.
#[cold]
pub fn refuse<T: Serialize, U: Record>(
    out: &mut Collector<'_, U>,
    error: UserError,
    record: &T,
    time: Option<i64>,
) -> Result<(), TaskError> {
    let tag = tag();
    if !out.has_side(tag.name()) {
        return Err(out.ctx.user_error(error, Some(record)));
    }
    out.ctx.metrics.records_dead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let letter = DeadLetter {
        operator: out.ctx.operator.to_string(),
        error: error.to_string(),
        record: serde_json::to_string(record).unwrap_or_else(|error| format!("(not printable: {error})")),
        time,
    };
    out.side(&tag, letter, time)
}
