//! CSV (RFC 4180): by serde ([`Csv`]), or hand-written per type ([`CsvRows`]).
//!
//! Fields may be quoted, quoted fields may contain delimiters, doubled quotes and line ends. Blank lines are skipped.

use std::marker::PhantomData;

use csv::ByteRecord;
use serde::Serialize;
use weir_engine::record::Record;

use super::csv_row::{CsvRow, FromCsvRow, Unquoted, unquote};
use super::{Decode, Encode, FormatError, Framing, RawRecord};

const DEFAULT_DELIMITER: u8 = b',';

/// What both forms share.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    delimiter: u8,
    header: bool,
}

impl Dialect {
    const DEFAULT: Self = Self { delimiter: DEFAULT_DELIMITER, header: false };

    /// The fields of a record; `buffer` holds them if some are quoted.
    fn row<'a>(
        self,
        record: RawRecord<'a>,
        buffer: &'a mut Unquoted,
        columns: &'static [&'static str],
    ) -> Result<CsvRow<'a>, FormatError> {
        if !record.quoted {
            return Ok(CsvRow::plain(record.bytes, self.delimiter, columns));
        }
        unquote(record.bytes, self.delimiter, buffer)?;
        Ok(CsvRow::unquoted(buffer, self.delimiter, columns))
    }
}

/// CSV by serde: fields go to a struct by the header's names, or without a header by position.
pub struct Csv<T> {
    dialect: Dialect,
    columns: Option<ByteRecord>,
    record: ByteRecord,
    buffer: Unquoted,
    item: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    /// Comma-separated, without a header.
    pub fn new() -> Self {
        Self {
            dialect: Dialect::DEFAULT,
            columns: None,
            record: ByteRecord::new(),
            buffer: Unquoted::default(),
            item: PhantomData,
        }
    }

    /// Every file begins with a header that names the columns.
    #[must_use]
    pub fn with_header(mut self) -> Self {
        self.dialect.header = true;
        self
    }

    /// Another byte than the comma between fields.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.dialect.delimiter = delimiter;
        self
    }

    fn split(&mut self, record: RawRecord<'_>) -> Result<(), FormatError> {
        self.record.clear();
        let mut row = self.dialect.row(record, &mut self.buffer, &[])?;
        while let Some(field) = row.next_field() {
            self.record.push_field(field);
        }
        Ok(())
    }

    fn reason(&self, error: &csv::Error) -> FormatError {
        let csv::ErrorKind::Deserialize { err, .. } = error.kind() else { return FormatError(error.to_string()) };
        let Some(index) = err.field() else { return FormatError(err.kind().to_string()) };
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let name = self.columns.as_ref().and_then(|columns| columns.get(index));
        let name = name.map(|name| format!(" ({})", name.escape_ascii())).unwrap_or_default();
        let value = self.record.get(index).unwrap_or_default().escape_ascii();
        FormatError(format!("field {}{name} is \"{value}\": {}", index + 1, err.kind()))
    }
}

impl<T> Default for Csv<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Self { dialect: self.dialect, columns: self.columns.clone(), ..Self::new() }
    }
}

impl<T: Record> Decode for Csv<T> {
    type Item = T;

    fn framing(&self) -> Framing {
        Framing::Csv { delimiter: self.dialect.delimiter }
    }

    fn has_header(&self) -> bool {
        self.dialect.header
    }

    fn header(&mut self, header: RawRecord<'_>) -> Result<(), FormatError> {
        self.split(header)?;
        self.columns = Some(self.record.clone());
        Ok(())
    }

    fn decode(&mut self, record: RawRecord<'_>) -> Result<Option<T>, FormatError> {
        if record.bytes.is_empty() {
            return Ok(None);
        }
        self.split(record)?;
        if let Some(columns) = &self.columns
            && columns.len() != self.record.len()
        {
            return Err(FormatError(format!("{} fields, the header has {}", self.record.len(), columns.len())));
        }
        self.record.deserialize(self.columns.as_ref()).map(Some).map_err(|error| self.reason(&error))
    }
}

impl<T: Serialize + 'static> Encode<T> for Csv<T> {
    fn encode(&mut self, records: &[T], first: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut writer = csv::WriterBuilder::new()
            .delimiter(self.dialect.delimiter)
            .has_headers(first && self.dialect.header)
            .from_writer(out);
        for record in records {
            writer.serialize(record).map_err(|error| FormatError(error.to_string()))?;
        }
        writer.flush().map_err(|error| FormatError(error.to_string()))
    }

    fn extension(&self) -> &str {
        "csv"
    }
}

/// CSV of a type that decodes itself. A header, if there is one, must name exactly its columns in order.
pub struct CsvRows<T> {
    dialect: Dialect,
    buffer: Unquoted,
    item: PhantomData<fn() -> T>,
}

impl<T> CsvRows<T> {
    /// Comma-separated, without a header.
    pub fn new() -> Self {
        Self { dialect: Dialect::DEFAULT, buffer: Unquoted::default(), item: PhantomData }
    }

    /// Every file begins with a header that names the columns.
    #[must_use]
    pub fn with_header(mut self) -> Self {
        self.dialect.header = true;
        self
    }

    /// Another byte than the comma between fields.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.dialect.delimiter = delimiter;
        self
    }
}

impl<T> Default for CsvRows<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for CsvRows<T> {
    fn clone(&self) -> Self {
        Self { dialect: self.dialect, ..Self::new() }
    }
}

impl<T: Record + FromCsvRow> Decode for CsvRows<T> {
    type Item = T;

    fn framing(&self) -> Framing {
        Framing::Csv { delimiter: self.dialect.delimiter }
    }

    fn has_header(&self) -> bool {
        self.dialect.header
    }

    fn header(&mut self, header: RawRecord<'_>) -> Result<(), FormatError> {
        let mut row = self.dialect.row(header, &mut self.buffer, T::COLUMNS)?;
        let found: Vec<&[u8]> = std::iter::from_fn(|| row.next_field()).collect();
        if found.iter().copied().eq(T::COLUMNS.iter().map(|name| name.as_bytes())) {
            return Ok(());
        }
        Err(FormatError(format!("the header does not name the columns {}", T::COLUMNS.join(","))))
    }

    #[inline]
    fn decode(&mut self, record: RawRecord<'_>) -> Result<Option<T>, FormatError> {
        if record.bytes.is_empty() {
            return Ok(None);
        }
        let mut row = self.dialect.row(record, &mut self.buffer, T::COLUMNS)?;
        let item = T::from_csv_row(&mut row)?;
        row.finish()?;
        Ok(Some(item))
    }
}

/// Where the first record of `bytes` ends: its line end, or `None` if that is not among them.
pub(crate) fn end_of_csv_record(bytes: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at += 1 + end_of_quoted(&bytes[at + 1..])?;
        }
        at += memchr::memchr2(delimiter, b'\n', &bytes[at..])?;
        if bytes[at] == b'\n' {
            return Some(at);
        }
        at += 1;
    }
}

/// Length of a quoted field after its opening quote, with its closing quote.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'"', &bytes[at..])? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests;
