//! What ends a subtask: the operator, the failing step, and, where a record is to blame, the record.

use weir_protocol::OperatorId;

/// What user code may return: any error.
pub type UserError = Box<dyn std::error::Error + Send + Sync>;

/// Why a subtask ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// User code returned an error or panicked.
    UserCode,
    /// A source or sink failed.
    Connector,
    /// Keyed state failed.
    State,
    /// Another subtask went away; the cause is reported there.
    Cancelled,
}

/// The failure of one subtask.
#[derive(Debug, thiserror::Error)]
#[error(
    "operator {operator}, subtask {subtask}: {message}{}{}",
    shown(" on record ", record),
    shown(" read at ", position)
)]
pub struct TaskError {
    /// The failing operator.
    pub operator: OperatorId,
    /// Its subtask.
    pub subtask: u32,
    /// What kind of failure.
    pub kind: FailureKind,
    /// What failed.
    pub message: String,
    /// The record user code failed on, as JSON, shortened.
    pub record: Option<String>,
    /// Split and position of the batch the record came from, when the source is in the same chain.
    pub position: Option<String>,
    /// The cause.
    #[source]
    pub source: Option<UserError>,
}

fn shown(prefix: &str, value: &Option<String>) -> String {
    value.as_ref().map(|v| format!("{prefix}{v}")).unwrap_or_default()
}

/// Longest record text in an error, in characters.
const RECORD_TEXT_LIMIT: usize = 400;

/// A record as JSON for an error message, shortened to [`RECORD_TEXT_LIMIT`].
pub fn describe_record<T: serde::Serialize>(record: &T) -> String {
    let text = serde_json::to_string(record).unwrap_or_else(|error| format!("(not printable: {error})"));
    if text.chars().count() <= RECORD_TEXT_LIMIT {
        return text;
    }
    let mut short: String = text.chars().take(RECORD_TEXT_LIMIT).collect();
    short.push('…');
    short
}
