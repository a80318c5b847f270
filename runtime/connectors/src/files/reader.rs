//! The reader of one split. Its file is opened at the first read, and only when few enough files of the source are open:
//! a directory may have more files than a process may open, and each open one takes a buffer.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir_engine::source::{ConnectorError, Position, Progress, SplitReader};

use super::Options;
use super::error::FileError;
use super::input::checked_length;
use super::position::FilePosition;
use super::records::{Records, check_header};
use crate::compression::Compression;
use crate::format::Decode;

/// How long a reader waits for another one's file to be closed before it asks again.
const OPEN_RETRY: Duration = Duration::from_millis(20);

/// What a split names.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) compression: Compression,
    /// The records that begin in this range, if not all.
    pub(super) range: Option<Range<u64>>,
}

impl Part {
    pub(super) fn start(&self) -> u64 {
        self.range.as_ref().map_or(0, |range| range.start)
    }

    /// Records that begin here or later belong to the next range.
    pub(super) fn end(&self) -> u64 {
        self.range.as_ref().map_or(u64::MAX, |range| range.end)
    }
}

/// Makes readers for one format.
pub(super) trait Opener<T>: Send + Sync {
    fn open(
        &self,
        part: Part,
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
        part: Part,
        position: Option<FilePosition>,
        options: &Options,
    ) -> Result<Box<dyn SplitReader<Item = D::Item>>, FileError> {
        let length = checked_length(&part.path, part.compression, position)?;
        check_header(self.0.clone(), &part, length, options.max_line_bytes)?;
        let line = part.range.is_none().then_some(1);
        let position = position.unwrap_or(FilePosition { offset: part.start(), line, length });
        Ok(Box::new(FileReader {
            format: self.0.clone(),
            options: options.clone(),
            part,
            opened_at: position,
            open: None,
        }))
    }
}

struct FileReader<D> {
    format: D,
    options: Options,
    part: Part,
    opened_at: FilePosition,
    open: Option<(Records<D>, Permit)>,
}

impl<D: Decode> SplitReader for FileReader<D> {
    type Item = D::Item;

    fn read(&mut self, max: usize, out: &mut Vec<D::Item>) -> Result<Progress, ConnectorError> {
        let (records, _) = match &mut self.open {
            Some(open) => open,
            None => {
                let Some(permit) = self.options.open_files.permit() else { return Ok(Progress::WaitFor(OPEN_RETRY)) };
                let records = Records::open(self.format.clone(), self.part.clone(), self.opened_at, &self.options)?;
                self.open.insert((records, permit))
            }
        };
        records.read(max, out)
    }

    fn position(&self) -> Position {
        let Some((records, _)) = &self.open else { return self.opened_at.to_json() };
        let (offset, line) = records.next_record();
        FilePosition { offset, line, length: self.opened_at.length }.to_json()
    }

    fn lag(&self) -> Option<u64> {
        let offset = self.open.as_ref().map_or(self.opened_at.offset, |(records, _)| records.next_record().0);
        let end = self.part.end().min(self.opened_at.length);
        (self.part.compression == Compression::None).then(|| end.saturating_sub(offset))
    }
}

/// How many files of a source may be open at a time.
#[derive(Debug, Clone)]
pub(super) struct OpenFiles {
    pub(super) most: usize,
    now: Arc<AtomicUsize>,
}

impl OpenFiles {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), now: Arc::default() }
    }

    /// The right to open one more file, until it is dropped.
    fn permit(&self) -> Option<Permit> {
        let more = |now| (now < self.most).then_some(now + 1);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(Arc::clone(&self.now)))
    }
}

struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
