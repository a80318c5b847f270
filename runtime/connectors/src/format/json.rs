//! JSON Lines: one JSON value per line. Blank lines are skipped.

use std::marker::PhantomData;

use serde::Serialize;
use weir_engine::record::Record;

use super::{Decode, Encode, FormatError, RawRecord};

/// One JSON value per line, by serde.
pub struct JsonLines<T>(PhantomData<fn() -> T>);

impl<T> JsonLines<T> {
    /// The format.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for JsonLines<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Record> Decode for JsonLines<T> {
    type Item = T;

    fn decode(&mut self, record: RawRecord<'_>) -> Result<Option<T>, FormatError> {
        match serde_json::from_slice(record.bytes) {
            Ok(item) => Ok(Some(item)),
            Err(_) if record.bytes.trim_ascii().is_empty() => Ok(None),
            Err(error) => Err(reason(&error)),
        }
    }
}

/// serde_json's message with the column only: its line is always 1 and would be read as the file's.
fn reason(error: &serde_json::Error) -> FormatError {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match message.strip_suffix(&place) {
        Some(message) => FormatError(format!("{message} (column {})", error.column())),
        None => FormatError(message),
    }
}

impl<T: Serialize + 'static> Encode<T> for JsonLines<T> {
    fn encode(&mut self, records: &[T], _first: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        for record in records {
            serde_json::to_writer(&mut *out, record).map_err(|error| FormatError(error.to_string()))?;
            out.push(b'\n');
        }
        Ok(())
    }

    fn extension(&self) -> &str {
        "jsonl"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(line: &str) -> Result<Option<(u32, String)>, String> {
        JsonLines::new().decode(RawRecord { bytes: line.as_bytes(), quoted: true }).map_err(|error| error.0)
    }

    #[test]
    fn a_line_is_a_value_and_a_blank_line_is_none() {
        assert_eq!(decode(r#"[1, "a"]"#), Ok(Some((1, "a".into()))));
        assert_eq!(decode(""), Ok(None));
        assert_eq!(decode(" \t"), Ok(None));
    }

    #[test]
    fn errors_name_the_column_and_not_a_line() {
        assert_eq!(decode(r#"["x", "a"]"#).unwrap_err(), "invalid type: string \"x\", expected u32 (column 4)");
        assert_eq!(decode("[1,").unwrap_err(), "EOF while parsing a value (column 3)");
        assert_eq!(decode(r#"[1, "a"] x"#).unwrap_err(), "trailing characters (column 10)");
    }
}
