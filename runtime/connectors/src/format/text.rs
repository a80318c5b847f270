//! Lines of text, and lines made by a function.

use super::{Decode, Encode, FormatError, RawRecord};

/// One string per line, UTF-8.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextLines;

impl TextLines {
    /// The format.
    pub fn new() -> Self {
        Self
    }
}

impl Decode for TextLines {
    type Item = String;

    fn decode(&mut self, record: RawRecord<'_>) -> Result<Option<String>, FormatError> {
        match std::str::from_utf8(record.bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(error) => Err(FormatError(format!("not UTF-8 at byte {} of the line", error.valid_up_to()))),
        }
    }
}

impl Encode<String> for TextLines {
    fn encode(&mut self, records: &[String], _first: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        for record in records {
            if record.contains('\n') {
                return Err(FormatError::new("the text contains a line end and would be read back as several records"));
            }
            out.extend_from_slice(record.as_bytes());
            out.push(b'\n');
        }
        Ok(())
    }

    fn extension(&self) -> &str {
        "txt"
    }
}

/// Lines that a function writes.
#[derive(Debug, Clone)]
pub struct Lines<F> {
    extension: String,
    write: F,
}

impl<F> Lines<F> {
    /// `write` appends one record, without a line end, to the buffer; files get this extension (without a dot).
    pub fn new(extension: impl Into<String>, write: F) -> Self {
        Self { extension: extension.into(), write }
    }
}

impl<T, F> Encode<T> for Lines<F>
where
    F: FnMut(&T, &mut Vec<u8>) -> Result<(), FormatError> + Clone + Send + Sync + 'static,
{
    fn encode(&mut self, records: &[T], _first: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        for record in records {
            (self.write)(record, out)?;
            out.push(b'\n');
        }
        Ok(())
    }

    fn extension(&self) -> &str {
        &self.extension
    }
}
