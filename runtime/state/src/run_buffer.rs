//! Collects the encoded changes of sealed layers and gives them out in key order.
//!
//! Entries are partitioned by key group and state while they come in (hash tables have no order), so that sorting works on
//! small pieces that fit the cache: first by the key's leading eight bytes, which settles integer keys, then by the rest where those
//! are equal. Of several changes of one key the newest layer's wins.

use std::collections::BTreeMap;

use weir_protocol::{KeyGroup, MaxParallelism, StateId};

use crate::error::StateError;

/// Length of a stored key's head: key group and state id.
pub(crate) const HEAD: usize = 4;
const TOMBSTONE: u32 = u32::MAX;
/// Records in an arena begin at multiples of this, so that 32-bit positions reach 16 GiB.
const ALIGN: usize = 4;

/// The head of every stored key.
#[inline]
pub(crate) fn key_head(group: KeyGroup, state: StateId) -> [u8; HEAD] {
    let ([a, b], [c, d]) = (group.0.to_be_bytes(), state.0.to_be_bytes());
    [a, b, c, d]
}

/// The key group and state of a stored key, and what follows.
pub(crate) fn split_head(key: &[u8]) -> Option<(KeyGroup, StateId, &[u8])> {
    let (&[a, b, c, d], rest) = key.split_first_chunk::<HEAD>()?;
    Some((KeyGroup(u16::from_be_bytes([a, b])), StateId(u16::from_be_bytes([c, d])), rest))
}

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    prefix: u64,
    position: u32,
    /// Number of the layer the entry came from; higher is newer.
    layer: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    bytes: Vec<u8>,
    index: Vec<IndexEntry>,
}

/// Encoded changes on their way into a run.
#[derive(Debug)]
pub(crate) struct RunBuffer {
    max: MaxParallelism,
    /// Per state one bucket per key group; the last one is the broadcast group's.
    states: BTreeMap<StateId, Vec<Bucket>>,
    layer: u32,
    /// Estimate of how much the live state grows by these changes, in bytes.
    growth: i64,
}

/// Takes the entries of one layer.
pub(crate) struct LayerBuffer<'a> {
    state: StateId,
    max: MaxParallelism,
    layer: u32,
    buckets: &'a mut Vec<Bucket>,
    growth: &'a mut i64,
}

impl RunBuffer {
    pub(crate) fn new(max: MaxParallelism) -> Self {
        Self { max, states: BTreeMap::new(), layer: 0, growth: 0 }
    }

    /// What it holds, and nothing is left.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.max))
    }

    /// Begins a layer; it is newer than all before.
    pub(crate) fn layer(&mut self, state: StateId, entries: usize) -> LayerBuffer<'_> {
        let groups = self.max.get() as usize;
        self.layer += 1;
        let buckets = self.states.entry(state).or_default();
        if buckets.is_empty() {
            let expected = entries / groups;
            buckets.resize_with(groups + 1, Bucket::default);
            buckets.iter_mut().take(groups).for_each(|bucket| bucket.index.reserve(expected));
        }
        LayerBuffer { state, max: self.max, layer: self.layer, buckets, growth: &mut self.growth }
    }

    /// Bytes held, for the memory budget.
    pub(crate) fn bytes(&self) -> usize {
        let of = |bucket: &Bucket| bucket.bytes.capacity() + bucket.index.capacity() * size_of::<IndexEntry>();
        self.states.values().flatten().map(of).sum()
    }

    /// Estimate of how much the live state grows by these changes, in bytes.
    pub(crate) fn growth(&self) -> i64 {
        self.growth
    }

    /// Adds the changes of `newer`, whose layers are newer than all of this buffer's.
    pub(crate) fn absorb(&mut self, newer: Self) {
        debug_assert_eq!(self.max, newer.max, "buffers of one job");
        for (state, buckets) in newer.states {
            let own = self.states.entry(state).or_default();
            own.resize_with(buckets.len(), Bucket::default);
            own.iter_mut().zip(buckets).for_each(|(own, newer)| own.absorb(newer, self.layer));
        }
        self.layer += newer.layer;
        self.growth += newer.growth;
    }

    /// Brings the entries into key order; must be called before [`Self::emit`].
    pub(crate) fn sort(&mut self) {
        self.states.values_mut().flatten().for_each(Bucket::sort);
    }

    /// Gives every key once, in ascending order, with its newest value; `None` is a tombstone.
    pub(crate) fn emit(
        &self,
        mut emit: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        for at in 0..=self.max.get() as usize {
            for buckets in self.states.values() {
                buckets[at].emit(&mut emit)?;
            }
        }
        Ok(())
    }
}

impl LayerBuffer<'_> {
    /// Adds a value. `value` appends its stored form; `added` says that the key was absent before.
    #[inline]
    pub(crate) fn put<E>(
        &mut self,
        group: KeyGroup,
        key: [&[u8]; 2],
        added: bool,
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.begin(group, key);
        let at = self.bucket(group);
        let bucket = &mut self.buckets[at];
        let before = bucket.bytes.len();
        value(&mut bucket.bytes)?;
        let length = (bucket.bytes.len() - before) as u32;
        if added {
            *self.growth += (bucket.bytes.len() - start) as i64;
        }
        bucket.bytes[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    /// Adds a tombstone.
    #[inline]
    pub(crate) fn delete(&mut self, group: KeyGroup, key: [&[u8]; 2]) {
        self.begin(group, key);
        // The removed value's size is unknown here; the key's stands for it.
        *self.growth -= (2 * (HEAD + key[0].len() + key[1].len())) as i64;
    }

    #[inline]
    fn bucket(&self, group: KeyGroup) -> usize {
        (u32::from(group.0)).min(self.max.get()) as usize
    }

    /// Writes a record's lengths and key; the value length says tombstone until a value is written.
    #[inline]
    fn begin(&mut self, group: KeyGroup, key: [&[u8]; 2]) -> usize {
        let at = self.bucket(group);
        let bucket = &mut self.buckets[at];
        let padding = bucket.bytes.len().next_multiple_of(ALIGN) - bucket.bytes.len();
        bucket.bytes.extend_from_slice(&[0; ALIGN][..padding]);
        let start = bucket.bytes.len();
        let length = (HEAD + key[0].len() + key[1].len()) as u32;
        bucket.bytes.extend_from_slice(&length.to_le_bytes());
        bucket.bytes.extend_from_slice(&TOMBSTONE.to_le_bytes());
        bucket.bytes.extend_from_slice(&key_head(group, self.state));
        bucket.bytes.extend_from_slice(key[0]);
        bucket.bytes.extend_from_slice(key[1]);
        let mut prefix = [0; 8];
        let content = &bucket.bytes[start + 8 + HEAD..];
        if let Some(head) = content.first_chunk::<8>() {
            prefix = *head;
        } else {
            prefix[..content.len()].copy_from_slice(content);
        }
        let position = u32::try_from(start / ALIGN).expect("spilling keeps a key group's changes below 16 GiB");
        bucket.index.push(IndexEntry { prefix: u64::from_be_bytes(prefix), position, layer: self.layer });
        start
    }
}

impl Bucket {
    #[inline]
    fn record(&self, entry: &IndexEntry) -> (&[u8], Option<&[u8]>) {
        let start = entry.position as usize * ALIGN;
        let word = |at: usize| {
            let bytes = self.bytes[at..].first_chunk::<4>().expect("a record begins with two lengths");
            u32::from_le_bytes(*bytes)
        };
        let (key_len, value_len) = (word(start) as usize, word(start + 4));
        let (key, rest) = self.bytes[start + 8..].split_at(key_len);
        (key, (value_len != TOMBSTONE).then(|| &rest[..value_len as usize]))
    }

    fn absorb(&mut self, newer: Self, layers: u32) {
        if self.index.is_empty() {
            *self = Self { index: Vec::new(), ..newer };
            self.index = newer.index;
            self.index.iter_mut().for_each(|entry| entry.layer += layers);
            return;
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        let shift = u32::try_from(self.bytes.len() / ALIGN).expect("absorbed buffers are small");
        self.bytes.extend_from_slice(&newer.bytes);
        self.index.extend(newer.index.iter().map(|entry| IndexEntry {
            position: entry.position + shift,
            layer: entry.layer + layers,
            ..*entry
        }));
    }

    fn sort(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        index.sort_unstable_by_key(|entry| entry.prefix);
        let mut rest = index.as_mut_slice();
        while let [first, ..] = rest {
            let prefix = first.prefix;
            let equal = rest.iter().take_while(|entry| entry.prefix == prefix).count();
            let (tie, behind) = rest.split_at_mut(equal);
            rest = behind;
            if tie.len() > 1 {
                tie.sort_unstable_by(|a, b| self.record(a).0.cmp(self.record(b).0).then(b.layer.cmp(&a.layer)));
            }
        }
        self.index = index;
    }

    fn emit(&self, emit: &mut impl FnMut(&[u8], Option<&[u8]>) -> Result<(), StateError>) -> Result<(), StateError> {
        let mut last: Option<(u64, &[u8])> = None;
        for entry in &self.index {
            let (key, value) = self.record(entry);
            if last.is_some_and(|(prefix, last)| prefix == entry.prefix && last == key) {
                continue;
            }
            last = Some((entry.prefix, key));
            emit(key, value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    fn emitted(buffer: &mut RunBuffer) -> Entries {
        let mut out = Vec::new();
        buffer.sort();
        buffer
            .emit(|key, value| {
                out.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        out
    }

    proptest! {
        #[test]
        fn what_comes_out_is_sorted_and_newest(
            layers in proptest::collection::vec(
                proptest::collection::vec((0u16..5, 0u16..3, proptest::collection::vec(0u8..3, 0..12), proptest::option::of(0u8..9)), 0..40),
                0..4,
            ),
            absorbed in 0usize..4,
        ) {
            let mut absorbing = RunBuffer::new(MaxParallelism::new(4).unwrap());
            let mut buffer = RunBuffer::new(MaxParallelism::new(4).unwrap());
            let mut model: BTreeMap<Vec<u8>, Option<Vec<u8>>> = BTreeMap::new();
            for (at, entries) in layers.iter().enumerate() {
                if at == absorbed {
                    absorbing.absorb(std::mem::replace(&mut buffer, RunBuffer::new(MaxParallelism::new(4).unwrap())));
                }
                for state in 0..3u16 {
                    let mut layer = buffer.layer(StateId(state), entries.len());
                    let mut seen = std::collections::BTreeSet::new();
                    for (group, of, key, value) in entries.iter().filter(|entry| entry.1 == state) {
                        let group = if *group == 4 { KeyGroup::BROADCAST } else { KeyGroup(*group) };
                        if !seen.insert((group, key)) {
                            continue;
                        }
                        match value {
                            Some(value) => layer.put(group, [&key[..key.len() / 2], &key[key.len() / 2..]], false, |out| { out.push(*value); Ok::<_, ()>(()) }).unwrap(),
                            None => layer.delete(group, [key, b""]),
                        }
                        let full = [&key_head(group, StateId(*of))[..], key].concat();
                        model.insert(full, value.map(|value| vec![value]));
                    }
                }
            }
            absorbing.absorb(buffer);
            let mut buffer = absorbing;
            prop_assert_eq!(emitted(&mut buffer), model.into_iter().collect::<Entries>());
        }
    }
}
