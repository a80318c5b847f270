//! Slots and segments of list states, and how they are stored.

use weir_protocol::KeyGroup;

use crate::error::{StateError, ValueCodecError};
use crate::key::Key;
use crate::keycodec::KeyCodecError;
use crate::layers::{Encode, StateFacts};
use crate::run_buffer::LayerBuffer;
use crate::sharded::Keyed;
use crate::table::Core;
use crate::table::slots::{SAMPLED_OF_KEY, Slot};
use crate::value::{Expiry, Value, encode_value, heap_estimate};

/// Where an element stands in its list: the epoch sealed before it was pushed, and its number since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ElementKey {
    pub(super) tag: u64,
    pub(super) number: u32,
}

impl ElementKey {
    const LEN: usize = 12;

    fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.tag.to_be_bytes());
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, KeyCodecError> {
        let (tag, rest) = bytes.split_first_chunk::<8>().ok_or(KeyCodecError::Truncated("list element"))?;
        let (number, rest) = rest.split_first_chunk::<4>().ok_or(KeyCodecError::Truncated("list element"))?;
        if !rest.is_empty() {
            return Err(KeyCodecError::Trailing(rest.len()));
        }
        Ok(Self { tag: u64::from_be_bytes(*tag), number: u32::from_be_bytes(*number) })
    }

    fn plus(self, index: usize) -> Self {
        Self { number: self.number + index as u32, ..self }
    }
}

/// Names the elements of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentRef {
    pub(super) first: ElementKey,
    pub(super) count: usize,
}

impl SegmentRef {
    pub(super) fn contains(&self, element: ElementKey) -> bool {
        let numbers = u64::from(self.first.number)..u64::from(self.first.number) + self.count as u64;
        element.tag == self.first.tag && numbers.contains(&u64::from(element.number))
    }
}

/// Elements with consecutive numbers.
#[derive(Debug)]
pub(super) struct Segment<V> {
    first: ElementKey,
    pub(super) values: Vec<V>,
    /// One per value if the state has an expiry, else none.
    pub(super) expiries: Vec<Expiry>,
}

impl<V> Segment<V> {
    pub(super) fn new(first: ElementKey) -> Self {
        Self { first, values: Vec::new(), expiries: Vec::new() }
    }

    pub(super) fn reference(&self) -> SegmentRef {
        SegmentRef { first: self.first, count: self.values.len() }
    }

    fn expiry(&self, index: usize) -> Expiry {
        self.expiries.get(index).copied().unwrap_or(Expiry::NEVER)
    }

    pub(super) fn visible(&self, now: i64) -> impl Iterator<Item = &V> {
        let is_visible = move |index: usize| !self.expiry(index).is_over(now);
        self.values.iter().enumerate().filter(move |(index, _)| is_visible(*index)).map(|(_, value)| value)
    }
}

/// What one layer knows of one key's list.
#[derive(Debug)]
pub(super) struct ListSlot<K, V> {
    pub(super) key: K,
    /// No lower layer holds elements that are not removed here: the list is complete from here up.
    pub(super) alone: bool,
    pub(super) seen: bool,
    /// Elements of lower layers that are no more.
    pub(super) removed: Vec<SegmentRef>,
    pub(super) segments: Vec<Segment<V>>,
}

impl<K, V> ListSlot<K, V> {
    /// Appends an element as it was stored; elements come in order.
    pub(super) fn append_stored(
        &mut self,
        element: ElementKey,
        decoded: Result<(V, Expiry), ValueCodecError>,
        core: &Core,
    ) -> Result<(), StateError> {
        let (value, expiry) = decoded.map_err(|source| StateError::DecodeValue { state: core.name(), source })?;
        let follows = |segment: &Segment<V>| {
            let behind = segment.first.number.checked_add(segment.values.len() as u32);
            segment.first.tag == element.tag && behind == Some(element.number)
        };
        if !self.segments.last().is_some_and(follows) {
            self.segments.push(Segment::new(element));
        }
        if let Some(segment) = self.segments.last_mut() {
            // A state may have got or lost its expiry between two versions of a job.
            if expiry != Expiry::NEVER || !segment.expiries.is_empty() {
                segment.expiries.resize(segment.values.len(), Expiry::NEVER);
                segment.expiries.push(expiry);
            }
            segment.values.push(value);
        }
        Ok(())
    }
}

impl<K: Key, V> Keyed for ListSlot<K, V> {
    type Key = K;

    #[inline]
    fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key, V: Value> Slot for ListSlot<K, V> {
    fn new(key: K, alone: bool) -> Self {
        Self { key, alone, seen: false, removed: Vec::new(), segments: Vec::new() }
    }

    fn is_alone(&self) -> bool {
        self.alone
    }

    fn entries(&self) -> usize {
        self.segments.iter().map(|segment| segment.values.len()).sum()
    }

    fn sample_heap(&self) -> (usize, usize) {
        let values = self.segments.iter().flat_map(|segment| &segment.values).take(SAMPLED_OF_KEY);
        values.map(heap_estimate).fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    fn take_seen(&mut self) -> bool {
        std::mem::take(&mut self.seen)
    }

    fn handed_over(held: Option<Self>, newer: Self, resident: bool) -> Option<Self> {
        let complete = newer.alone || resident;
        let seen = held.as_ref().is_some_and(|held| held.seen);
        let mut merged = match held {
            Some(held) if !newer.alone => held,
            _ if complete => Self { seen, ..Self::new(newer.key, true) },
            _ => return None,
        };
        merged.segments.extend(newer.segments);
        (!(merged.segments.is_empty() && resident)).then_some(merged)
    }
}

impl<K: Key, V: Value> Encode for ListSlot<K, V> {
    fn encode(
        &self,
        facts: &StateFacts,
        group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError> {
        for removed in &self.removed {
            for index in 0..removed.count {
                out.delete(group, [key, &removed.first.plus(index).encode()]);
            }
        }
        for segment in &self.segments {
            for (index, value) in segment.values.iter().enumerate() {
                out.put(group, [key, &segment.first.plus(index).encode()], true, |bytes| {
                    encode_value(value, segment.expiry(index), bytes)
                })
                .map_err(|source| StateError::EncodeValue { state: facts.name.clone(), source })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_keys_sort_by_epoch_then_number() {
        let keys = [(0, 0), (0, 1), (0, 256), (1, 0), (256, 3)].map(|(tag, number)| ElementKey { tag, number });
        for pair in keys.windows(2) {
            assert!(pair[0].encode() < pair[1].encode());
        }
        assert!(keys.iter().all(|key| ElementKey::decode(&key.encode()) == Ok(*key)));
        assert_eq!(ElementKey::decode(&[0; 11]), Err(KeyCodecError::Truncated("list element")));
        assert_eq!(ElementKey::decode(&[0; 13]), Err(KeyCodecError::Trailing(1)));
    }
}
