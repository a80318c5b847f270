//! One hidden file on its way: written, closed, made durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::error::FileSinkError;
use super::names::Author;
use super::packer::Packer;
use crate::compression::Compression;

/// A hidden file with the encoded bytes that are not yet in it.
pub(super) struct Part {
    path: PathBuf,
    pub(super) hidden: String,
    pub(super) records: u64,
    /// Encoded bytes; those before `drained` are in the packer.
    pending: Vec<u8>,
    drained: usize,
    state: State,
}

enum State {
    Open(Packer<File>),
    Durable(Content),
    /// The file could not be made durable, and what it holds is unknown.
    Lost,
}

/// What is in a durable file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

impl Part {
    /// Creates the author's next hidden file; `number` is advanced past it. A name that exists is never written again.
    pub(super) fn create(
        directory: &Path,
        author: &Author,
        number: &mut u64,
        compression: Compression,
    ) -> Result<Self, FileSinkError> {
        loop {
            let hidden = author.hidden(*number);
            *number += 1;
            let path = directory.join(&hidden);
            let packer = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .and_then(|file| Packer::new(compression, file));
            return match packer {
                Ok(packer) => {
                    Ok(Self { path, hidden, records: 0, pending: Vec::new(), drained: 0, state: State::Open(packer) })
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(source) => Err(FileSinkError::Create { path, source }),
            };
        }
    }

    /// Where records are encoded to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Bytes on disk, with plain files also those on their way.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            State::Open(packer @ Packer::Plain(_)) => packer.counted().bytes + self.pending.len() as u64,
            State::Open(packer) => packer.counted().bytes,
            State::Durable(content) => content.bytes,
            State::Lost => 0,
        }
    }

    /// Writes the buffer. After an error it may be called again and goes on where it stopped.
    pub(super) fn drain(&mut self) -> Result<(), FileSinkError> {
        let State::Open(packer) = &mut self.state else { return Ok(()) };
        let failed = |source| FileSinkError::Write { path: self.path.clone(), source };
        while self.drained < self.pending.len() {
            match packer.write(&self.pending[self.drained..]) {
                Ok(0) => return Err(failed(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => self.drained += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        self.pending.clear();
        self.drained = 0;
        Ok(())
    }

    /// Takes the buffer's memory away, for the next part.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        debug_assert!(self.pending.is_empty());
        std::mem::take(&mut self.pending)
    }

    /// Gives the part an empty buffer that has memory already.
    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.pending.is_empty() && buffer.is_empty());
        self.pending = buffer;
    }

    /// Writes what is left and makes the file durable, but not yet its name. A failure to write may be tried again, a
    /// failure to make it durable is final.
    pub(super) fn make_durable(&mut self) -> Result<Content, FileSinkError> {
        self.drain()?;
        match &mut self.state {
            State::Durable(content) => Ok(*content),
            State::Lost => Err(FileSinkError::Lost { path: self.path.clone() }),
            State::Open(packer) => {
                packer.finish().map_err(|source| FileSinkError::Write { path: self.path.clone(), source })?;
                let counted = packer.counted();
                let content = Content { bytes: counted.bytes, crc32c: counted.crc32c };
                let synced = counted.inner.sync_all();
                self.state = if synced.is_ok() { State::Durable(content) } else { State::Lost };
                synced.map_err(|source| FileSinkError::Sync { path: self.path.clone(), source })?;
                Ok(content)
            }
        }
    }
}
