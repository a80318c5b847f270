//! List states: a list of elements per key, appended to without reading.
//!
//! Elements are stored one by one under the tag of their epoch and their number in it, so that they sort in the order they were
//! pushed and keep it across rescaling. In memory they stand in segments of consecutive numbers; a layer adds at most one segment to
//! a list. The tag is the last sealed epoch, because the open one has no name yet.

mod segment;

use std::any::Any;
use std::ops::ControlFlow;

use weir_protocol::{CheckpointId, key_hash};

use super::{Core, EVICTION_SLICES, HeapMeter, SLICE, Table, Usage};
use crate::error::StateError;
use crate::key::{Key, hash_again};
use crate::keycodec;
use crate::layers::{Fifo, HandOver, SealedPart};
use crate::past::{Direction, Past, prefix_end};
use crate::run_buffer::HEAD;
use crate::sharded::{Cursor, Sharded, mix};
use crate::value::{Value, decode_value, heap_estimate};
use segment::{ElementKey, ListSlot, Segment, SegmentRef};

/// A list of elements per key, of one state and subtask.
#[derive(Debug)]
pub struct ListTable<K: Key, V: Value> {
    core: Core,
    dirty: Sharded<ListSlot<K, V>>,
    dirty_elements: usize,
    sealed: Fifo<ListSlot<K, V>>,
    clean: Sharded<ListSlot<K, V>>,
    clean_elements: usize,
    evictor: Cursor,
    heap: HeapMeter,
    /// Epoch part of the keys of new elements.
    tag: u64,
    /// Number of the first element a list gets in this layer: above all numbers of earlier layers of the same tag.
    first: u32,
    /// Above all numbers given out in this layer.
    next: u32,
}

impl<K: Key, V: Value> ListTable<K, V> {
    pub(crate) fn new(core: Core, restored: CheckpointId) -> Self {
        Self {
            core,
            dirty: Sharded::default(),
            dirty_elements: 0,
            sealed: Fifo::default(),
            clean: Sharded::default(),
            clean_elements: 0,
            evictor: Cursor::default(),
            heap: HeapMeter::default(),
            tag: restored.0,
            first: 0,
            next: 0,
        }
    }

    /// Appends an element to the list of `key`, without reading the list.
    ///
    /// # Errors
    /// When one list got more elements in one epoch than can be numbered.
    pub fn push(&mut self, hash: u64, key: &K, value: V) -> Result<(), StateError> {
        self.extend(hash, key, [value])
    }

    /// Appends elements to the list of `key`, without reading the list.
    ///
    /// # Errors
    /// When one list got more elements in one epoch than can be numbered.
    pub fn extend(&mut self, hash: u64, key: &K, values: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        let mixed = mix(hash);
        let expiry = self.core.ttl.map(|_| self.core.expiry());
        self.own(mixed, key);
        let (tag, first) = (self.tag, self.first);
        let slot = self.dirty.find_mut(mixed, key).expect("`own` made the slot");
        if slot.segments.is_empty() {
            slot.segments.push(Segment::new(ElementKey { tag, number: first }));
        }
        let segment = slot.segments.last_mut().expect("it has just been made sure that there is one");
        let before = segment.values.len();
        for value in values {
            self.heap.note(|| heap_estimate(&value));
            segment.values.push(value);
            segment.expiries.extend(expiry);
        }
        self.dirty_elements += segment.values.len() - before;
        let end = u32::try_from(segment.values.len()).ok().and_then(|len| first.checked_add(len));
        let Some(end) = end else {
            return Err(StateError::ListTooLong { state: self.core.name(), limit: u32::MAX });
        };
        self.next = self.next.max(end);
        Ok(())
    }

    /// The elements of the list of `key`.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn get(&mut self, hash: u64, key: &K) -> Result<Vec<V>, StateError> {
        let mut values = Vec::new();
        self.for_each(hash, key, |value| values.push(value.clone()))?;
        Ok(values)
    }

    /// Visits the elements of the list of `key`, in order.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn for_each(&mut self, hash: u64, key: &K, mut visit: impl FnMut(&V)) -> Result<(), StateError> {
        let now = self.core.now();
        self.cache(hash, key, true)?;
        let mut slots = Vec::new();
        for table in std::iter::once(&self.dirty).chain(self.lower()) {
            if let Some(slot) = table.find(mix(hash), key) {
                slots.push(slot);
                if slot.alone {
                    break;
                }
            }
        }
        let segments = slots.into_iter().rev().flat_map(|slot| &slot.segments);
        segments.for_each(|segment| segment.visible(now).for_each(&mut visit));
        Ok(())
    }

    /// True if the list of `key` is empty.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn is_empty(&mut self, hash: u64, key: &K) -> Result<bool, StateError> {
        let mut empty = true;
        self.for_each(hash, key, |_| empty = false)?;
        Ok(empty)
    }

    /// Removes all elements of the list of `key`. Reads from disk which there are, unless they are cached.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn clear(&mut self, hash: u64, key: &K) -> Result<(), StateError> {
        let mixed = mix(hash);
        let mut below: Vec<SegmentRef> = Vec::new();
        if !self.dirty.find(mixed, key).is_some_and(|slot| slot.alone) {
            self.cache(hash, key, false)?;
            for table in self.lower() {
                if let Some(slot) = table.find(mixed, key) {
                    below.extend(slot.segments.iter().map(Segment::reference));
                    if slot.alone {
                        break;
                    }
                }
            }
            if below.is_empty() && self.dirty.find(mixed, key).is_none() {
                return Ok(());
            }
            self.own(mixed, key);
        }
        let Some(slot) = self.dirty.find_mut(mixed, key) else { return Ok(()) };
        self.dirty_elements -= slot.elements();
        slot.segments.clear();
        slot.removed.extend(below);
        slot.alone = true;
        if slot.removed.is_empty() {
            self.dirty.remove(mixed, key);
        }
        Ok(())
    }

    /// Replaces the list of `key`.
    ///
    /// # Errors
    /// As for [`Self::clear`] and [`Self::extend`].
    pub fn replace(&mut self, hash: u64, key: &K, values: impl IntoIterator<Item = V>) -> Result<(), StateError> {
        self.clear(hash, key)?;
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() { self.extend(hash, key, values) } else { Ok(()) }
    }

    /// The layers below dirty, newest first.
    fn lower(&self) -> impl Iterator<Item = &Sharded<ListSlot<K, V>>> {
        self.sealed.newest_first().chain(std::iter::once(&self.clean))
    }

    /// Makes sure that dirty has a slot for `key`.
    fn own(&mut self, mixed: u64, key: &K) {
        if self.dirty.find(mixed, key).is_none() {
            let alone = self.core.resident && self.lower().all(|table| table.find(mixed, key).is_none());
            self.dirty.insert_new(mixed, ListSlot::new(key.clone(), alone));
        }
    }

    /// Makes sure that the layers hold the list down to a slot that is alone, or that no more of it exists.
    fn cache(&mut self, hash: u64, key: &K, with_dirty: bool) -> Result<(), StateError> {
        let mixed = mix(hash);
        if let Some(slot) = self.clean.find_mut(mixed, key) {
            slot.seen = true;
            return Ok(());
        }
        let dirty = with_dirty.then_some(&self.dirty);
        let mut slots = dirty.into_iter().chain(self.sealed.newest_first()).filter_map(|table| table.find(mixed, key));
        if self.core.resident || slots.any(|slot| slot.alone) {
            return Ok(());
        }
        self.core.stored_key(hash, key)?;
        let mut slot = ListSlot::new(key.clone(), true);
        slot.seen = true;
        // What sealed layers hold may be in the past already; it is not read twice.
        let sealed = self.sealed.newest_first().filter_map(|table| table.find(mixed, key));
        let sealed: Vec<SegmentRef> = sealed.flat_map(|slot| slot.segments.iter().map(Segment::reference)).collect();
        if let Some(past) = self.core.past() {
            let (core, prefix) = (&self.core, &self.core.key);
            past.scan(prefix, &prefix_end(prefix), Direction::Ascending, &mut |stored, bytes| {
                let element = ElementKey::decode(&stored[prefix.len()..])
                    .map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
                if !sealed.iter().any(|held| held.contains(element)) {
                    slot.append_stored(element, decode_value(bytes), core)?;
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        self.clean_elements += slot.elements();
        self.clean.insert_new(mixed, slot);
        Ok(())
    }
}

impl<K: Key, V: Value> Table for ListTable<K, V> {
    fn seal(&mut self) -> Option<SealedPart> {
        if self.dirty.is_empty() {
            return None;
        }
        let bytes = self.usage().dirty;
        self.dirty_elements = 0;
        self.first = self.next;
        let next = Sharded::expecting(self.dirty.len());
        let frozen = std::mem::replace(&mut self.dirty, next);
        Some(self.sealed.push(frozen, &self.core.facts, bytes))
    }

    fn sealed_epoch(&mut self, epoch: CheckpointId) {
        debug_assert!(epoch.0 > self.tag, "epochs are sealed in ascending order");
        self.tag = epoch.0;
        self.first = 0;
        self.next = 0;
    }

    fn maintain(&mut self, discard: &dyn Fn(Box<dyn Send>)) -> bool {
        self.dirty.tend();
        self.clean.tend();
        let mut more = true;
        let Self { core, sealed, clean, clean_elements, .. } = self;
        let (resident, survives) = (core.resident, core.shared.defects.clean_survives_hand_over);
        let merge = |slot: ListSlot<K, V>| {
            let mixed = mix(hash_again(&slot.key));
            let held = clean.remove(mixed, &slot.key);
            *clean_elements -= held.as_ref().map_or(0, ListSlot::elements);
            let merged = if survives && held.is_some() { held } else { ListSlot::handed_over(held, slot, resident) };
            if let Some(merged) = merged {
                *clean_elements += merged.elements();
                clean.insert_new(mixed, merged);
            }
        };
        match sealed.hand_over(&core.shared, SLICE, merge) {
            HandOver::Idle => more = false,
            HandOver::Moved => {}
            HandOver::Finished(rest) => discard(Box::new(rest)),
        }
        self.evict() || more
    }

    fn usage(&self) -> Usage {
        let elements = |count: usize| count * size_of::<V>() * 3 / 2 + self.heap.estimate(count);
        let segments = |slots: usize| slots * size_of::<Segment<V>>();
        Usage {
            dirty: self.dirty.inline_bytes() + segments(self.dirty.len()) + elements(self.dirty_elements),
            sealed: self.sealed.bytes(),
            clean: self.clean.inline_bytes() + segments(self.clean.len()) + elements(self.clean_elements),
            pinned: 0,
        }
    }

    fn sealed_layers(&self) -> usize {
        self.sealed.len()
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let Self { core, clean, clean_elements, .. } = self;
        let mut slot: Option<(u64, ListSlot<K, V>)> = None;
        core.scan_owned(restored, &mut |stored, bytes| {
            let decode_key = |source| StateError::DecodeKey { state: core.name(), source };
            let encoded = &stored[HEAD..];
            let (key, rest): (K, &[u8]) = keycodec::decode_prefix(encoded).map_err(decode_key)?;
            let element = ElementKey::decode(rest).map_err(decode_key)?;
            if let Some((mixed, full)) = slot.take_if(|(_, slot)| slot.key != key) {
                clean.tend();
                clean.put(mixed, full);
            }
            let hash = key_hash(&encoded[..encoded.len() - rest.len()]);
            let (_, slot) = slot.get_or_insert_with(|| (mix(hash), ListSlot::new(key, true)));
            slot.append_stored(element, decode_value(bytes), core)?;
            *clean_elements += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some((mixed, full)) = slot {
            clean.put(mixed, full);
        }
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl<K: Key, V: Value> ListTable<K, V> {
    fn evict(&mut self) -> bool {
        let shared = &self.core.shared;
        if !shared.clean_is_over() || self.clean.is_empty() || !shared.may_evict(self.sealed.handed()) {
            return false;
        }
        let before = self.clean.len();
        for _ in 0..EVICTION_SLICES {
            let elements = &mut self.clean_elements;
            let not_seen = |slot: &mut ListSlot<K, V>| !std::mem::take(&mut slot.seen);
            self.clean.sweep(&mut self.evictor, SLICE, not_seen, |slot| *elements -= slot.elements());
        }
        if self.clean.len() < before {
            self.core.resident = false;
        }
        true
    }
}
