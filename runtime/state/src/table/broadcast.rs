//! Broadcast state: one ordered map that every subtask holds in full.
//!
//! All subtasks apply the same changes; the one with index 0 also writes them, under key group 65535, which no key hashes into and
//! every subtask reads at a restore.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use weir_protocol::{CheckpointId, KeyGroup};

use super::{Core, SLICE, Table, Usage};
use crate::error::StateError;
use crate::key::{Key, hash_again};
use crate::keycodec;
use crate::layers::{Encode, Fifo, HandOver, SealedPart, StateFacts};
use crate::past::Past;
use crate::run_buffer::{HEAD, LayerBuffer};
use crate::sharded::{Keyed, Sharded, mix};
use crate::value::{Expiry, Value, decode_value, encode_value, heap_estimate};

#[derive(Debug)]
pub(crate) struct Change<UK, UV> {
    user_key: UK,
    value: Option<UV>,
}

impl<UK: Key, UV> Keyed for Change<UK, UV> {
    type Key = UK;

    fn key(&self) -> &UK {
        &self.user_key
    }
}

impl<UK: Key, UV: Value> Encode for Change<UK, UV> {
    fn encode(
        &self,
        facts: &StateFacts,
        _group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError> {
        match &self.value {
            Some(value) => out
                .put(KeyGroup::BROADCAST, [key, b""], false, |bytes| encode_value(value, Expiry::NEVER, bytes))
                .map_err(|source| StateError::EncodeValue { state: facts.name.clone(), source }),
            None => {
                out.delete(KeyGroup::BROADCAST, [key, b""]);
                Ok(())
            }
        }
    }
}

/// An ordered map that every subtask of an operator holds.
#[derive(Debug)]
pub struct BroadcastTable<UK: Key, UV: Value> {
    core: Core,
    /// True in the subtask that writes the changes.
    writes: bool,
    entries: BTreeMap<UK, UV>,
    dirty: Sharded<Change<UK, UV>>,
    sealed: Fifo<Change<UK, UV>>,
    bytes: usize,
}

impl<UK: Key, UV: Value> BroadcastTable<UK, UV> {
    pub(crate) fn new(core: Core, writes: bool) -> Self {
        Self { core, writes, entries: BTreeMap::new(), dirty: Sharded::default(), sealed: Fifo::default(), bytes: 0 }
    }

    /// The value of `user_key`.
    pub fn get(&self, user_key: &UK) -> Option<&UV> {
        self.entries.get(user_key)
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&UK, &UV)> {
        self.entries.iter()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Sets the value of `user_key`. Every subtask must make the same calls.
    pub fn insert(&mut self, user_key: UK, value: UV) {
        if self.writes {
            let change = Change { user_key: user_key.clone(), value: Some(value.clone()) };
            self.dirty.put(mix(hash_again(&user_key)), change);
        }
        let size = size_of::<(UK, UV)>() + heap_estimate(&user_key) + heap_estimate(&value);
        if self.entries.insert(user_key, value).is_none() {
            self.bytes += size;
        }
    }

    /// Removes `user_key`. Every subtask must make the same calls.
    pub fn remove(&mut self, user_key: &UK) -> Option<UV> {
        let removed = self.entries.remove(user_key)?;
        if self.writes {
            let change = Change { user_key: user_key.clone(), value: None };
            self.dirty.put(mix(hash_again(user_key)), change);
        }
        let size = size_of::<(UK, UV)>() + heap_estimate(user_key) + heap_estimate(&removed);
        self.bytes = self.bytes.saturating_sub(size);
        Some(removed)
    }
}

impl<UK: Key, UV: Value> Table for BroadcastTable<UK, UV> {
    fn seal(&mut self) -> Option<SealedPart> {
        if self.dirty.is_empty() {
            return None;
        }
        let bytes = self.dirty.inline_bytes();
        let frozen = std::mem::take(&mut self.dirty);
        Some(self.sealed.push(frozen, &self.core.facts, bytes))
    }

    fn sealed_epoch(&mut self, _epoch: CheckpointId) {}

    fn maintain(&mut self, _discard: &dyn Fn(Box<dyn Send>)) -> bool {
        self.dirty.tend();
        !matches!(self.sealed.hand_over(&self.core.shared, SLICE, drop), HandOver::Idle)
    }

    fn usage(&self) -> Usage {
        Usage { dirty: self.dirty.inline_bytes(), sealed: self.sealed.bytes(), clean: 0, pinned: self.bytes }
    }

    fn sealed_layers(&self) -> usize {
        self.sealed.len()
    }

    fn load(&mut self, restored: &dyn Past) -> Result<(), StateError> {
        let Self { core, entries, bytes, .. } = self;
        core.scan_group(restored, KeyGroup::BROADCAST, &mut |stored, value| {
            let user_key: UK = keycodec::decode(&stored[HEAD..])
                .map_err(|source| StateError::DecodeKey { state: core.name(), source })?;
            let (value, _): (UV, _) =
                decode_value(value).map_err(|source| StateError::DecodeValue { state: core.name(), source })?;
            *bytes += size_of::<(UK, UV)>() + heap_estimate(&user_key) + heap_estimate(&value);
            entries.insert(user_key, value);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}
