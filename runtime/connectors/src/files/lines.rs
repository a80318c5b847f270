//! Records as slices of a buffer: the next one is found, looked at as often as needed, and then consumed.

use std::io::{self, Read};

use crate::format::{Framing, RawRecord, end_of_csv_record};

/// Bytes that a reader asks for at a time, and its buffer unless a record is longer.
const BLOCK_BYTES: usize = 256 * 1024;
/// The smallest buffer: many small files may be open at once.
const MIN_BLOCK_BYTES: u64 = 4 * 1024;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Finds records in a stream of bytes.
pub(super) struct Lines {
    input: Box<dyn Read + Send>,
    framing: Framing,
    max_bytes: usize,
    buffer: Vec<u8>,
    /// Unread bytes are `buffer[start..filled]`.
    start: usize,
    filled: usize,
    ended: bool,
    /// What `input` answered after the bytes in the buffer.
    failed: Option<io::Error>,
    /// Offset of `start` in the stream, and its line counted from 1.
    offset: u64,
    line: u64,
    found: Extent,
}

/// The record that was found last, relative to `start`.
#[derive(Clone, Copy, Default)]
struct Extent {
    /// Without its line end.
    bytes: usize,
    /// With its line end.
    whole: usize,
    lines: u64,
    quoted: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A record: [`Lines::record`].
    Record,
    /// A record longer than allowed; [`Lines::record`] has its beginning, and only [`Lines::skip_line`] leads past it.
    TooLong,
    /// Nothing.
    End,
}

impl Lines {
    /// The records of `input`, which stands at `offset` and `line` of the stream and has about `length` bytes more.
    pub(super) fn new(
        input: Box<dyn Read + Send>,
        framing: Framing,
        max_bytes: usize,
        length: u64,
        (offset, line): (u64, u64),
    ) -> Self {
        let block = usize::try_from(length.max(MIN_BLOCK_BYTES)).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        Self {
            input,
            framing,
            max_bytes,
            buffer: vec![0; block],
            start: 0,
            filled: 0,
            ended: false,
            failed: None,
            offset,
            line,
            found: Extent::default(),
        }
    }

    /// Offset of the next record in the stream.
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Line of the next record, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Leaves out a byte order mark; only at the stream's start.
    pub(super) fn skip_byte_order_mark(&mut self) {
        self.fill();
        if self.buffer[self.start..self.filled].starts_with(BYTE_ORDER_MARK) {
            self.start += BYTE_ORDER_MARK.len();
            self.offset += BYTE_ORDER_MARK.len() as u64;
        }
    }

    /// Finds the next record. Finding it again without consuming it gives the same one.
    ///
    /// # Errors
    /// When the input fails and all records before its failure are consumed.
    #[inline]
    pub(super) fn find(&mut self) -> io::Result<Next> {
        if let Some(extent) = self.find_in_buffer() {
            self.found = extent;
            return Ok(if extent.bytes > self.max_bytes { Next::TooLong } else { Next::Record });
        }
        self.find_after_filling()
    }

    /// The record that was found.
    #[inline]
    pub(super) fn record(&self) -> RawRecord<'_> {
        let bytes = &self.buffer[self.start..self.start + self.found.bytes];
        RawRecord { bytes, quoted: self.found.quoted }
    }

    /// Goes past the record that was found.
    #[inline]
    pub(super) fn consume(&mut self) {
        self.start += self.found.whole;
        self.offset += self.found.whole as u64;
        self.line += self.found.lines;
        self.found = Extent::default();
    }

    /// Goes past the next line end, however far away.
    ///
    /// # Errors
    /// When the input fails before.
    pub(super) fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let unread = &self.buffer[self.start..self.filled];
            let end = memchr::memchr(b'\n', unread);
            let bytes = end.map_or(unread.len(), |end| end + 1);
            self.start += bytes;
            self.offset += bytes as u64;
            self.found = Extent::default();
            if end.is_some() || (self.ended && bytes == 0) {
                self.line += 1;
                return Ok(());
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            self.fill();
        }
    }

    /// Has [`Lines::find`] return this error again.
    pub(super) fn postpone(&mut self, error: io::Error) {
        self.failed = Some(error);
    }

    /// The failure after the bytes in the buffer. One of the operating system may pass; one of unpacking repeats, because
    /// what a decoder answers afterwards means nothing.
    fn failure(&mut self) -> Option<io::Error> {
        let error = self.failed.take()?;
        if error.raw_os_error().is_none() {
            self.failed = Some(io::Error::new(error.kind(), error.to_string()));
        }
        Some(error)
    }

    #[inline]
    fn find_in_buffer(&self) -> Option<Extent> {
        let unread = &self.buffer[self.start..self.filled];
        let end = memchr::memchr(b'\n', unread)?;
        match self.framing {
            Framing::Lines => Some(extent(unread, end, 1, true)),
            Framing::Csv { .. } if memchr::memchr(b'"', &unread[..end]).is_none() => {
                Some(extent(unread, end, 1, false))
            }
            Framing::Csv { delimiter } => {
                let end = end_of_csv_record(unread, delimiter)?;
                let lines = 1 + memchr::memchr_iter(b'\n', &unread[..end]).count() as u64;
                Some(extent(unread, end, lines, true))
            }
        }
    }

    #[cold]
    fn find_after_filling(&mut self) -> io::Result<Next> {
        loop {
            let unread = self.filled - self.start;
            if unread > self.max_bytes {
                self.found = Extent { bytes: unread, whole: unread, lines: 0, quoted: true };
                return Ok(Next::TooLong);
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if self.ended && unread == 0 {
                return Ok(Next::End);
            }
            if self.ended {
                let lines = 1 + memchr::memchr_iter(b'\n', &self.buffer[self.start..self.filled]).count() as u64;
                self.found = Extent { bytes: unread, whole: unread, lines, quoted: true };
                return Ok(Next::Record);
            }
            self.fill();
            if let Some(extent) = self.find_in_buffer() {
                self.found = extent;
                return Ok(if extent.bytes > self.max_bytes { Next::TooLong } else { Next::Record });
            }
        }
    }

    /// Reads until the buffer is full or the input has no more; a buffer that is full of one record grows.
    fn fill(&mut self) {
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.start = 0;
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        while self.filled < self.buffer.len() && !self.ended && self.failed.is_none() {
            match self.input.read(&mut self.buffer[self.filled..]) {
                Ok(0) => self.ended = true,
                Ok(bytes) => self.filled += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

/// The record that ends before the line end at `end`, freed from a carriage return.
#[inline]
fn extent(unread: &[u8], end: usize, lines: u64, quoted: bool) -> Extent {
    let bytes = if end > 0 && unread[end - 1] == b'\r' { end - 1 } else { end };
    Extent { bytes, whole: end + 1, lines, quoted }
}
