//! Map states: an ordered map per key.
//!
//! Layers work as for values, cell by cell. Reads of ranges merge all layers down to the first slot that is
//! [alone](super::slots).

mod cells;
mod merge;
mod stored;

use std::any::Any;
use std::ops::{Bound, ControlFlow, RangeBounds};

use hashbrown::hash_table::Entry;
use weir_protocol::CheckpointId;

use super::misses::Misses;
use super::slots::{Slot, SlotLayers, down_to_alone};
use super::{Core, HeapMeter, Meta, Table, Usage};
use crate::error::StateError;
use crate::key::Key;
use crate::keycodec;
use crate::layers::SealedPart;
use crate::ordmap::is_empty_range;
use crate::past::{Direction, Past};
use crate::sharded::{Sharded, mix};
use crate::value::{Expiry, Value, heap_estimate};
use cells::{Cell, MapSlot};
use merge::{Source, merge};
use stored::{decode, read_past, scan, stored_key};

/// Maps of up to this many entries are cached whole after they were read whole.
const CACHED_WHOLE: usize = 4096;

/// Bounds of a range of user keys.
pub type UserKeyBounds<'a, UK> = (Bound<&'a UK>, Bound<&'a UK>);

/// An ordered map per key, of one state and subtask.
#[derive(Debug)]
pub struct MapTable<K: Key, UK: Key, UV: Value> {
    core: Core,
    layers: SlotLayers<MapSlot<K, UK, UV>>,
    heap: HeapMeter,
}

impl<K: Key, UK: Key, UV: Value> MapTable<K, UK, UV> {
    pub(crate) fn new(core: Core) -> Self {
        Self { core, layers: SlotLayers::default(), heap: HeapMeter::default() }
    }

    /// The value of `user_key` in the map of `key`.
    ///
    /// # Errors
    /// When it must be read from disk and cannot be.
    pub fn get(&mut self, hash: u64, key: &K, user_key: &UK) -> Result<Option<&UV>, StateError> {
        if self.core.ttl.is_some_and(|ttl| ttl.refresh_on_read) && self.peek(hash, key, user_key)?.is_some() {
            return Ok(self.entry(hash, key, user_key)?.as_ref());
        }
        self.peek(hash, key, user_key)
    }

    /// True if the map of `key` holds `user_key`.
    ///
    /// # Errors
    /// When it must be read from disk and cannot be.
    pub fn contains(&mut self, hash: u64, key: &K, user_key: &UK) -> Result<bool, StateError> {
        Ok(self.get(hash, key, user_key)?.is_some())
    }

    fn peek(&mut self, hash: u64, key: &K, user_key: &UK) -> Result<Option<&UV>, StateError> {
        let mixed = mix(hash);
        let now = self.core.now();
        if let Some(slot) = self.layers.dirty.find(mixed, key) {
            if let Some(cell) = slot.cells.get(user_key) {
                return Ok(cell.visible(now));
            }
            if slot.alone {
                return Ok(None);
            }
        }
        for table in self.layers.sealed.newest_first() {
            if let Some(slot) = table.find(mixed, key) {
                if let Some(cell) = slot.cells.get(user_key) {
                    return Ok(cell.visible(now));
                }
                if slot.alone {
                    return Ok(None);
                }
            }
        }
        let known =
            self.layers.clean.find(mixed, key).is_some_and(|slot| slot.alone || slot.cells.get(user_key).is_some());
        if !known && !self.core.resident {
            let (value, expiry) = read_past(&mut self.core, hash, key, user_key)?;
            let cell = Cell { value, meta: Meta::new(false, expiry) };
            cache_cell(&mut self.layers.clean, &mut self.layers.clean_entries, mixed, key, user_key.clone(), cell);
        }
        let Some(slot) = self.layers.clean.find_mut(mixed, key) else { return Ok(None) };
        slot.seen = true;
        Ok(slot.cells.get(user_key).and_then(|cell| cell.visible(now)))
    }

    /// The value's place, to be changed at will: `None` is absent, and what is left there is what will be stored.
    ///
    /// # Errors
    /// When the value must be read from disk and cannot be.
    pub fn entry(&mut self, hash: u64, key: &K, user_key: &UK) -> Result<&mut Option<UV>, StateError> {
        let mixed = mix(hash);
        self.layers.own(&self.core, mixed, key);
        let held = self.layers.dirty.find(mixed, key).is_some_and(|slot| slot.cells.get(user_key).is_some());
        if !held {
            let (value, fresh) = self.take_below(hash, mixed, key, user_key)?;
            let meta = Meta::new(fresh, self.core.expiry());
            self.put_dirty(mixed, key, user_key.clone(), Cell { value, meta });
        }
        let slot = self.layers.dirty.find_mut(mixed, key).expect("`own` made the slot");
        let cell = slot.cells.get_mut(user_key).expect("the cell was there or has just been made");
        if held && self.core.ttl.is_some() {
            cell.revive(self.core.now(), self.core.expiry());
        }
        Ok(&mut cell.value)
    }

    /// Sets the value of `user_key` in the map of `key`, without reading the old one from disk.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn insert(&mut self, hash: u64, key: &K, user_key: UK, value: UV) -> Result<(), StateError> {
        let mixed = mix(hash);
        self.layers.own(&self.core, mixed, key);
        self.heap.note(|| heap_estimate(&user_key) + heap_estimate(&value));
        let expiry = self.core.expiry();
        let slot = self.layers.dirty.find_mut(mixed, key).expect("`own` made the slot");
        if let Some(cell) = slot.cells.get_mut(&user_key) {
            *cell = Cell { value: Some(value), meta: cell.meta.with_expiry(expiry) };
            return Ok(());
        }
        let fresh = slot.alone || self.absent_below(mixed, key, &user_key);
        self.put_dirty(mixed, key, user_key, Cell { value: Some(value), meta: Meta::new(fresh, expiry) });
        Ok(())
    }

    /// Removes `user_key` from the map of `key`, without reading it from disk.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn remove(&mut self, hash: u64, key: &K, user_key: &UK) -> Result<(), StateError> {
        let mixed = mix(hash);
        if let Some(slot) = self.layers.dirty.find_mut(mixed, key) {
            match slot.cells.get_mut(user_key) {
                Some(cell) if cell.meta.is_fresh() => {
                    slot.cells.remove(user_key);
                    self.layers.dirty_entries -= 1;
                    self.drop_if_void(mixed, key);
                    return Ok(());
                }
                Some(cell) => {
                    cell.value = None;
                    return Ok(());
                }
                None if slot.alone => return Ok(()),
                None => {}
            }
        }
        if !self.absent_below(mixed, key, user_key) {
            self.layers.own(&self.core, mixed, key);
            self.put_dirty(mixed, key, user_key.clone(), Cell { value: None, meta: Meta::OLD });
        }
        Ok(())
    }

    /// Removes everything from the map of `key`. Reads from disk which user keys there are, unless they are cached.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn clear(&mut self, hash: u64, key: &K) -> Result<(), StateError> {
        let mixed = mix(hash);
        let alone = self.layers.dirty.find(mixed, key).is_some_and(|slot| slot.alone);
        let mut below = Vec::new();
        if !alone {
            self.visit_below(hash, key, &mut |user_key| below.push(user_key.clone()))?;
            if below.is_empty() && self.layers.dirty.find(mixed, key).is_none() {
                return Ok(());
            }
            self.layers.own(&self.core, mixed, key);
        }
        let Some(slot) = self.layers.dirty.find_mut(mixed, key) else { return Ok(()) };
        let before = slot.cells.len();
        slot.cells.retain(|_, cell| {
            cell.value = None;
            !cell.meta.is_fresh()
        });
        for user_key in below {
            slot.cells.insert(user_key, Cell { value: None, meta: Meta::OLD });
        }
        slot.alone = true;
        self.layers.dirty_entries = self.layers.dirty_entries + slot.cells.len() - before;
        self.drop_if_void(mixed, key);
        Ok(())
    }

    /// True if the map of `key` is empty.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn is_empty(&mut self, hash: u64, key: &K) -> Result<bool, StateError> {
        Ok(self.first(hash, key)?.is_none())
    }

    /// The entry with the smallest user key.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn first(&mut self, hash: u64, key: &K) -> Result<Option<(UK, UV)>, StateError> {
        self.end(hash, key, Direction::Ascending)
    }

    /// The entry with the largest user key.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn last(&mut self, hash: u64, key: &K) -> Result<Option<(UK, UV)>, StateError> {
        self.end(hash, key, Direction::Descending)
    }

    fn end(&mut self, hash: u64, key: &K, direction: Direction) -> Result<Option<(UK, UV)>, StateError> {
        let mut end = None;
        self.visit(hash, key, (Bound::Unbounded, Bound::Unbounded), direction, Some(1), &mut |user_key, value| {
            end = Some((user_key.clone(), value.clone()));
            ControlFlow::Break(())
        })?;
        Ok(end)
    }

    /// Visits the entries of the map of `key` in the order of user keys.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn for_each(&mut self, hash: u64, key: &K, mut visit: impl FnMut(&UK, &UV)) -> Result<(), StateError> {
        self.visit_range(hash, key, .., |user_key, value| {
            visit(user_key, value);
            ControlFlow::Continue(())
        })
    }

    /// The entries of the map of `key` whose user keys lie in `bounds`, in order.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn range(&mut self, hash: u64, key: &K, bounds: impl RangeBounds<UK>) -> Result<Vec<(UK, UV)>, StateError> {
        let mut entries = Vec::new();
        self.visit_range(hash, key, bounds, |user_key, value| {
            entries.push((user_key.clone(), value.clone()));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// Visits the entries whose user keys lie in `bounds`, in order, until told to stop.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn visit_range(
        &mut self,
        hash: u64,
        key: &K,
        bounds: impl RangeBounds<UK>,
        mut visit: impl FnMut(&UK, &UV) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let bounds = (bounds.start_bound(), bounds.end_bound());
        self.visit(hash, key, bounds, Direction::Ascending, None, &mut visit)
    }

    /// Visits the entries whose user keys lie in `bounds`, from the largest down, until told to stop.
    ///
    /// # Errors
    /// When the disk must be read and cannot be.
    pub fn visit_range_descending(
        &mut self,
        hash: u64,
        key: &K,
        bounds: impl RangeBounds<UK>,
        mut visit: impl FnMut(&UK, &UV) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let bounds = (bounds.start_bound(), bounds.end_bound());
        self.visit(hash, key, bounds, Direction::Descending, None, &mut visit)
    }

    /// Reads what is missing of these cells into memory with one multi-get; does nothing while everything is in memory.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn prefetch<'a>(&mut self, cells: impl Iterator<Item = (u64, &'a K, &'a UK)>) -> Result<(), StateError> {
        if self.core.resident {
            return Ok(());
        }
        let mut misses = Misses::default();
        for (hash, key, user_key) in cells {
            let mixed = mix(hash);
            if !self.knows(mixed, key, user_key) {
                stored_key(&mut self.core, hash, key, user_key)?;
                misses.push(&self.core.key, (mixed, key.clone(), user_key.clone()));
            }
        }
        let Some(past) = self.core.past() else { return Ok(()) };
        if misses.is_empty() {
            return Ok(());
        }
        misses.arrange();
        let mut found = Vec::new();
        found.resize_with(misses.len(), || None);
        misses.fetch(past, |index, bytes| {
            found[index] = Some(decode(&self.core, bytes)?);
            Ok(())
        })?;
        for ((mixed, key, user_key), found) in misses.take_notes().zip(found) {
            let (value, expiry) = match found {
                Some((value, expiry)) => (Some(value), expiry),
                None => (None, Expiry::NEVER),
            };
            let cell = Cell { value, meta: Meta::new(false, expiry) };
            cache_cell(&mut self.layers.clean, &mut self.layers.clean_entries, mixed, &key, user_key, cell);
        }
        Ok(())
    }

    fn knows(&self, mixed: u64, key: &K, user_key: &UK) -> bool {
        let tables = self.layers.all();
        tables.filter_map(|table| table.find(mixed, key)).any(|slot| slot.alone || slot.cells.get(user_key).is_some())
    }

    fn put_dirty(&mut self, mixed: u64, key: &K, user_key: UK, cell: Cell<UV>) {
        let slot = self.layers.dirty.find_mut(mixed, key).expect("the caller made the slot");
        self.layers.dirty_entries += usize::from(slot.cells.insert(user_key, cell).is_none());
    }

    /// Removes a slot of dirty that says nothing.
    fn drop_if_void(&mut self, mixed: u64, key: &K) {
        if self.layers.dirty.find(mixed, key).is_some_and(|slot| slot.cells.is_empty()) {
            self.layers.dirty.remove(mixed, key);
        }
    }

    /// True if memory proves that no layer below dirty holds the cell; takes it out of clean.
    fn absent_below(&mut self, mixed: u64, key: &K, user_key: &UK) -> bool {
        for table in self.layers.sealed.newest_first() {
            if let Some(slot) = table.find(mixed, key) {
                if let Some(cell) = slot.cells.get(user_key) {
                    return cell.value.is_none();
                }
                if slot.alone {
                    return true;
                }
            }
        }
        let Some(slot) = self.layers.clean.find_mut(mixed, key) else { return self.core.resident };
        match slot.cells.remove(user_key) {
            Some(cell) => {
                self.layers.clean_entries -= 1;
                cell.value.is_none()
            }
            None => slot.alone || self.core.resident,
        }
    }

    /// The value of a cell that dirty does not hold, and whether no lower layer holds it; takes it out of clean.
    fn take_below(&mut self, hash: u64, mixed: u64, key: &K, user_key: &UK) -> Result<(Option<UV>, bool), StateError> {
        let now = self.core.now();
        if self.layers.dirty.find(mixed, key).is_some_and(|slot| slot.alone) {
            return Ok((None, true));
        }
        for table in self.layers.sealed.newest_first() {
            if let Some(slot) = table.find(mixed, key) {
                if let Some(cell) = slot.cells.get(user_key) {
                    return Ok((cell.visible(now).cloned(), cell.value.is_none()));
                }
                if slot.alone {
                    return Ok((None, true));
                }
            }
        }
        if let Some(slot) = self.layers.clean.find_mut(mixed, key) {
            if let Some(cell) = slot.cells.remove(user_key) {
                self.layers.clean_entries -= 1;
                let fresh = cell.value.is_none();
                return Ok((cell.into_visible(now), fresh));
            }
            if slot.alone {
                return Ok((None, true));
            }
        }
        let (value, expiry) = read_past(&mut self.core, hash, key, user_key)?;
        let fresh = value.is_none();
        Ok((value.filter(|_| !expiry.is_over(now)), fresh))
    }

    /// Visits the live user keys below dirty.
    fn visit_below(&mut self, hash: u64, key: &K, visit: &mut dyn FnMut(&UK)) -> Result<(), StateError> {
        let mixed = mix(hash);
        self.cache_whole(hash, key, false)?;
        let bounds = (Bound::Unbounded, Bound::Unbounded);
        let (mut sources, alone) = sources(self.layers.below(), mixed, key, bounds);
        let stored;
        if !alone && !self.core.resident {
            stored = scan(&mut self.core, hash, key, bounds, Direction::Ascending, None)?;
            sources.push(Source::Past(stored.iter()));
        }
        // Expired cells count: they are stored, and need their tombstones.
        merge(sources, Direction::Ascending, i64::MIN, &mut |user_key, _| {
            visit(user_key);
            ControlFlow::Continue(())
        });
        Ok(())
    }

    fn visit(
        &mut self,
        hash: u64,
        key: &K,
        bounds: UserKeyBounds<'_, UK>,
        direction: Direction,
        limit: Option<usize>,
        visit: &mut dyn FnMut(&UK, &UV) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        if is_empty_range(bounds) {
            return Ok(());
        }
        let mixed = mix(hash);
        if limit.is_none() && matches!(bounds, (Bound::Unbounded, Bound::Unbounded)) {
            self.cache_whole(hash, key, true)?;
        }
        let now = self.core.now();
        let tables = self.layers.all();
        let (mut sources, alone) = sources(tables, mixed, key, bounds);
        let stored;
        if !alone && !self.core.resident {
            // Upper layers may hide as many stored entries as they hold.
            let hidden: usize = sources.iter().map(Source::len_hint).sum();
            let limit = if self.core.ttl.is_some() { None } else { limit.map(|limit| limit + hidden) };
            stored = scan(&mut self.core, hash, key, bounds, direction, limit)?;
            sources.push(Source::Past(stored.iter()));
        }
        merge(sources, direction, now, visit);
        Ok(())
    }

    /// Caches the whole map of `key` if it must be read whole from the past anyway and is not too large.
    fn cache_whole(&mut self, hash: u64, key: &K, with_dirty: bool) -> Result<(), StateError> {
        if self.core.resident {
            return Ok(());
        }
        let mixed = mix(hash);
        let tables = with_dirty.then_some(&self.layers.dirty).into_iter().chain(self.layers.below());
        if tables.filter_map(|table| table.find(mixed, key)).any(|slot| slot.alone) {
            if let Some(slot) = self.layers.clean.find_mut(mixed, key) {
                slot.seen = true;
            }
            return Ok(());
        }
        let all = (Bound::Unbounded, Bound::Unbounded);
        let stored = scan(&mut self.core, hash, key, all, Direction::Ascending, Some(CACHED_WHOLE + 1))?;
        if stored.len() > CACHED_WHOLE {
            return Ok(());
        }
        // What sealed layers hold is newer than what is cached here, and is found first.
        let mut slot = MapSlot::new(key.clone(), true);
        slot.seen = true;
        for (user_key, cell) in stored {
            slot.cells.insert(user_key, cell);
        }
        self.layers.clean_entries += slot.cells.len();
        if let Some(old) = self.layers.clean.put(mixed, slot) {
            self.layers.clean_entries -= old.cells.len();
        }
        Ok(())
    }
}

/// Remembers in clean what the past holds of a cell.
fn cache_cell<K: Key, UK: Key, UV: Value>(
    clean: &mut Sharded<MapSlot<K, UK, UV>>,
    cells: &mut usize,
    mixed: u64,
    key: &K,
    user_key: UK,
    cell: Cell<UV>,
) {
    let slot = match clean.entry(mixed, key) {
        (Entry::Occupied(held), _) => held.into_mut(),
        (Entry::Vacant(vacant), len) => {
            *len += 1;
            vacant.insert(MapSlot::new(key.clone(), false)).into_mut()
        }
    };
    *cells += usize::from(slot.cells.insert(user_key, cell).is_none());
}

/// The ranges of `key` in `tables`, newest first, down to the first slot that is alone; and whether there was one.
fn sources<'a, K: Key, UK: Key, UV: Value>(
    tables: impl Iterator<Item = &'a Sharded<MapSlot<K, UK, UV>>>,
    mixed: u64,
    key: &K,
    bounds: UserKeyBounds<'_, UK>,
) -> (Vec<Source<'a, UK, UV>>, bool) {
    let mut alone = false;
    let slots = down_to_alone(tables, mixed, key).inspect(|slot| alone = slot.alone);
    let sources = slots.map(|slot| Source::Layer(slot.cells.range(bounds))).collect();
    (sources, alone)
}

impl<K: Key, UK: Key, UV: Value> Table for MapTable<K, UK, UV> {
    fn seal(&mut self) -> Option<SealedPart> {
        let bytes = self.usage().dirty;
        self.layers.seal(&self.core, bytes)
    }

    fn sealed_epoch(&mut self, _epoch: CheckpointId) {}

    fn maintain(&mut self, discard: &dyn Fn(Box<dyn Send>)) -> bool {
        if std::mem::needs_drop::<(UK, UV)>() {
            // Entries of clean may come from the disk and never be changed.
            self.heap.sample(&self.layers.clean, Slot::sample_heap);
        }
        self.layers.maintain(&mut self.core, discard)
    }

    fn usage(&self) -> Usage {
        self.layers.usage(|_, cells| cells * (size_of::<(UK, Cell<UV>)>() * 3 / 2 + 8) + self.heap.estimate(cells))
    }

    fn sealed_layers(&self) -> usize {
        self.layers.sealed.len()
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let core = &self.core;
        self.layers.load(core, restored, |slot, rest, bytes| {
            let user_key =
                keycodec::decode(rest).map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            let (value, expiry) = decode(core, bytes)?;
            slot.cells.insert(user_key, Cell { value: Some(value), meta: Meta::new(false, expiry) });
            Ok(())
        })
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
