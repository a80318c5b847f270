//! Writing one subtask's epochs, and making them durable behind the stream.

use std::sync::Arc;

use weir_engine::batch::Batch;
use weir_engine::record::Record;
use weir_engine::sink::{Handle, Prepare, SinkWriter};
use weir_engine::source::ConnectorError;
use weir_protocol::CheckpointId;

use super::error::FileSinkError;
use super::handle::FileHandle;
use super::names::Author;
use super::part::Part;
use super::{Settings, directory};
use crate::lines_out::LineEncoder;

/// Records that are encoded between two looks at the buffer and at the size of the file.
const CHUNK_RECORDS: usize = 256;
/// Files of one epoch that are open at a time; beyond it the stream waits until the oldest is durable.
const MAX_OPEN_PARTS: usize = 64;

/// Writes the records of one subtask.
pub(super) struct FileWriter<T> {
    settings: Arc<Settings>,
    author: Author,
    encoder: Box<dyn LineEncoder<T>>,
    /// Number of the next hidden file.
    next_file: u64,
    /// The epoch's files; records go to the last one.
    parts: Vec<Part>,
    /// Of the parts, how many were made durable because too many were open.
    durable: usize,
}

impl<T: Record> FileWriter<T> {
    pub(super) fn new(settings: Arc<Settings>, author: Author, encoder: Box<dyn LineEncoder<T>>) -> Self {
        Self { settings, author, encoder, next_file: 0, parts: Vec::new(), durable: 0 }
    }

    /// Takes all of the records or, with an error, none: whatever touches the disk comes before the encoding, so that a
    /// chunk can be tried again when the disk has room.
    fn write_chunk(&mut self, records: &[T]) -> Result<(), FileSinkError> {
        self.roll()?;
        let Self { settings, encoder, parts, .. } = self;
        let part = parts.last_mut().expect("rolling leaves an open file");
        if part.buffer().len() >= settings.buffer_bytes {
            part.drain()?;
        }
        let first = part.records == 0;
        let before = part.buffer().len();
        encoder.encode(records, first, part.buffer()).map_err(|error| {
            part.buffer().truncate(before);
            FileSinkError::Encode { format: encoder.extension().to_owned(), reason: error.0 }
        })?;
        part.records += records.len() as u64;
        Ok(())
    }

    /// Sees to it that the last part is open and not too large.
    fn roll(&mut self) -> Result<(), FileSinkError> {
        let Self { settings, author, next_file, parts, durable, .. } = self;
        let mut buffer = Vec::new();
        if let Some(part) = parts.last_mut() {
            if part.bytes() < settings.roll_bytes {
                return Ok(());
            }
            part.drain()?;
            buffer = part.take_buffer();
        }
        if parts.len() - *durable >= MAX_OPEN_PARTS {
            parts[*durable].make_durable()?;
            *durable += 1;
        }
        let mut part = Part::create(&settings.directory, author, next_file, settings.compression)?;
        part.give_buffer(buffer);
        parts.push(part);
        Ok(())
    }
}

impl<T: Record> SinkWriter for FileWriter<T> {
    type Item = T;

    /// After an error the batch holds what was not taken.
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        let mut taken = 0;
        while taken < batch.len() {
            let chunk = &batch.records[taken..batch.len().min(taken + CHUNK_RECORDS)];
            if let Err(error) = self.write_chunk(chunk) {
                batch.records.drain(..taken);
                batch.times.drain(..taken.min(batch.times.len()));
                return Err(error.into());
            }
            taken += chunk.len();
        }
        batch.clear();
        Ok(())
    }

    fn freeze(&mut self, epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        self.durable = 0;
        let parts = std::mem::take(&mut self.parts);
        if parts.is_empty() {
            return Ok(None);
        }
        let extension = format!("{}{}", self.encoder.extension(), self.settings.compression.suffix());
        let frozen = FrozenEpoch {
            settings: Arc::clone(&self.settings),
            author: self.author.clone(),
            epoch,
            extension,
            parts,
            prepared: None,
        };
        Ok(Some(Box::new(frozen)))
    }
}

/// An epoch's files after its barrier.
struct FrozenEpoch {
    settings: Arc<Settings>,
    author: Author,
    epoch: CheckpointId,
    extension: String,
    parts: Vec<Part>,
    prepared: Option<Vec<Handle>>,
}

impl FrozenEpoch {
    fn make_durable(&mut self) -> Result<Vec<Handle>, FileSinkError> {
        let mut handles = Vec::with_capacity(self.parts.len());
        for (index, part) in self.parts.iter_mut().enumerate() {
            let content = part.make_durable()?;
            let target = self.author.target(self.epoch, index, &self.extension);
            let names = (part.hidden.clone(), target);
            let handle =
                FileHandle::new(&self.settings.directory, names, (content.bytes, content.crc32c, part.records))?;
            handles.push(handle.to_json());
        }
        directory::sync(&self.settings.directory)?;
        Ok(handles)
    }
}

impl Prepare for FrozenEpoch {
    fn prepare(&mut self) -> Result<Vec<Handle>, ConnectorError> {
        if let Some(handles) = &self.prepared {
            return Ok(handles.clone());
        }
        let handles = self.make_durable()?;
        self.parts.clear();
        self.prepared = Some(handles.clone());
        Ok(handles)
    }
}
