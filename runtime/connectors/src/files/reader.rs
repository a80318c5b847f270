//! Reading one split: a file, or a range of one.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_engine::source::{ConnectorError, Position, Progress, SplitReader};

use super::error::{FileError, Place, shown};
use super::lines::{Lines, Next};
use super::position::FilePosition;
use super::{OnError, Options, count_skipped};
use crate::compression::Compression;
use crate::format::{Decode, Framing};

/// A call of `read` gives control back after this many bytes, whatever it found in them.
const READ_BYTES: u64 = 4 * 1024 * 1024;
/// Lines left out that are logged per reader.
const LOGGED_SKIPS: u32 = 5;

/// What a split names.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) path: PathBuf,
    pub(super) compression: Compression,
    /// The records that begin in this range, if not all.
    pub(super) range: Option<Range<u64>>,
}

/// Opens readers for one format.
pub(super) trait Opener<T>: Send + Sync {
    fn open(
        &self,
        file: OpenFile,
        position: Option<FilePosition>,
        options: &Options,
    ) -> Result<Box<dyn SplitReader<Item = T>>, FileError>;
}

/// The opener of a format.
pub(super) fn opener<D: Decode>(format: D) -> Arc<dyn Opener<D::Item>> {
    Arc::new(FormatOpener(format))
}

struct FormatOpener<D>(D);

impl<D: Decode> Opener<D::Item> for FormatOpener<D> {
    fn open(
        &self,
        file: OpenFile,
        position: Option<FilePosition>,
        options: &Options,
    ) -> Result<Box<dyn SplitReader<Item = D::Item>>, FileError> {
        Ok(Box::new(FileReader::open(self.0.clone(), file, position, options)?))
    }
}

struct FileReader<D> {
    decoder: D,
    options: Options,
    path: PathBuf,
    compression: Compression,
    lines: Lines,
    /// Length of the file on disk when it was first opened.
    length: u64,
    /// Records that begin here or later belong to the next range.
    end: u64,
    ranged: bool,
    logged: u32,
}

impl<D: Decode> FileReader<D> {
    fn open(
        mut decoder: D,
        file: OpenFile,
        position: Option<FilePosition>,
        options: &Options,
    ) -> Result<Self, FileError> {
        let OpenFile { path, compression, range } = file;
        let length = checked_length(&path, compression, position)?;
        let framing = if range.is_some() { Framing::Lines } else { decoder.framing() };
        let max = options.max_line_bytes;
        let lines_at = |offset, line| -> Result<Lines, FileError> {
            let left = length.saturating_sub(offset).saturating_mul(compression.usual_ratio());
            Ok(Lines::new(input(&path, compression, length, offset)?, framing, max, left, (offset, line)))
        };

        let mut lines = lines_at(0, 1)?;
        lines.skip_byte_order_mark();
        if decoder.has_header() {
            read_header(&mut decoder, &mut lines, &path, compression)?;
        }
        let start = range.as_ref().map_or(0, |range| range.start);
        match position {
            Some(position) if position.offset > lines.offset() => {
                lines = match compression {
                    Compression::None => lines_at(position.offset, position.line.unwrap_or(1))?,
                    Compression::Gzip | Compression::Zstd => {
                        let mut input = input(&path, compression, length, 0)?;
                        skip(&mut input, position.offset, &path, compression)?;
                        let place = (position.offset, position.line.unwrap_or(1));
                        Lines::new(input, framing, max, length.saturating_mul(compression.usual_ratio()), place)
                    }
                };
            }
            None if start > lines.offset() => {
                // A record that ends at `start - 1` leaves the next one to this range; one that goes on is the previous range's.
                lines = lines_at(start - 1, 1)?;
                lines.skip_line().map_err(|source| read_error(&path, compression, Place::Byte(start), source))?;
            }
            Some(_) | None => {}
        }
        Ok(Self {
            decoder,
            options: options.clone(),
            path,
            compression,
            lines,
            length,
            end: range.as_ref().map_or(u64::MAX, |range| range.end),
            ranged: range.is_some(),
            logged: 0,
        })
    }

    fn place(&self) -> Place {
        if self.ranged { Place::Byte(self.lines.offset()) } else { Place::Line(self.lines.line()) }
    }

    /// The error about the record that was found.
    #[cold]
    fn misfit(&self, reason: Option<String>) -> FileError {
        let (path, place, text) = (self.path.clone(), self.place(), shown(self.lines.record().bytes));
        match reason {
            Some(reason) => FileError::Record { path, place, reason, text },
            None => FileError::TooLong { path, place, max: self.options.max_line_bytes, text },
        }
    }

    /// Counts and logs a record that is left out.
    #[cold]
    fn skipped(&mut self, error: &FileError) {
        count_skipped(&self.options);
        if self.logged < LOGGED_SKIPS {
            self.logged += 1;
            tracing::warn!(%error, "record left out");
        }
    }
}

impl<D: Decode> SplitReader for FileReader<D> {
    type Item = D::Item;

    /// An error is returned only by a call that has delivered nothing, so that the position stays before the record it is about.
    fn read(&mut self, max: usize, out: &mut Vec<D::Item>) -> Result<Progress, ConnectorError> {
        let (full, pause) = (out.len().saturating_add(max), self.lines.offset().saturating_add(READ_BYTES));
        let before = out.len();
        while out.len() < full && self.lines.offset() < pause {
            if self.lines.offset() >= self.end {
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
                Err(source) => return Err(read_error(&self.path, self.compression, self.place(), source).into()),
            };
            match self.options.on_error {
                OnError::Fail if out.len() > before => return Ok(Progress::Ready),
                OnError::Fail => return Err(error.into()),
                OnError::Skip => {
                    self.skipped(&error);
                    match error {
                        FileError::TooLong { .. } => self.lines.skip_line().map_err(|source| {
                            ConnectorError::from(read_error(&self.path, self.compression, self.place(), source))
                        })?,
                        _ => self.lines.consume(),
                    }
                }
            }
        }
        Ok(Progress::Ready)
    }

    fn position(&self) -> Position {
        let line = (!self.ranged).then(|| self.lines.line());
        FilePosition { offset: self.lines.offset(), line, length: self.length }.to_json()
    }

    fn lag(&self) -> Option<u64> {
        let end = self.end.min(self.length);
        (self.compression == Compression::None).then(|| end.saturating_sub(self.lines.offset()))
    }
}

/// The length up to which the file is read, after comparing it with what the checkpoint says.
fn checked_length(path: &Path, compression: Compression, position: Option<FilePosition>) -> Result<u64, FileError> {
    let path = || path.to_owned();
    let now = match (std::fs::metadata(path()), position) {
        (Ok(metadata), _) => metadata.len(),
        (Err(error), Some(position)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::Gone { path: path(), offset: position.offset });
        }
        (Err(error), None) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FileError::Missing { path: path() });
        }
        (Err(source), _) => return Err(FileError::Open { path: path(), source }),
    };
    let Some(FilePosition { length: before, .. }) = position else { return Ok(now) };
    match compression {
        Compression::None if now < before => Err(FileError::Shrank { path: path(), before, now }),
        Compression::Gzip | Compression::Zstd if now != before => Err(FileError::Changed { path: path(), before, now }),
        Compression::None | Compression::Gzip | Compression::Zstd => Ok(before),
    }
}

/// The unpacked bytes of the first `length` bytes of the file; for plain files from `offset` on.
fn input(path: &Path, compression: Compression, length: u64, offset: u64) -> Result<Box<dyn Read + Send>, FileError> {
    let opened = File::open(path).and_then(|mut file| match compression {
        Compression::None => {
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(file.take(length.saturating_sub(offset))) as Box<dyn Read + Send>)
        }
        Compression::Gzip | Compression::Zstd => compression.unpack(file),
    });
    opened.map_err(|source| FileError::Open { path: path.to_owned(), source })
}

/// Reads the header from the start of the file, if the file is not empty.
fn read_header<D: Decode>(
    decoder: &mut D,
    lines: &mut Lines,
    path: &Path,
    compression: Compression,
) -> Result<(), FileError> {
    let place = Place::Line(1);
    match lines.find().map_err(|source| read_error(path, compression, place, source))? {
        Next::End => return Ok(()),
        Next::TooLong => {
            let text = shown(lines.record().bytes);
            let reason = "the header is longer than the source's max_line_bytes".to_owned();
            return Err(FileError::Record { path: path.to_owned(), place, reason, text });
        }
        Next::Record => {}
    }
    decoder.header(lines.record()).map_err(|error| FileError::Record {
        path: path.to_owned(),
        place,
        reason: error.0,
        text: shown(lines.record().bytes),
    })?;
    lines.consume();
    Ok(())
}

/// Unpacks and drops `bytes` bytes.
fn skip(input: &mut impl Read, bytes: u64, path: &Path, compression: Compression) -> Result<(), FileError> {
    let skipped = io::copy(&mut input.by_ref().take(bytes), &mut io::sink())
        .map_err(|source| read_error(path, compression, Place::Byte(bytes), source))?;
    if skipped < bytes {
        return Err(FileError::ShrankInside { path: path.to_owned(), offset: bytes, now: skipped });
    }
    Ok(())
}

/// Errors of the operating system carry its number; all others come from the unpacking.
fn read_error(path: &Path, compression: Compression, place: Place, source: io::Error) -> FileError {
    let path = path.to_owned();
    match compression {
        Compression::Gzip | Compression::Zstd if source.raw_os_error().is_none() => {
            FileError::Damaged { path, place, compression, source }
        }
        Compression::None | Compression::Gzip | Compression::Zstd => FileError::Read { path, place, source },
    }
}
