//! Tables: one per state and subtask. What all kinds have in common.

pub(crate) mod broadcast;
pub(crate) mod list;
pub(crate) mod map;
pub(crate) mod misses;
mod slots;
pub(crate) mod timer;
pub(crate) mod value;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weir_protocol::{CheckpointId, KeyGroup, KeyGroupRange, key_group};

use crate::descriptor::Ttl;
use crate::error::{StateError, StateName};
use crate::key::Key;
use crate::keycodec;
use crate::layers::{SealedPart, StateFacts};
use crate::past::{Direction, Past, Visit, prefix_end};
use crate::run_buffer::key_head;
use crate::sharded::{Cursor, Keyed, Sharded};
use crate::shared::Shared;
use crate::value::Expiry;

/// Places of a layer or cache that one call of maintenance looks at: about 0.1 ms.
pub(crate) const SLICE: usize = 4096;
/// Slices of eviction that one call of maintenance may take when clean is over its budget.
pub(crate) const EVICTION_SLICES: usize = 4;

/// A table as its backend sees it.
pub(crate) trait Table: Send {
    /// Freezes the changes since the last call. O(1). `None` if there are none.
    fn seal(&mut self) -> Option<SealedPart>;

    /// Tells that epoch `epoch` was sealed: what follows belongs to a later one.
    fn sealed_epoch(&mut self, epoch: CheckpointId);

    /// A slice of hand-over and eviction. Returns true if there is more to do.
    fn maintain(&mut self, discard: &dyn Fn(Box<dyn Send>)) -> bool;

    /// Bytes in memory, estimated.
    fn usage(&self) -> Usage;

    /// Number of sealed layers.
    fn sealed_layers(&self) -> usize;

    /// Loads what was restored, if this table keeps everything in memory.
    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError>;

    /// Reads what is missing of a batch's keys into memory: `keys` is a `Vec<K>` of the backend's key type, one per hash.
    /// Tables that find their entries by more than the key do nothing.
    fn prefetch(&mut self, _hashes: &[u64], _keys: &dyn Any) -> Result<(), StateError> {
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any;

    fn as_any(&self) -> &dyn Any;
}

/// Estimated bytes of a table.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) dirty: usize,
    pub(crate) sealed: usize,
    pub(crate) clean: usize,
    pub(crate) pinned: usize,
}

/// What every table knows of itself.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) facts: Arc<StateFacts>,
    pub(crate) groups: KeyGroupRange,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) clock: Arc<AtomicI64>,
    pub(crate) shared: Arc<Shared>,
    /// True while everything the state holds is in memory, so that a miss there is a miss.
    pub(crate) resident: bool,
    /// A stored key under construction.
    pub(crate) key: Vec<u8>,
}

impl Core {
    #[inline]
    pub(crate) fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Expiry of a value written now.
    #[inline]
    pub(crate) fn expiry(&self) -> Expiry {
        match self.ttl {
            None => Expiry::NEVER,
            Some(ttl) => Expiry::at(self.now().saturating_add_unsigned(ttl.millis)),
        }
    }

    pub(crate) fn name(&self) -> StateName {
        self.facts.name.clone()
    }

    pub(crate) fn key_error(&self, source: keycodec::KeyCodecError) -> StateError {
        StateError::EncodeKey { state: self.name(), source }
    }

    /// Builds the stored key of `key` in `self.key`.
    pub(crate) fn stored_key<K: Key>(&mut self, hash: u64, key: &K) -> Result<(), StateError> {
        let head = key_head(self.group(hash), self.facts.id);
        self.key.clear();
        self.key.extend_from_slice(&head);
        keycodec::encode(key, &mut self.key).map_err(|source| self.key_error(source))
    }

    #[inline]
    pub(crate) fn group(&self, hash: u64) -> KeyGroup {
        let group = key_group(hash, self.facts.max);
        debug_assert!(self.groups.contains(group), "{}: key group {group} is not in {}", self.facts.name, self.groups);
        group
    }

    /// The past, where misses of a table that is not resident are read.
    pub(crate) fn past(&self) -> Option<&dyn Past> {
        if self.resident { None } else { self.shared.past().map(|past| &**past) }
    }

    /// Visits everything `past` holds of this state in the owned key groups.
    pub(crate) fn scan_owned(&self, past: &dyn Past, visit: &mut Visit<'_>) -> Result<(), StateError> {
        let end = match self.shared.defects.range_end_off_by_one {
            false => self.groups.end_exclusive,
            true => self.groups.end_exclusive.saturating_sub(1),
        };
        for group in KeyGroupRange::new(self.groups.start, end).groups() {
            self.scan_group(past, group, visit)?;
        }
        Ok(())
    }

    /// Visits everything `past` holds of this state in one key group.
    pub(crate) fn scan_group(&self, past: &dyn Past, group: KeyGroup, visit: &mut Visit<'_>) -> Result<(), StateError> {
        let head = key_head(group, self.facts.id);
        past.scan(&head, &prefix_end(&head), Direction::Ascending, visit)
    }
}

/// Estimates the heap bytes of entries from a sample of them.
#[derive(Debug, Default)]
pub(crate) struct HeapMeter {
    average: usize,
    countdown: u32,
    /// Where the next sample begins.
    cursor: Cursor,
}

/// Places that are looked at between two batches to learn what entries own on the heap.
const SAMPLE: usize = 16;

/// One entry in this many is measured.
const SAMPLE_EVERY: u32 = 32;

impl HeapMeter {
    /// Counts an entry; measures it if its turn has come.
    #[inline]
    pub(crate) fn note(&mut self, measure: impl FnOnce() -> usize) {
        if self.countdown == 0 {
            self.learn(measure());
            self.countdown = SAMPLE_EVERY;
        }
        self.countdown -= 1;
    }

    /// Learns from a few places of a table, where entries come from the disk or change in the hands of users. `heap_of` says of a
    /// place how many entries of it were looked at, and the bytes that they own.
    pub(crate) fn sample<S: Keyed>(&mut self, table: &Sharded<S>, heap_of: impl Fn(&S) -> (usize, usize)) {
        let sample = table.sample(&mut self.cursor, SAMPLE).map(heap_of);
        let (count, sum) = sample.fold((0, 0), |(count, sum), (entries, bytes)| (count + entries, sum + bytes));
        if let Some(mean) = usize::checked_div(sum, count) {
            self.learn(mean);
        }
    }

    fn learn(&mut self, measured: usize) {
        self.average = if self.average == 0 { measured } else { (self.average * 7 + measured) / 8 };
    }

    /// Estimated heap bytes of `entries` entries.
    pub(crate) fn estimate(&self, entries: usize) -> usize {
        self.average * entries
    }
}

/// An entry's marks in one word: whether no older layer holds the key, whether clean saw a read of it, and when it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta(u64);

impl Meta {
    const FRESH: u64 = 1 << 63;
    const SEEN: u64 = 1 << 62;
    const EXPIRY: u64 = Self::SEEN - 1;

    pub(crate) const OLD: Self = Self(0);

    #[inline]
    pub(crate) fn new(fresh: bool, expiry: Expiry) -> Self {
        Self(if fresh { Self::FRESH } else { 0 }).with_expiry(expiry)
    }

    #[inline]
    pub(crate) fn with_expiry(self, expiry: Expiry) -> Self {
        Self(self.0 & !Self::EXPIRY | expiry.to_bits(Self::EXPIRY))
    }

    #[inline]
    pub(crate) fn expiry(self) -> Expiry {
        Expiry::from_bits(self.0 & Self::EXPIRY)
    }

    /// True if no older layer holds the key: removing the entry needs no tombstone.
    #[inline]
    pub(crate) fn is_fresh(self) -> bool {
        self.0 & Self::FRESH != 0
    }

    #[inline]
    pub(crate) fn not_fresh(self) -> Self {
        Self(self.0 & !Self::FRESH)
    }

    #[inline]
    pub(crate) fn mark_seen(&mut self) {
        self.0 |= Self::SEEN;
    }

    #[inline]
    pub(crate) fn is_seen(self) -> bool {
        self.0 & Self::SEEN != 0
    }

    /// Takes the mark of a read away; returns whether it was there.
    #[inline]
    pub(crate) fn take_seen(&mut self) -> bool {
        let seen = self.0 & Self::SEEN != 0;
        self.0 &= !Self::SEEN;
        seen
    }
}
