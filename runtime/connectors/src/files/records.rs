//! The records of one open file, or of a range of one.

use std::sync::atomic::Ordering;

use weir_engine::source::{ConnectorError, Progress};

use super::error::{FileError, Place, shown};
use super::input::{input, read_error};
use super::lines::{Lines, Next};
use super::position::FilePosition;
use super::reader::Part;
use super::{OnError, Options};
use crate::compression::Compression;
use crate::format::{Decode, Framing};

/// A call of `read` gives control back after this many bytes, whatever it found in them.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// Lines left out that are logged per file.
const LOGGED_SKIPS: u32 = 5;

pub(super) struct Records<D> {
    decoder: D,
    options: Options,
    part: Part,
    lines: Lines,
    logged: u32,
}

impl<D: Decode> Records<D> {
    /// Opens the file at `position`, which may be its start.
    pub(super) fn open(
        mut decoder: D,
        part: Part,
        position: FilePosition,
        options: &Options,
    ) -> Result<Self, FileError> {
        let FilePosition { offset, line, length } = position;
        let Part { path, compression, range } = &part;
        let framing = if range.is_some() { Framing::Lines } else { decoder.framing() };
        let lines_at = |offset: u64, line| -> Result<Lines, FileError> {
            let left = length.saturating_mul(compression.usual_ratio()).saturating_sub(offset);
            let input = input(path, *compression, length, offset)?;
            Ok(Lines::new(input, framing, options.max_line_bytes, left, (offset, line)))
        };
        let mut lines = lines_at(0, 1)?;
        lines.skip_byte_order_mark();
        if decoder.has_header() {
            read_header(&mut decoder, &mut lines, &part)?;
        }
        let start = part.start();
        if offset > lines.offset() && offset > start {
            lines = lines_at(offset, line.unwrap_or(1))?;
        } else if start > lines.offset() {
            // A record that ends at `start - 1` leaves the next one to this range; one that goes on is the previous range's.
            lines = lines_at(start - 1, 1)?;
            lines.skip_line().map_err(|source| read_error(path, *compression, Place::Byte(start), source))?;
        }
        Ok(Self { decoder, options: options.clone(), part, lines, logged: 0 })
    }

    /// Where the next record is: its offset and, outside of ranges, its line.
    pub(super) fn next_record(&self) -> (u64, Option<u64>) {
        (self.lines.offset(), self.part.range.is_none().then(|| self.lines.line()))
    }

    /// An error is returned only by a call that has delivered nothing, so that the position stays before the record it is about.
    pub(super) fn read(&mut self, max: usize, out: &mut Vec<D::Item>) -> Result<Progress, ConnectorError> {
        let (full, pause) = (out.len().saturating_add(max), self.lines.offset().saturating_add(READ_BYTES));
        let end = self.part.end();
        let before = out.len();
        while out.len() < full && self.lines.offset() < pause {
            if self.lines.offset() >= end {
                return Ok(Progress::End);
            }
            let error = match self.lines.find() {
                Ok(Next::Record) => match self.decoder.decode(self.lines.record()) {
                    Ok(item) => {
                        out.extend(item);
                        self.lines.consume();
                        continue;
                    }
                    Err(error) => self.misfit(Some(error.0)),
                },
                Ok(Next::TooLong) => self.misfit(None),
                Ok(Next::End) => return Ok(Progress::End),
                Err(error) if out.len() > before => {
                    self.lines.postpone(error);
                    return Ok(Progress::Ready);
                }
                Err(source) => return Err(self.unreadable(source).into()),
            };
            match self.options.on_error {
                OnError::Fail if out.len() > before => return Ok(Progress::Ready),
                OnError::Fail => return Err(error.into()),
                OnError::Skip => self.leave_out(&error)?,
            }
        }
        Ok(Progress::Ready)
    }

    fn place(&self) -> Place {
        match self.next_record() {
            (_, Some(line)) => Place::Line(line),
            (offset, None) => Place::Byte(offset),
        }
    }

    fn unreadable(&self, source: std::io::Error) -> FileError {
        read_error(&self.part.path, self.part.compression, self.place(), source)
    }

    /// The error about the record that was found.
    #[cold]
    fn misfit(&self, reason: Option<String>) -> FileError {
        let (path, place, text) = (self.part.path.clone(), self.place(), shown(self.lines.record().bytes));
        match reason {
            Some(reason) => FileError::Record { path, place, reason, text },
            None => FileError::TooLong { path, place, max: self.options.max_line_bytes, text },
        }
    }

    /// Counts, logs and goes past a record that is left out.
    #[cold]
    fn leave_out(&mut self, error: &FileError) -> Result<(), FileError> {
        self.options.skipped.fetch_add(1, Ordering::Relaxed);
        if self.logged < LOGGED_SKIPS {
            self.logged += 1;
            tracing::warn!(%error, "record left out");
        }
        if let FileError::TooLong { .. } = error {
            return self.lines.skip_line().map_err(|source| self.unreadable(source));
        }
        self.lines.consume();
        Ok(())
    }
}

/// Reads the header from the start of the file, if the file is not empty.
fn read_header<D: Decode>(decoder: &mut D, lines: &mut Lines, part: &Part) -> Result<(), FileError> {
    let place = Place::Line(1);
    let Part { path, compression, .. } = part;
    let misfit = |reason: String, lines: &Lines| {
        let text = shown(lines.record().bytes);
        FileError::Record { path: path.clone(), place, reason, text }
    };
    match lines.find().map_err(|source| read_error(path, *compression, place, source))? {
        Next::End => Ok(()),
        Next::TooLong => Err(misfit("the header is longer than the source's max_line_bytes".to_owned(), lines)),
        Next::Record => {
            decoder.header(lines.record()).map_err(|error| misfit(error.0, lines))?;
            lines.consume();
            Ok(())
        }
    }
}

/// Checks the file's header without reading further.
pub(super) fn check_header<D: Decode>(mut decoder: D, part: &Part, length: u64, max: usize) -> Result<(), FileError> {
    if !decoder.has_header() {
        return Ok(());
    }
    let input = input(&part.path, part.compression, length, 0)?;
    let length = if part.compression == Compression::None { length.min(HEADER_BYTES) } else { HEADER_BYTES };
    let mut lines = Lines::new(input, decoder.framing(), max, length, (0, 1));
    lines.skip_byte_order_mark();
    read_header(&mut decoder, &mut lines, part)
}

/// First read when only the header is wanted.
const HEADER_BYTES: u64 = 4 * 1024;
