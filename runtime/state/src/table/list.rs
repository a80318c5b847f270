//! List states: a list of elements per key, appended to without reading.
//!
//! Elements are stored one by one under the tag of their epoch and their number in it, so that they sort in the order they were
//! pushed and keep it across rescaling. In memory they stand in segments of consecutive numbers; a layer adds at most one segment to
//! a list. The tag is the last sealed epoch, because the open one has no name yet.

mod segment;

use std::any::Any;
use std::ops::ControlFlow;

use weir_protocol::CheckpointId;

use super::slots::{Slot, SlotLayers, down_to_alone};
use super::{Core, HeapMeter, Table, Usage};
use crate::error::StateError;
use crate::key::Key;
use crate::layers::SealedPart;
use crate::past::{Direction, Past, prefix_end};
use crate::sharded::mix;
use crate::value::{Value, decode_value, heap_estimate};
use segment::{ElementKey, ListSlot, Segment, SegmentRef};

/// A list of elements per key, of one state and subtask.
#[derive(Debug)]
pub struct ListTable<K: Key, V: Value> {
    core: Core,
    layers: SlotLayers<ListSlot<K, V>>,
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
        Self { core, layers: SlotLayers::default(), heap: HeapMeter::default(), tag: restored.0, first: 0, next: 0 }
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
        self.layers.own(&self.core, mixed, key);
        let (tag, first) = (self.tag, self.first);
        let slot = self.layers.dirty.find_mut(mixed, key).expect("`own` made the slot");
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
        self.layers.dirty_entries += segment.values.len() - before;
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
        let slots: Vec<_> = down_to_alone(self.layers.all(), mix(hash), key).collect();
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
        if !self.layers.dirty.find(mixed, key).is_some_and(|slot| slot.alone) {
            self.cache(hash, key, false)?;
            for slot in down_to_alone(self.layers.below(), mixed, key) {
                below.extend(slot.segments.iter().map(Segment::reference));
            }
            if below.is_empty() && self.layers.dirty.find(mixed, key).is_none() {
                return Ok(());
            }
            self.layers.own(&self.core, mixed, key);
        }
        let Some(slot) = self.layers.dirty.find_mut(mixed, key) else { return Ok(()) };
        self.layers.dirty_entries -= slot.entries();
        slot.segments.clear();
        slot.removed.extend(below);
        slot.alone = true;
        if slot.removed.is_empty() {
            self.layers.dirty.remove(mixed, key);
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

    /// Makes sure that the layers hold the list down to a slot that is alone, or that no more of it exists.
    fn cache(&mut self, hash: u64, key: &K, with_dirty: bool) -> Result<(), StateError> {
        let mixed = mix(hash);
        if let Some(slot) = self.layers.clean.find_mut(mixed, key) {
            slot.seen = true;
            return Ok(());
        }
        let dirty = with_dirty.then_some(&self.layers.dirty);
        let mut slots =
            dirty.into_iter().chain(self.layers.sealed.newest_first()).filter_map(|table| table.find(mixed, key));
        if self.core.resident || slots.any(|slot| slot.alone) {
            return Ok(());
        }
        self.core.stored_key(hash, key)?;
        let mut slot = ListSlot::new(key.clone(), true);
        slot.seen = true;
        // What sealed layers hold may be in the past already; it is not read twice.
        let sealed = self.layers.sealed.newest_first().filter_map(|table| table.find(mixed, key));
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
        self.layers.clean_entries += slot.entries();
        self.layers.clean.insert_new(mixed, slot);
        Ok(())
    }
}

impl<K: Key, V: Value> Table for ListTable<K, V> {
    fn seal(&mut self) -> Option<SealedPart> {
        let bytes = self.usage().dirty;
        let part = self.layers.seal(&self.core, bytes)?;
        self.first = self.next;
        Some(part)
    }

    fn sealed_epoch(&mut self, epoch: CheckpointId) {
        debug_assert!(epoch.0 > self.tag, "epochs are sealed in ascending order");
        self.tag = epoch.0;
        self.first = 0;
        self.next = 0;
    }

    fn maintain(&mut self, discard: &dyn Fn(Box<dyn Send>)) -> bool {
        if std::mem::needs_drop::<V>() {
            // Entries of clean may come from the disk and never be changed.
            self.heap.sample(&self.layers.clean, Slot::sample_heap);
        }
        self.layers.maintain(&mut self.core, discard)
    }

    fn usage(&self) -> Usage {
        self.layers.usage(|slots, elements| {
            slots * size_of::<Segment<V>>() + elements * size_of::<V>() * 3 / 2 + self.heap.estimate(elements)
        })
    }

    fn sealed_layers(&self) -> usize {
        self.layers.sealed.len()
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let core = &self.core;
        self.layers.load(core, restored, |slot, rest, bytes| {
            let element =
                ElementKey::decode(rest).map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            slot.append_stored(element, decode_value(bytes), core)
        })
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
