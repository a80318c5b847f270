//! Timers: (timestamp, key) pairs in the order they are due.
//!
//! All timers of a subtask are in memory, bucketed by timestamp, because many keys share one (a window's end). Dirty holds the net
//! change since the last barrier: registering and deleting within one epoch leaves nothing. Stored under
//! `key group | state | timestamp | key`, so that a restore reads them in order.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use weir_protocol::{CheckpointId, KeyGroup};

use super::{Core, HeapMeter, SLICE, Table, Usage};
use crate::error::StateError;
use crate::key::{Key, hash_again};
use crate::keycodec;
use crate::layers::{Encode, Fifo, HandOver, SealedPart, StateFacts};
use crate::past::Past;
use crate::run_buffer::{HEAD, LayerBuffer};
use crate::sharded::{Keyed, Sharded, mix};
use crate::value::{Expiry, encode_value, heap_estimate};

/// A change of one timer. The table is keyed by timestamp and key, and hashes by the key's canonical encoding.
#[derive(Debug)]
pub(crate) struct Change<K> {
    timer: (i64, K),
    exists: bool,
}

impl<K: Key> Keyed for Change<K> {
    type Key = (i64, K);

    fn key(&self) -> &(i64, K) {
        &self.timer
    }
}

impl<K: Key> Encode for Change<K> {
    fn encode(
        &self,
        facts: &StateFacts,
        _group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError> {
        // `key` is timestamp and key; the group must be the key's own.
        let group = weir_protocol::key_group(weir_protocol::key_hash(&key[8..]), facts.max);
        if !self.exists {
            out.delete(group, [key, b""]);
            return Ok(());
        }
        out.put(group, [key, b""], true, |bytes| encode_value(&(), Expiry::NEVER, bytes))
            .map_err(|source| StateError::EncodeValue { state: facts.name.clone(), source })
    }
}

#[derive(Debug)]
struct Member<K>(K);

impl<K: Key> Keyed for Member<K> {
    type Key = K;

    fn key(&self) -> &K {
        &self.0
    }
}

/// The keys that are due at one timestamp: mostly one, or very many.
#[derive(Debug)]
enum Bucket<K> {
    One(K),
    Many(Box<Sharded<Member<K>>>),
}

impl<K: Key> Bucket<K> {
    fn insert(&mut self, hash: u64, key: &K) -> bool {
        match self {
            Self::One(held) if held == key => false,
            Self::One(held) => {
                let mut many = Sharded::default();
                many.insert_new(mix(hash_again(held)), Member(held.clone()));
                many.insert_new(mix(hash), Member(key.clone()));
                *self = Self::Many(Box::new(many));
                true
            }
            Self::Many(many) => {
                many.tend();
                let mixed = mix(hash);
                let absent = many.find(mixed, key).is_none();
                if absent {
                    many.insert_new(mixed, Member(key.clone()));
                }
                absent
            }
        }
    }

    /// Removes a key; returns whether it was there, and whether the bucket is empty now.
    fn remove(&mut self, hash: u64, key: &K) -> (bool, bool) {
        match self {
            Self::One(held) => (held == key, held == key),
            Self::Many(many) => {
                let removed = many.remove(mix(hash), key).is_some();
                (removed, many.is_empty())
            }
        }
    }

    fn into_sorted(self) -> Vec<K> {
        match self {
            Self::One(key) => vec![key],
            Self::Many(many) => {
                let mut keys: Vec<K> = many.iter().map(|member| member.0.clone()).collect();
                keys.sort_unstable();
                keys
            }
        }
    }
}

/// The timers of one state and subtask.
#[derive(Debug)]
pub struct TimerTable<K: Key> {
    core: Core,
    timers: BTreeMap<i64, Bucket<K>>,
    /// The earliest bucket while it is being popped: its timestamp, and its keys with the next one last.
    firing: Option<(i64, Vec<K>)>,
    /// The earliest timestamp of all.
    next: Option<i64>,
    count: usize,
    dirty: Sharded<Change<K>>,
    sealed: Fifo<Change<K>>,
    heap: HeapMeter,
}

impl<K: Key> TimerTable<K> {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            timers: BTreeMap::new(),
            firing: None,
            next: None,
            count: 0,
            dirty: Sharded::default(),
            sealed: Fifo::default(),
            heap: HeapMeter::default(),
        }
    }

    /// Registers a timer for `key` at `timestamp` (milliseconds since the Unix epoch). Registering it again changes nothing.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn register(&mut self, timestamp: i64, hash: u64, key: &K) -> Result<(), StateError> {
        let firing = self.firing.as_ref().is_some_and(|(at, keys)| *at == timestamp && keys.contains(key));
        if firing || !self.insert(timestamp, hash, key) {
            return Ok(());
        }
        self.heap.note(|| heap_estimate(key));
        self.change(timestamp, key, true);
        Ok(())
    }

    /// Deletes the timer for `key` at `timestamp`, if there is one.
    ///
    /// # Errors
    /// None today; kept so that bounds can be enforced here.
    pub fn delete(&mut self, timestamp: i64, hash: u64, key: &K) -> Result<(), StateError> {
        if self.take(timestamp, hash, key) {
            self.count -= 1;
            self.next = self.earliest();
            self.change(timestamp, key, false);
        }
        Ok(())
    }

    /// The timestamp of the next timer.
    #[inline]
    pub fn next_due(&self) -> Option<i64> {
        self.next
    }

    /// Number of timers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there is no timer.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes the next timer whose timestamp is at most `up_to`. Timers of one timestamp come in the order of their keys,
    /// those registered for it meanwhile after them.
    pub fn pop_due(&mut self, up_to: i64) -> Option<(i64, K)> {
        let due = self.next.filter(|next| *next <= up_to)?;
        if self.firing.as_ref().is_none_or(|(at, _)| *at != due) {
            // Keys left over from a later timestamp go back: an earlier timer was registered meanwhile.
            self.unfire();
            let mut keys = self.timers.remove(&due)?.into_sorted();
            keys.reverse();
            self.firing = Some((due, keys));
        }
        let (_, keys) = self.firing.as_mut()?;
        let key = keys.pop()?;
        if keys.is_empty() {
            self.firing = None;
        }
        self.count -= 1;
        self.next = self.earliest();
        self.change(due, &key, false);
        Some((due, key))
    }

    fn unfire(&mut self) {
        if let Some((at, keys)) = self.firing.take() {
            for key in keys {
                self.place(at, hash_again(&key), &key);
            }
        }
    }

    fn earliest(&self) -> Option<i64> {
        let bucket = self.timers.first_key_value().map(|(at, _)| *at);
        let firing = self.firing.as_ref().map(|(at, _)| *at);
        [bucket, firing].into_iter().flatten().min()
    }

    fn insert(&mut self, timestamp: i64, hash: u64, key: &K) -> bool {
        let added = self.place(timestamp, hash, key);
        if added {
            self.count += 1;
            self.next = Some(self.next.map_or(timestamp, |next| next.min(timestamp)));
        }
        added
    }

    fn place(&mut self, timestamp: i64, hash: u64, key: &K) -> bool {
        match self.timers.entry(timestamp) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(Bucket::One(key.clone()));
                true
            }
            std::collections::btree_map::Entry::Occupied(mut bucket) => bucket.get_mut().insert(hash, key),
        }
    }

    fn take(&mut self, timestamp: i64, hash: u64, key: &K) -> bool {
        if let Some((at, keys)) = &mut self.firing
            && *at == timestamp
            && let Some(found) = keys.iter().position(|held| held == key)
        {
            keys.remove(found);
            if keys.is_empty() {
                self.firing = None;
            }
            return true;
        }
        let Some(bucket) = self.timers.get_mut(&timestamp) else { return false };
        let (removed, empty) = bucket.remove(hash, key);
        if empty {
            self.timers.remove(&timestamp);
        }
        removed
    }

    /// Notes a change. All timers are in memory, so a timer whose change is not noted yet was or was not there at the last
    /// barrier exactly as before this change; two opposite changes cancel out.
    fn change(&mut self, timestamp: i64, key: &K, exists: bool) {
        let timer = (timestamp, key.clone());
        let mixed = mix(hash_again(&timer));
        if self.dirty.remove(mixed, &timer).is_none() {
            self.dirty.insert_new(mixed, Change { timer, exists });
        }
    }
}

impl<K: Key> Table for TimerTable<K> {
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
        // The timers themselves are in memory; a written layer has nothing to hand over.
        match self.sealed.hand_over(&self.core.shared, SLICE, drop) {
            HandOver::Idle => false,
            HandOver::Moved => true,
            HandOver::Finished(rest) => {
                discard(Box::new(rest));
                true
            }
        }
    }

    fn usage(&self) -> Usage {
        Usage {
            dirty: self.dirty.inline_bytes() + self.heap.estimate(self.dirty.len()),
            sealed: self.sealed.bytes(),
            clean: 0,
            pinned: self.count * (size_of::<K>() + 16) + self.heap.estimate(self.count),
        }
    }

    fn sealed_layers(&self) -> usize {
        self.sealed.len()
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let mut loaded: Vec<(i64, K)> = Vec::new();
        let core = &self.core;
        core.scan_owned(restored, &mut |stored, _| {
            let timer = keycodec::decode(&stored[HEAD..])
                .map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            loaded.push(timer);
            Ok(ControlFlow::Continue(()))
        })?;
        for (timestamp, key) in loaded {
            self.insert(timestamp, hash_again(&key), &key);
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
