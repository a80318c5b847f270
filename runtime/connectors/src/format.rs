//! Records as lines of text: JSON Lines, CSV and plain text, read and written.
//!
//! A format sees one line (in CSV: one record, which may span lines) and knows nothing of files and positions; whoever
//! calls it adds those to the error. A format is cloned per file and may keep buffers between calls.

use weir_engine::record::Record;

mod csv;
mod csv_row;
mod json;
mod text;

pub(crate) use self::csv::end_of_csv_record;
pub use self::csv::{Csv, CsvRows};
pub use csv_row::{CsvRow, FromCsvRow};
pub use json::JsonLines;
pub use text::{Lines, TextLines};

/// Why a line is not a record, or a record not a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

impl FormatError {
    /// An error with this reason, without the line's text and place.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// How records are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One per line.
    Lines,
    /// CSV: line ends within quoted fields belong to the record.
    Csv {
        /// Between two fields.
        delimiter: u8,
    },
}

/// The bytes of one record without its line end.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    /// The bytes; UTF-8 or not.
    pub bytes: &'a [u8],
    /// True if there may be a double quote in it; always true for [`Framing::Lines`].
    pub quoted: bool,
}

/// Makes records of bytes.
pub trait Decode: Clone + Send + Sync + 'static {
    /// What it makes.
    type Item: Record;

    /// How records are told apart.
    fn framing(&self) -> Framing {
        Framing::Lines
    }

    /// True if the first record of a file is a header.
    fn has_header(&self) -> bool {
        false
    }

    /// Takes the header; called before the file's first record, also when reading starts in the middle.
    ///
    /// # Errors
    /// When it is not the expected one.
    fn header(&mut self, header: RawRecord<'_>) -> Result<(), FormatError> {
        let _ = header;
        Ok(())
    }

    /// Makes a record, or none of a blank line.
    ///
    /// # Errors
    /// The reason, without the line's text and place.
    fn decode(&mut self, record: RawRecord<'_>) -> Result<Option<Self::Item>, FormatError>;
}

/// Makes bytes of records.
pub trait Encode<T>: Clone + Send + Sync + 'static {
    /// Appends the records with their line ends; `first`: they open a file, a header comes before them.
    ///
    /// # Errors
    /// The reason; what was appended is then void.
    fn encode(&mut self, records: &[T], first: bool, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// The extension of files in this format, without a dot.
    fn extension(&self) -> &str;
}
