//! The misses of a batch, fetched together: stored keys side by side, sorted, one `multi_get`.

use crate::error::StateError;
use crate::past::Past;

/// Stored keys with something to remember about each.
#[derive(Debug)]
pub(crate) struct Misses<T> {
    bytes: Vec<u8>,
    entries: Vec<Miss<T>>,
}

#[derive(Debug)]
struct Miss<T> {
    start: usize,
    end: usize,
    note: T,
}

impl<T> Default for Misses<T> {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: Vec::new() }
    }
}

impl<T> Misses<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn push(&mut self, key: &[u8], note: T) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.entries.push(Miss { start, end: self.bytes.len(), note });
    }

    /// Sorts the keys and drops repeated ones.
    pub(crate) fn arrange(&mut self) {
        let Self { bytes, entries } = self;
        entries.sort_unstable_by(|a, b| bytes[a.start..a.end].cmp(&bytes[b.start..b.end]));
        entries.dedup_by(|b, a| bytes[a.start..a.end] == bytes[b.start..b.end]);
    }

    /// Reads all keys from `past`; the keys must be arranged.
    pub(crate) fn fetch(
        &self,
        past: &dyn Past,
        mut found: impl FnMut(usize, &[u8]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let keys: Vec<&[u8]> = self.entries.iter().map(|miss| &self.bytes[miss.start..miss.end]).collect();
        past.multi_get(&keys, &mut found)
    }

    /// The notes in key order.
    pub(crate) fn notes(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|miss| &miss.note)
    }

    /// Takes the notes in key order; their index is the one `fetch` reported.
    pub(crate) fn take_notes(&mut self) -> impl Iterator<Item = T> {
        self.bytes.clear();
        self.entries.drain(..).map(|miss| miss.note)
    }
}
