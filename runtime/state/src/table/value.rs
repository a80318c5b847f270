//! Value states: one value per key.
//!
//! A read looks in dirty, sealed (newest first), clean and the past, in that order, and stops at the first that knows the key.
//! A write touches dirty only. An entry of dirty is *fresh* if a read proved that no lower layer holds its key; removing a
//! fresh entry leaves no tombstone. In clean, `None` means known to be absent.

use std::any::Any;

use hashbrown::hash_table::Entry;
use weir_protocol::{CheckpointId, KeyGroup, key_hash};

use super::misses::Misses;
use super::{Core, EVICTION_SLICES, HeapMeter, Meta, SLICE, Table, Usage};
use crate::error::StateError;
use crate::key::Key;
use crate::keycodec;
use crate::layers::{Encode, Fifo, HandOver, SealedPart, StateFacts};
use crate::past::Past;
use crate::run_buffer::{HEAD, LayerBuffer};
use crate::sharded::{Cursor, Keyed, Sharded, mix};
use crate::value::{Expiry, Value, decode_value, encode_value, heap_estimate};

#[derive(Debug)]
pub(crate) struct Slot<K, V> {
    key: K,
    value: Option<V>,
    meta: Meta,
}

impl<K: Key, V> Keyed for Slot<K, V> {
    type Key = K;

    #[inline]
    fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key, V: Value> Encode for Slot<K, V> {
    fn encode(
        &self,
        facts: &StateFacts,
        group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError> {
        match &self.value {
            Some(value) => out
                .put(group, [key, b""], self.meta.is_fresh(), |bytes| encode_value(value, self.meta.expiry(), bytes))
                .map_err(|source| StateError::EncodeValue { state: facts.name.clone(), source }),
            None if self.meta.is_fresh() => Ok(()),
            None => {
                out.delete(group, [key, b""]);
                Ok(())
            }
        }
    }
}

/// Whether an operator reads a state of (nearly) every key it sees. One that does not, such as a large value that is set once and read
/// when the key ends, would be brought into memory for each key for nothing: it is then read where it is used, one by one.
#[derive(Debug)]
struct Usefulness<K> {
    /// Some of what the last batch fetched.
    fetched: Vec<(u64, K)>,
    used: u32,
    unused: u32,
    /// Batches until fetching is tried again.
    pause: u32,
    /// The last pause: each is longer than the one before.
    paused: u32,
}

/// Keys of a batch that are followed.
const FOLLOWED: usize = 32;
/// So many are followed before it is judged: one batch, since all of it may be for nothing, and large.
const JUDGED: u32 = 32;
/// Fetching is worth it while one key in this many is read: so much cheaper a read in a batch is.
const WORTH: u32 = 8;
/// Batches without fetching before it is tried again: at first, and at most.
const PAUSE: std::ops::RangeInclusive<u32> = 256..=65_536;

impl<K> Default for Usefulness<K> {
    fn default() -> Self {
        Self { fetched: Vec::new(), used: 0, unused: 0, pause: 0, paused: 0 }
    }
}

impl<K: Key> Usefulness<K> {
    /// Learns from the last batch, and says whether the next one is fetched.
    fn judge(&mut self, was_used: impl Fn(u64, &K) -> bool) -> bool {
        for (mixed, key) in self.fetched.drain(..) {
            if was_used(mixed, &key) {
                self.used += 1;
            } else {
                self.unused += 1;
            }
        }
        let followed = self.used + self.unused;
        if followed >= JUDGED {
            let is_worth_it = self.used * WORTH >= followed;
            self.paused = if is_worth_it { 0 } else { (2 * self.paused).clamp(*PAUSE.start(), *PAUSE.end()) };
            self.pause = self.paused;
            (self.used, self.unused) = (0, 0);
        }
        self.pause = self.pause.saturating_sub(1);
        self.pause == 0
    }

    /// Follows some of what is fetched.
    fn note<'a>(&mut self, fetched: impl Iterator<Item = (u64, &'a K)>)
    where
        K: 'a,
    {
        self.fetched.extend(fetched.take(FOLLOWED).map(|(mixed, key)| (mixed, key.clone())));
    }
}

/// One value per key, of one state and subtask.
#[derive(Debug)]
pub struct ValueTable<K: Key, V: Value> {
    core: Core,
    dirty: Sharded<Slot<K, V>>,
    sealed: Fifo<Slot<K, V>>,
    clean: Sharded<Slot<K, V>>,
    evictor: Cursor,
    /// What values of dirty own on the heap. They are changed by users, who do not say when they are done.
    heap: HeapMeter,
    /// The same of clean, much of which may come from the disk and never be changed.
    clean_heap: HeapMeter,
    usefulness: Usefulness<K>,
    /// Counts slices handed over; a fetch that began under another count is repeated.
    handed_over: u64,
}

/// Misses on their way from the past, begun by [`ValueTable::begin_fetch`]. [`Fetch::run`] may be called on any thread.
#[derive(Debug)]
pub struct Fetch<K, V> {
    misses: Misses<(u64, K)>,
    found: Vec<Option<(V, Expiry)>>,
    handed_over: u64,
    past: Option<std::sync::Arc<dyn Past>>,
    facts: std::sync::Arc<StateFacts>,
}

impl<K: Key, V: Value> Fetch<K, V> {
    /// Reads the misses. Blocks on the local disk.
    ///
    /// # Errors
    /// When the disk cannot be read, or holds what does not decode.
    pub fn run(&mut self) -> Result<(), StateError> {
        let Self { misses, found, past, facts, .. } = self;
        let Some(past) = past else { return Ok(()) };
        found.clear();
        found.resize_with(misses.len(), || None);
        misses.fetch(&**past, |index, bytes| {
            let decoded =
                decode_value(bytes).map_err(|source| StateError::DecodeValue { state: facts.name.clone(), source })?;
            found[index] = Some(decoded);
            Ok(())
        })
    }
}

impl<K: Key, V: Value> ValueTable<K, V> {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            dirty: Sharded::default(),
            sealed: Fifo::default(),
            clean: Sharded::default(),
            evictor: Cursor::default(),
            heap: HeapMeter::default(),
            clean_heap: HeapMeter::default(),
            usefulness: Usefulness::default(),
            handed_over: 0,
        }
    }

    /// The value of `key`, whose stable hash is `hash`.
    ///
    /// # Errors
    /// When it must be read from disk and cannot be.
    pub fn get(&mut self, hash: u64, key: &K) -> Result<Option<&V>, StateError> {
        if self.core.ttl.is_some_and(|ttl| ttl.refresh_on_read) && self.peek(hash, key)?.is_some() {
            return Ok(self.entry(hash, key)?.as_ref());
        }
        self.peek(hash, key)
    }

    fn peek(&mut self, hash: u64, key: &K) -> Result<Option<&V>, StateError> {
        let mixed = mix(hash);
        let now = self.core.now();
        let visible = |slot: &'_ Slot<K, V>| !slot.meta.expiry().is_over(now);
        if let Some(slot) = self.dirty.find(mixed, key) {
            return Ok(slot.value.as_ref().filter(|_| visible(slot)));
        }
        if let Some(slot) = self.sealed.find(mixed, key) {
            return Ok(slot.value.as_ref().filter(|_| visible(slot)));
        }
        if self.core.resident {
            return Ok(self.clean.find(mixed, key).and_then(|slot| slot.value.as_ref().filter(|_| visible(slot))));
        }
        let (entry, len) = self.clean.entry(mixed, key);
        let slot = match entry {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(vacant) => {
                let (value, expiry) = read_past(&mut self.core, hash, key)?;
                *len += 1;
                vacant.insert(Slot { key: key.clone(), value, meta: Meta::new(false, expiry) }).into_mut()
            }
        };
        slot.meta.mark_seen();
        Ok(slot.value.as_ref().filter(|_| visible(slot)))
    }

    /// The value's place, to be changed at will: `None` is absent, and what is left there is what will be stored. One probe
    /// if the key was changed since the last barrier.
    ///
    /// # Errors
    /// When the value must be read from disk and cannot be.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: &K) -> Result<&mut Option<V>, StateError> {
        let mixed = mix(hash);
        let (entry, len) = self.dirty.entry(mixed, key);
        match entry {
            Entry::Occupied(held) => {
                let slot = held.into_mut();
                if self.core.ttl.is_some() {
                    revive(slot, &self.core);
                }
                Ok(&mut slot.value)
            }
            Entry::Vacant(vacant) => {
                let (value, fresh) = take_below(&mut self.core, &self.sealed, &mut self.clean, hash, mixed, key)?;
                *len += 1;
                let slot = Slot { key: key.clone(), value, meta: Meta::new(fresh, self.core.expiry()) };
                Ok(&mut vacant.insert(slot).into_mut().value)
            }
        }
    }

    /// Sets the value of `key` without reading the old one from disk.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn set(&mut self, hash: u64, key: &K, value: V) -> Result<(), StateError> {
        let mixed = mix(hash);
        let expiry = self.core.expiry();
        let (entry, len) = self.dirty.entry(mixed, key);
        match entry {
            Entry::Occupied(held) => {
                let slot = held.into_mut();
                slot.meta = slot.meta.with_expiry(expiry);
                slot.value = Some(value);
            }
            Entry::Vacant(vacant) => {
                let fresh = absent_below(&self.core, &self.sealed, &mut self.clean, mixed, key);
                *len += 1;
                vacant.insert(Slot { key: key.clone(), value: Some(value), meta: Meta::new(fresh, expiry) });
            }
        }
        Ok(())
    }

    /// Removes the value of `key`, without reading it from disk.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn remove(&mut self, hash: u64, key: &K) -> Result<(), StateError> {
        let mixed = mix(hash);
        match self.dirty.find_mut(mixed, key) {
            Some(slot) if slot.meta.is_fresh() => {
                self.dirty.remove(mixed, key);
            }
            Some(slot) => slot.value = None,
            None => {
                if !absent_below(&self.core, &self.sealed, &mut self.clean, mixed, key) {
                    self.dirty.insert_new(mixed, Slot { key: key.clone(), value: None, meta: Meta::OLD });
                }
            }
        }
        Ok(())
    }

    /// Reads what is missing of `keys` into memory with one multi-get; does nothing while everything is in memory. Repeated
    /// keys are fine.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn prefetch<'a>(&mut self, keys: impl Iterator<Item = (u64, &'a K)>) -> Result<(), StateError> {
        if self.core.resident {
            return Ok(());
        }
        let fetch = self.begin_fetch(keys)?;
        self.fetch_now(fetch)
    }

    fn fetch_now(&mut self, mut fetch: Fetch<K, V>) -> Result<(), StateError> {
        if fetch.misses.is_empty() {
            return Ok(());
        }
        fetch.run()?;
        self.finish_fetch(fetch)
    }

    /// Notes what is missing of `keys`, to be read elsewhere while this table goes on; see [`Self::finish_fetch`].
    ///
    /// # Errors
    /// When a key cannot be encoded.
    pub fn begin_fetch<'a>(&mut self, keys: impl Iterator<Item = (u64, &'a K)>) -> Result<Fetch<K, V>, StateError> {
        let mut misses = Misses::default();
        if !self.core.resident {
            for (hash, key) in keys {
                if !self.knows(mix(hash), key) {
                    self.core.stored_key(hash, key)?;
                    misses.push(&self.core.key, (hash, key.clone()));
                }
            }
            misses.arrange();
        }
        Ok(Fetch {
            misses,
            found: Vec::new(),
            handed_over: self.handed_over,
            past: self.core.shared.past().cloned(),
            facts: std::sync::Arc::clone(&self.core.facts),
        })
    }

    /// Takes what a fetch has read into clean. Keys that were written since stay as they are; if layers were handed over
    /// since the fetch began, it may have read what was there before them, and is repeated.
    ///
    /// # Errors
    /// When the fetch must be repeated and the disk cannot be read.
    pub fn finish_fetch(&mut self, mut fetch: Fetch<K, V>) -> Result<(), StateError> {
        if fetch.handed_over != self.handed_over {
            fetch.run()?;
        }
        let mut found = fetch.found.into_iter();
        for (hash, key) in fetch.misses.take_notes() {
            let (value, expiry) = match found.next().flatten() {
                Some((value, expiry)) => (Some(value), expiry),
                None => (None, Expiry::NEVER),
            };
            let mixed = mix(hash);
            if !self.knows(mixed, &key) {
                self.clean.insert_new(mixed, Slot { key, value, meta: Meta::new(false, expiry) });
            }
        }
        Ok(())
    }

    /// Drops the cache, as if everything in it had been evicted; for tests of what happens then.
    #[doc(hidden)]
    pub fn forget_clean(&mut self) {
        assert!(!self.core.resident, "only what can be read again may be forgotten");
        self.clean = Sharded::default();
    }

    #[inline]
    fn knows(&self, mixed: u64, key: &K) -> bool {
        self.dirty.find(mixed, key).is_some()
            || self.clean.find(mixed, key).is_some()
            || self.sealed.find(mixed, key).is_some()
    }
}

#[inline]
fn owns_heap<K, V>() -> bool {
    std::mem::needs_drop::<K>() || std::mem::needs_drop::<V>()
}

fn heap_of<K: Key, V: Value>(slot: &Slot<K, V>) -> (usize, usize) {
    (1, heap_estimate(&slot.key) + slot.value.as_ref().map_or(0, heap_estimate))
}

/// A write to a value with expiry: what is over is gone, and life begins anew.
#[cold]
fn revive<K, V>(slot: &mut Slot<K, V>, core: &Core) {
    if slot.meta.expiry().is_over(core.now()) {
        slot.value = None;
    }
    slot.meta = slot.meta.with_expiry(core.expiry());
}

/// The value of a key that dirty does not hold, and whether no lower layer holds the key. Taken out of clean, where it would
/// only be outdated, unless it is cheap to leave there and overwrite later.
#[inline(never)]
fn take_below<K: Key, V: Value>(
    core: &mut Core,
    sealed: &Fifo<Slot<K, V>>,
    clean: &mut Sharded<Slot<K, V>>,
    hash: u64,
    mixed: u64,
    key: &K,
) -> Result<(Option<V>, bool), StateError> {
    let now = core.now();
    if let Some(slot) = sealed.find(mixed, key) {
        return Ok(match &slot.value {
            Some(value) => (Some(value.clone()).filter(|_| !slot.meta.expiry().is_over(now)), false),
            None => (None, true),
        });
    }
    if core.resident && !owns_heap::<K, V>() {
        return Ok(match clean.find(mixed, key) {
            Some(Slot { value: Some(value), meta, .. }) => {
                (Some(value.clone()).filter(|_| !meta.expiry().is_over(now)), false)
            }
            _ => (None, true),
        });
    }
    if let Some(Slot { value, meta, .. }) = clean.remove(mixed, key) {
        let fresh = value.is_none();
        return Ok((value.filter(|_| !meta.expiry().is_over(now)), fresh));
    }
    let (value, expiry) = read_past(core, hash, key)?;
    let fresh = value.is_none();
    Ok((value.filter(|_| !expiry.is_over(now)), fresh))
}

/// True if memory proves that no lower layer holds the key; takes the key out of clean.
fn absent_below<K: Key, V: Value>(
    core: &Core,
    sealed: &Fifo<Slot<K, V>>,
    clean: &mut Sharded<Slot<K, V>>,
    mixed: u64,
    key: &K,
) -> bool {
    if let Some(slot) = sealed.find(mixed, key) {
        return slot.value.is_none();
    }
    let held = if core.resident && !owns_heap::<K, V>() {
        clean.find(mixed, key).map(|slot| slot.value.is_none())
    } else {
        clean.remove(mixed, key).map(|slot| slot.value.is_none())
    };
    held.unwrap_or(core.resident)
}

fn read_past<K: Key, V: Value>(core: &mut Core, hash: u64, key: &K) -> Result<(Option<V>, Expiry), StateError> {
    if core.resident {
        return Ok((None, Expiry::NEVER));
    }
    core.stored_key(hash, key)?;
    let mut found = None;
    if let Some(past) = core.past() {
        past.get(&core.key, &mut |bytes| {
            let decoded =
                decode_value(bytes).map_err(|source| StateError::DecodeValue { state: core.name(), source })?;
            found = Some(decoded);
            Ok(())
        })?;
    }
    Ok(match found {
        Some((value, expiry)) => (Some(value), expiry),
        None => (None, Expiry::NEVER),
    })
}

impl<K: Key, V: Value> Table for ValueTable<K, V> {
    fn seal(&mut self) -> Option<SealedPart> {
        if self.dirty.is_empty() {
            return None;
        }
        let bytes = self.usage().dirty;
        let next = Sharded::expecting(self.dirty.len());
        let frozen = std::mem::replace(&mut self.dirty, next);
        Some(self.sealed.push(frozen, &self.core.facts, bytes))
    }

    fn sealed_epoch(&mut self, _epoch: CheckpointId) {}

    fn maintain(&mut self, discard: &dyn Fn(Box<dyn Send>)) -> bool {
        self.dirty.tend();
        self.clean.tend();
        if owns_heap::<K, V>() {
            self.heap.sample(&self.dirty, heap_of);
            self.clean_heap.sample(&self.clean, heap_of);
        }
        let mut more = true;
        let Self { core, sealed, clean, .. } = self;
        let survives = core.shared.defects.clean_survives_hand_over;
        let merge = |slot: Slot<K, V>| {
            let mixed = mix(crate::key::hash_again(&slot.key));
            if slot.value.is_none() {
                if !survives {
                    clean.remove(mixed, &slot.key);
                }
            } else if !survives || clean.find(mixed, &slot.key).is_none() {
                let meta = slot.meta.not_fresh();
                clean.put(mixed, Slot { meta, ..slot });
            }
        };
        match sealed.hand_over(&core.shared, SLICE, merge) {
            HandOver::Idle => more = false,
            HandOver::Moved => self.handed_over += 1,
            HandOver::Finished(rest) => {
                self.handed_over += 1;
                discard(Box::new(rest));
            }
        }
        self.evict() || more
    }

    fn usage(&self) -> Usage {
        Usage {
            dirty: self.dirty.inline_bytes() + self.heap.estimate(self.dirty.len()),
            sealed: self.sealed.bytes(),
            clean: self.clean.allocated_bytes() + self.clean_heap.estimate(self.clean.len()),
            pinned: 0,
        }
    }

    fn sealed_layers(&self) -> usize {
        self.sealed.len()
    }

    fn prefetch(&mut self, hashes: &[u64], keys: &dyn std::any::Any) -> Result<(), StateError> {
        if self.core.resident {
            return Ok(());
        }
        let keys: &Vec<K> = keys.downcast_ref().expect("the backend passes keys of its own type");
        let Self { usefulness, clean, .. } = self;
        // What was changed or removed since is not in clean any more: it was used.
        if !usefulness.judge(|mixed, key| clean.find(mixed, key).is_none_or(|slot| slot.meta.is_seen())) {
            return Ok(());
        }
        let fetch = self.begin_fetch(hashes.iter().copied().zip(keys))?;
        self.usefulness.note(fetch.misses.notes().map(|(hash, key)| (mix(*hash), key)));
        self.fetch_now(fetch)
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let Self { core, clean, .. } = self;
        core.scan_owned(restored, &mut |stored, bytes| {
            let encoded = &stored[HEAD..];
            let key: K =
                keycodec::decode(encoded).map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            let (value, expiry) =
                decode_value(bytes).map_err(|source| StateError::DecodeValue { state: core.name(), source })?;
            clean.tend();
            clean.put(mix(key_hash(encoded)), Slot { key, value: Some(value), meta: Meta::new(false, expiry) });
            Ok(std::ops::ControlFlow::Continue(()))
        })
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

impl<K: Key, V: Value> ValueTable<K, V> {
    fn evict(&mut self) -> bool {
        let shared = &self.core.shared;
        if !shared.clean_is_over() || self.clean.is_empty() {
            return false;
        }
        if !shared.may_evict(self.sealed.handed()) {
            return false;
        }
        let before = self.clean.len();
        for _ in 0..EVICTION_SLICES {
            self.clean.sweep(&mut self.evictor, SLICE, |slot| !slot.meta.take_seen(), drop);
        }
        if self.clean.len() < before {
            self.core.resident = false;
        }
        true
    }
}
