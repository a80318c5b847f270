//! One refused field, said in the same words on every surface.

use std::fmt;

use serde_json::Value;

use crate::path::FieldPath;

/// The most characters of a value that a message repeats.
const MAX_SHOWN: usize = 60;

/// A field that cannot be accepted: where it stands, what was found, what is allowed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: found {found}; allowed: {allowed}; {hint}")]
pub struct Invalid {
    /// Where the field stands.
    pub path: FieldPath,
    /// What was found there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
    /// What to do.
    pub hint: String,
}

impl Invalid {
    /// Puts the four parts together.
    pub fn new(
        path: impl Into<FieldPath>,
        found: impl fmt::Display,
        allowed: impl fmt::Display,
        hint: impl fmt::Display,
    ) -> Invalid {
        Invalid { path: path.into(), found: found.to_string(), allowed: allowed.to_string(), hint: hint.to_string() }
    }
}

/// A value with its kind, for the `found` part of a message about a wrong type.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(_) => format!("the boolean {value}"),
        Value::Number(_) => format!("the number {value}"),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// A text in quotes, cut to a readable length.
pub(crate) fn quoted(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(MAX_SHOWN).collect();
    format!("{head:?}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_where_what_and_what_to_do() {
        let invalid = Invalid::new("spec.workers", 3, 1, "raise spec.worker.slots instead");
        assert_eq!(invalid.to_string(), "spec.workers: found 3; allowed: 1; raise spec.worker.slots instead");
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = quoted(&"ä".repeat(100));
        assert_eq!(shown.chars().filter(|c| *c == 'ä').count(), MAX_SHOWN);
        assert!(shown.ends_with('…'));
    }
}
