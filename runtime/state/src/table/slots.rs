//! The layers of states that hold many entries per key: lists and maps.
//!
//! A slot is what one layer knows of one key. It is *alone* if no lower layer holds anything of its key that counts besides what
//! the slot says itself; below such a slot nobody needs to look, and in clean it means that all of the key is cached.

use std::ops::ControlFlow;

use weir_protocol::key_hash;

use super::{Core, EVICTION_SLICES, SLICE, Usage};
use crate::error::StateError;
use crate::key::hash_again;
use crate::keycodec;
use crate::layers::{Encode, Fifo, HandOver, SealedPart};
use crate::past::Past;
use crate::run_buffer::HEAD;
use crate::sharded::{Cursor, Sharded, mix};

/// Entries of one key that are looked at to learn what entries own on the heap.
pub(super) const SAMPLED_OF_KEY: usize = 4;

/// What one layer knows of one key.
pub(super) trait Slot: Encode + Send + Sync + Sized + 'static {
    fn new(key: Self::Key, alone: bool) -> Self;

    fn is_alone(&self) -> bool;

    /// Number of entries, for counting bytes.
    fn entries(&self) -> usize;

    /// Looks at some of its entries: at how many, and the bytes that they own on the heap.
    fn sample_heap(&self) -> (usize, usize);

    /// Takes the mark of a read away; returns whether it was there.
    fn take_seen(&mut self) -> bool;

    /// What clean holds of a key after the oldest sealed layer's slot moved onto what clean `held`; `None` if nothing.
    fn handed_over(held: Option<Self>, newer: Self, resident: bool) -> Option<Self>;
}

/// The layers of one table. Whoever changes a slot keeps the number of entries of its layer.
#[derive(Debug)]
pub(super) struct SlotLayers<S> {
    pub(super) dirty: Sharded<S>,
    pub(super) dirty_entries: usize,
    pub(super) sealed: Fifo<S>,
    pub(super) clean: Sharded<S>,
    pub(super) clean_entries: usize,
    evictor: Cursor,
}

impl<S> Default for SlotLayers<S> {
    fn default() -> Self {
        Self {
            dirty: Sharded::default(),
            dirty_entries: 0,
            sealed: Fifo::default(),
            clean: Sharded::default(),
            clean_entries: 0,
            evictor: Cursor::default(),
        }
    }
}

impl<S: Slot> SlotLayers<S> {
    /// All layers, newest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Sharded<S>> {
        std::iter::once(&self.dirty).chain(self.below())
    }

    /// The layers below dirty, newest first.
    pub(super) fn below(&self) -> impl Iterator<Item = &Sharded<S>> {
        self.sealed.newest_first().chain(std::iter::once(&self.clean))
    }

    /// Makes sure that dirty has a slot for `key`.
    pub(super) fn own(&mut self, core: &Core, mixed: u64, key: &S::Key) {
        if self.dirty.find(mixed, key).is_none() {
            let alone = core.resident && self.below().all(|table| table.find(mixed, key).is_none());
            self.dirty.insert_new(mixed, S::new(key.clone(), alone));
        }
    }

    /// Freezes dirty, of which `bytes` is the estimated size.
    pub(super) fn seal(&mut self, core: &Core, bytes: usize) -> Option<SealedPart> {
        if self.dirty.is_empty() {
            return None;
        }
        self.dirty_entries = 0;
        let next = Sharded::expecting(self.dirty.len());
        let frozen = std::mem::replace(&mut self.dirty, next);
        Some(self.sealed.push(frozen, &core.facts, bytes))
    }

    /// A slice of hand-over and eviction. Returns true if there is more to do.
    pub(super) fn maintain(&mut self, core: &mut Core, discard: &dyn Fn(Box<dyn Send>)) -> bool {
        self.dirty.tend();
        self.clean.tend();
        let mut more = true;
        let Self { sealed, clean, clean_entries, .. } = self;
        let (resident, survives) = (core.resident, core.shared.defects.clean_survives_hand_over);
        let merge = |slot: S| {
            let mixed = mix(hash_again(slot.key()));
            let held = clean.remove(mixed, slot.key());
            *clean_entries -= held.as_ref().map_or(0, S::entries);
            let merged = if survives && held.is_some() { held } else { S::handed_over(held, slot, resident) };
            if let Some(merged) = merged {
                *clean_entries += merged.entries();
                clean.insert_new(mixed, merged);
            }
        };
        match sealed.hand_over(&core.shared, SLICE, merge) {
            HandOver::Idle => more = false,
            HandOver::Moved => {}
            HandOver::Finished(rest) => discard(Box::new(rest)),
        }
        self.evict(core) || more
    }

    fn evict(&mut self, core: &mut Core) -> bool {
        let shared = &core.shared;
        if !shared.clean_is_over() || self.clean.is_empty() || !shared.may_evict(self.sealed.handed()) {
            return false;
        }
        let before = self.clean.len();
        for _ in 0..EVICTION_SLICES {
            let entries = &mut self.clean_entries;
            self.clean.sweep(&mut self.evictor, SLICE, |slot| !slot.take_seen(), |slot| *entries -= slot.entries());
        }
        if self.clean.len() < before {
            core.resident = false;
        }
        true
    }

    /// Estimated bytes; `extra` is what so many slots with so many entries take besides the tables.
    pub(super) fn usage(&self, extra: impl Fn(usize, usize) -> usize) -> Usage {
        Usage {
            dirty: self.dirty.inline_bytes() + extra(self.dirty.len(), self.dirty_entries),
            sealed: self.sealed.bytes(),
            clean: self.clean.allocated_bytes() + extra(self.clean.len(), self.clean_entries),
            pinned: 0,
        }
    }

    /// Loads what was restored. `add` puts one stored entry into its slot: what stands behind the key, and the value.
    pub(super) fn load(
        &mut self,
        core: &Core,
        restored: &dyn Past,
        mut add: impl FnMut(&mut S, &[u8], &[u8]) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let Self { clean, clean_entries, .. } = self;
        let mut slot: Option<(u64, S)> = None;
        core.scan_owned(restored, &mut |stored, bytes| {
            let encoded = &stored[HEAD..];
            let (key, rest): (S::Key, &[u8]) = keycodec::decode_prefix(encoded)
                .map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            if let Some((mixed, full)) = slot.take_if(|(_, slot)| *slot.key() != key) {
                clean.tend();
                clean.put(mixed, full);
            }
            let hash = key_hash(&encoded[..encoded.len() - rest.len()]);
            let (_, slot) = slot.get_or_insert_with(|| (mix(hash), S::new(key, true)));
            add(slot, rest, bytes)?;
            *clean_entries += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if let Some((mixed, full)) = slot {
            clean.put(mixed, full);
        }
        Ok(())
    }
}

/// The slots of `key` in `tables`, newest first, down to the first that is alone.
pub(super) fn down_to_alone<'a, S: Slot>(
    tables: impl Iterator<Item = &'a Sharded<S>>,
    mixed: u64,
    key: &S::Key,
) -> impl Iterator<Item = &'a S> {
    let mut over = false;
    let slots = tables.filter_map(move |table| table.find(mixed, key));
    slots.take_while(move |slot| !std::mem::replace(&mut over, slot.is_alone()))
}
