//! The fields of one CSV record, taken one after the other, and hand-written decoding into a type.

use super::FormatError;

/// A type that is made of CSV fields without serde: several times as fast for rows of numbers and short strings.
pub trait FromCsvRow: Sized {
    /// The names of its columns in order: checked against a header, and named in errors.
    const COLUMNS: &'static [&'static str];

    /// Takes exactly one field per column from `row`.
    ///
    /// # Errors
    /// Those of [`CsvRow`]'s functions.
    fn from_csv_row(row: &mut CsvRow<'_>) -> Result<Self, FormatError>;
}

/// A cursor over the fields of one record.
#[derive(Debug)]
pub struct CsvRow<'a> {
    fields: Fields<'a>,
    delimiter: u8,
    columns: &'static [&'static str],
    index: usize,
}

/// What is left of the record.
#[derive(Debug)]
enum Fields<'a> {
    /// No field is quoted: the bytes after the last delimiter taken; `None` after the last field.
    Plain(Option<&'a [u8]>),
    /// Fields freed from their quotes, back to back, and where each of them ends.
    Unquoted { bytes: &'a [u8], ends: &'a [usize] },
}

impl<'a> CsvRow<'a> {
    /// The fields of a record without quotes.
    pub(super) fn plain(bytes: &'a [u8], delimiter: u8, columns: &'static [&'static str]) -> Self {
        Self { fields: Fields::Plain(Some(bytes)), delimiter, columns, index: 0 }
    }

    /// The fields of a record after [`unquote`].
    pub(super) fn unquoted(unquoted: &'a Unquoted, delimiter: u8, columns: &'static [&'static str]) -> Self {
        let fields = Fields::Unquoted { bytes: &unquoted.bytes, ends: &unquoted.ends };
        Self { fields, delimiter, columns, index: 0 }
    }

    /// The next field, if there is one.
    #[inline]
    pub fn next_field(&mut self) -> Option<&'a [u8]> {
        let field = match &mut self.fields {
            Fields::Plain(rest) => {
                let bytes = (*rest)?;
                match memchr::memchr(self.delimiter, bytes) {
                    Some(at) => {
                        *rest = Some(&bytes[at + 1..]);
                        &bytes[..at]
                    }
                    None => {
                        *rest = None;
                        bytes
                    }
                }
            }
            Fields::Unquoted { bytes, ends } => {
                let start = if self.index == 0 { 0 } else { ends[self.index - 1] };
                &bytes[start..*ends.get(self.index)?]
            }
        };
        self.index += 1;
        Some(field)
    }

    /// The next field as bytes.
    ///
    /// # Errors
    /// When there is none.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], FormatError> {
        self.next_field().ok_or_else(|| self.too_few())
    }

    /// Goes past so many fields that are not wanted: their content is not looked at.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn skip(&mut self, fields: usize) -> Result<(), FormatError> {
        (0..fields).try_for_each(|_| self.bytes().map(drop))
    }

    /// The next field as text.
    ///
    /// # Errors
    /// When there is none, or it is not UTF-8.
    #[inline]
    pub fn str(&mut self) -> Result<&'a str, FormatError> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|_| self.misfit(bytes, "not UTF-8"))
    }

    /// The next field as a whole number without sign.
    ///
    /// # Errors
    /// When there is none, or it is not such a number.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        if let Some((value, fields)) = self.leading_number() {
            self.fields = fields;
            self.index += 1;
            return Ok(value);
        }
        let bytes = self.bytes()?;
        parse(bytes).ok_or_else(|| self.misfit(bytes, "not a whole number from 0 to 2^64 - 1"))
    }

    /// The next field as a whole number.
    ///
    /// # Errors
    /// When there is none, or it is not such a number.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, FormatError> {
        if let Some((value, fields)) = self.leading_number()
            && let Ok(value) = i64::try_from(value)
        {
            self.fields = fields;
            self.index += 1;
            return Ok(value);
        }
        let bytes = self.bytes()?;
        parse(bytes).ok_or_else(|| self.misfit(bytes, "not a whole number from -2^63 to 2^63 - 1"))
    }

    /// The next field as anything that can be parsed.
    ///
    /// # Errors
    /// When there is none, or parsing fails.
    pub fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self) -> Result<T, FormatError> {
        let text = self.str()?;
        text.parse().map_err(|error: T::Err| self.misfit(text.as_bytes(), &error.to_string()))
    }

    /// The next field and what follows it, if it is plain and consists of few enough digits not to overflow.
    #[inline]
    fn leading_number(&self) -> Option<(u64, Fields<'a>)> {
        const SAFE_DIGITS: usize = 19;
        let Fields::Plain(Some(bytes)) = self.fields else { return None };
        let mut value = 0u64;
        let mut digits = 0;
        for &byte in bytes.iter().take(SAFE_DIGITS) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value * 10 + u64::from(digit);
            digits += 1;
        }
        let whole = digits > 0 && (digits == bytes.len() || bytes[digits] == self.delimiter);
        whole.then(|| (value, Fields::Plain(bytes.get(digits + 1..))))
    }

    /// Checks that all fields were taken.
    pub(super) fn finish(mut self) -> Result<(), FormatError> {
        if matches!(self.fields, Fields::Plain(None)) {
            return Ok(());
        }
        let taken = self.index;
        while self.next_field().is_some() {}
        if self.index == taken {
            return Ok(());
        }
        Err(FormatError(format!("{} fields, expected {taken}", self.index)))
    }

    fn too_few(&self) -> FormatError {
        FormatError(format!("{} fields, expected {}", self.index, self.columns.len().max(self.index + 1)))
    }

    fn misfit(&self, bytes: &[u8], what: &str) -> FormatError {
        let name = self.columns.get(self.index - 1).map(|name| format!(" ({name})")).unwrap_or_default();
        FormatError(format!("field {}{name} is \"{}\": {what}", self.index, bytes.escape_ascii()))
    }
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Fields freed from their quotes.
#[derive(Debug, Clone, Default)]
pub(super) struct Unquoted {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Takes a record apart as RFC 4180 says: a field that begins with a quote ends at the next single one, two quotes in it
/// are one; quotes inside other fields are ordinary bytes.
pub(super) fn unquote(record: &[u8], delimiter: u8, into: &mut Unquoted) -> Result<(), FormatError> {
    into.bytes.clear();
    into.ends.clear();
    let mut rest = record;
    loop {
        rest = match rest.strip_prefix(b"\"") {
            Some(quoted) => unquote_field(quoted, &mut into.bytes)?,
            None => {
                let end = memchr::memchr(delimiter, rest).unwrap_or(rest.len());
                into.bytes.extend_from_slice(&rest[..end]);
                &rest[end..]
            }
        };
        into.ends.push(into.bytes.len());
        match rest {
            [] => return Ok(()),
            [byte, after @ ..] if *byte == delimiter => rest = after,
            _ => return Err(FormatError(format!("field {}: text after the closing quote", into.ends.len()))),
        }
    }
}

/// Appends the field whose opening quote was taken; returns what follows its closing quote.
fn unquote_field<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], FormatError> {
    loop {
        let Some(end) = memchr::memchr(b'"', rest) else {
            return Err(FormatError::new("a quoted field is not closed"));
        };
        out.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"\"") {
            Some(after) => {
                out.push(b'"');
                rest = after;
            }
            None => return Ok(rest),
        }
    }
}
