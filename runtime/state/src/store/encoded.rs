//! Encoded changes that wait to be written or ingested: their memory is counted for as long as they are held.

use std::sync::Arc;

use crate::run_buffer::RunBuffer;
use crate::shared::{Published, Shared};

/// A run's changes in memory.
pub(super) struct Encoded {
    buffer: RunBuffer,
    counted: Published,
    shared: Arc<Shared>,
}

impl Encoded {
    pub(super) fn new(buffer: RunBuffer, shared: &Arc<Shared>) -> Self {
        let mut encoded = Self { buffer, counted: Published::default(), shared: Arc::clone(shared) };
        encoded.count();
        encoded
    }

    pub(super) fn buffer(&self) -> &RunBuffer {
        &self.buffer
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.counted.bytes()
    }

    /// Adds the changes of `newer`, whose layers are newer than all of these.
    pub(super) fn absorb(&mut self, mut newer: Self) {
        self.buffer.absorb(newer.buffer.take());
        newer.count();
        self.count();
    }

    /// Brings the entries into key order.
    pub(super) fn sort(&mut self) {
        self.buffer.sort();
    }

    fn count(&mut self) {
        self.counted.set(&self.shared.encoded_bytes, self.buffer.bytes());
    }
}

impl Drop for Encoded {
    fn drop(&mut self) {
        self.counted.set(&self.shared.encoded_bytes, 0);
    }
}
