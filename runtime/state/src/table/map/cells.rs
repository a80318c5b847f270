//! Slots and cells of map states, and how they are stored.

use weir_protocol::KeyGroup;

use crate::error::StateError;
use crate::key::Key;
use crate::keycodec;
use crate::layers::{Encode, StateFacts};
use crate::ordmap::OrdMap;
use crate::run_buffer::LayerBuffer;
use crate::sharded::Keyed;
use crate::table::Meta;
use crate::table::slots::{SAMPLED_OF_KEY, Slot};
use crate::value::{Expiry, Value, encode_value, heap_estimate};

/// One entry of a map.
#[derive(Debug, Clone)]
pub(super) struct Cell<UV> {
    pub(super) value: Option<UV>,
    pub(super) meta: Meta,
}

impl<UV> Cell<UV> {
    #[inline]
    pub(super) fn visible(&self, now: i64) -> Option<&UV> {
        self.value.as_ref().filter(|_| !self.meta.expiry().is_over(now))
    }

    pub(super) fn into_visible(self, now: i64) -> Option<UV> {
        self.value.filter(|_| !self.meta.expiry().is_over(now))
    }

    /// A write to a cell with expiry: what is over is gone, and life begins anew.
    pub(super) fn revive(&mut self, now: i64, expiry: Expiry) {
        if self.meta.expiry().is_over(now) {
            self.value = None;
        }
        self.meta = self.meta.with_expiry(expiry);
    }
}

/// What one layer knows of one key's map.
#[derive(Debug)]
pub(super) struct MapSlot<K, UK, UV> {
    pub(super) key: K,
    pub(super) cells: OrdMap<UK, Cell<UV>>,
    /// No lower layer holds anything of the key that is not here.
    pub(super) alone: bool,
    pub(super) seen: bool,
}

impl<K: Key, UK, UV> Keyed for MapSlot<K, UK, UV> {
    type Key = K;

    #[inline]
    fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Key, UK: Key, UV: Value> Slot for MapSlot<K, UK, UV> {
    fn new(key: K, alone: bool) -> Self {
        Self { key, cells: OrdMap::default(), alone, seen: false }
    }

    fn is_alone(&self) -> bool {
        self.alone
    }

    fn entries(&self) -> usize {
        self.cells.len()
    }

    fn sample_heap(&self) -> (usize, usize) {
        let cells = self.cells.iter().take(SAMPLED_OF_KEY);
        let heap = cells.map(|(user_key, cell)| heap_estimate(user_key) + cell.value.as_ref().map_or(0, heap_estimate));
        heap.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes))
    }

    fn take_seen(&mut self) -> bool {
        std::mem::take(&mut self.seen)
    }

    fn handed_over(held: Option<Self>, newer: Self, resident: bool) -> Option<Self> {
        let mut merged = match held {
            Some(held) if !newer.alone => held,
            Some(held) => Self { seen: held.seen, ..Self::new(newer.key, true) },
            None => Self::new(newer.key, newer.alone || resident),
        };
        for (user_key, cell) in newer.cells {
            if cell.value.is_some() {
                merged.cells.insert(user_key, Cell { meta: cell.meta.not_fresh(), ..cell });
            } else {
                merged.cells.remove(&user_key);
            }
        }
        // An empty map need not be remembered where a missing slot says the same.
        (!(merged.cells.is_empty() && (resident || !merged.alone))).then_some(merged)
    }
}

impl<K: Key, UK: Key, UV: Value> Encode for MapSlot<K, UK, UV> {
    fn encode(
        &self,
        facts: &StateFacts,
        group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError> {
        let mut user_key = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        for (held, cell) in self.cells.iter() {
            user_key.clear();
            keycodec::encode(held, &mut user_key)
                .map_err(|source| StateError::EncodeKey { state: facts.name.clone(), source })?;
            if last.as_ref().is_some_and(|last| *last >= user_key) {
                return Err(StateError::KeyOrder { state: facts.name.clone() });
            }
            last.get_or_insert_default().clone_from(&user_key);
            match &cell.value {
                Some(value) => out
                    .put(group, [key, &user_key], cell.meta.is_fresh(), |bytes| {
                        encode_value(value, cell.meta.expiry(), bytes)
                    })
                    .map_err(|source| StateError::EncodeValue { state: facts.name.clone(), source })?,
                None if cell.meta.is_fresh() => {}
                None => out.delete(group, [key, &user_key]),
            }
        }
        Ok(())
    }
}
