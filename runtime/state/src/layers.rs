//! Sealed layers: what a table froze at a barrier, from the freezing until its entries are in clean.
//!
//! A sealed layer is shared, immutable, between the subtask that reads it and the store that writes it. When the store has let go
//! of it and its run can be read back from below, the owner moves its entries to clean in slices. Always the oldest layer first;
//! while it is on the move, entries that left it are in clean and the rest is still found here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_protocol::{KeyGroup, MaxParallelism, StateId, key_group, key_hash};

use crate::error::{StateError, StateName};
use crate::keycodec;
use crate::run_buffer::{LayerBuffer, RunBuffer};
use crate::sharded::{Cursor, Keyed, Sharded};
use crate::shared::Shared;

/// What encoding needs to know of a state.
#[derive(Debug)]
pub(crate) struct StateFacts {
    pub(crate) name: StateName,
    pub(crate) id: StateId,
    pub(crate) max: MaxParallelism,
}

/// An entry of a layer that can be written to a run.
pub(crate) trait Encode: Keyed {
    /// Writes what the entry changes. `key` is the encoded key.
    fn encode(
        &self,
        facts: &StateFacts,
        group: KeyGroup,
        key: &[u8],
        out: &mut LayerBuffer<'_>,
    ) -> Result<(), StateError>;
}

/// A layer as the store sees it.
pub(crate) trait SealedLayer: Send + Sync {
    /// Appends all changes.
    fn encode(&self, out: &mut RunBuffer) -> Result<(), StateError>;
}

/// A frozen table of changes.
#[derive(Debug)]
pub(crate) struct Layer<S> {
    pub(crate) table: Sharded<S>,
    pub(crate) facts: Arc<StateFacts>,
}

impl<S: Encode + Send + Sync> SealedLayer for Layer<S> {
    fn encode(&self, out: &mut RunBuffer) -> Result<(), StateError> {
        let facts = &*self.facts;
        let mut out = out.layer(facts.id, self.table.len());
        let mut key = Vec::new();
        for slot in self.table.iter() {
            key.clear();
            keycodec::encode(slot.key(), &mut key)
                .map_err(|source| StateError::EncodeKey { state: facts.name.clone(), source })?;
            let group = key_group(key_hash(&key), facts.max);
            slot.encode(facts, group, &key, &mut out)?;
        }
        Ok(())
    }
}

/// Number of the run that holds a layer; 0 while there is none.
#[derive(Debug, Default)]
pub(crate) struct LayerStatus(AtomicU64);

impl LayerStatus {
    pub(crate) fn sequence(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Says that run `sequence` holds the layer. The caller must have dropped its reference to the layer before.
    pub(crate) fn set_sequence(&self, sequence: u64) {
        self.0.store(sequence, Ordering::Release);
    }
}

/// One sealed layer on its way to the store.
pub(crate) struct SealedPart {
    pub(crate) layer: Arc<dyn SealedLayer>,
    pub(crate) status: Arc<LayerStatus>,
}

/// A table's sealed layers, oldest first.
#[derive(Debug)]
pub(crate) struct Fifo<S> {
    waiting: VecDeque<Waiting<S>>,
    moving: Option<Moving<S>>,
    bytes: usize,
    /// Number of the newest run whose layer was handed over.
    handed: u64,
}

#[derive(Debug)]
struct Waiting<S> {
    layer: Arc<Layer<S>>,
    status: Arc<LayerStatus>,
    bytes: usize,
}

#[derive(Debug)]
struct Moving<S> {
    layer: Layer<S>,
    cursor: Cursor,
    sequence: u64,
    bytes: usize,
}

impl<S> Default for Fifo<S> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), moving: None, bytes: 0, handed: 0 }
    }
}

impl<S> Fifo<S> {
    /// Number of layers.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + usize::from(self.moving.is_some())
    }

    /// Estimated bytes of all layers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of the newest run whose layer was handed over: values in clean may come from it.
    pub(crate) fn handed(&self) -> u64 {
        self.handed
    }

    /// The layers, newest first.
    #[inline]
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &Sharded<S>> {
        let moving = self.moving.iter().map(|moving| &moving.layer.table);
        self.waiting.iter().rev().map(|waiting| &waiting.layer.table).chain(moving)
    }
}

impl<S: Encode + Send + Sync + 'static> Fifo<S> {
    /// The newest entry of `key`.
    #[inline]
    pub(crate) fn find(&self, mixed: u64, key: &S::Key) -> Option<&S> {
        for waiting in self.waiting.iter().rev() {
            if let Some(slot) = waiting.layer.table.find(mixed, key) {
                return Some(slot);
            }
        }
        self.moving.as_ref().and_then(|moving| moving.layer.table.find(mixed, key))
    }

    /// Appends a frozen table; the part goes to the store.
    pub(crate) fn push(&mut self, table: Sharded<S>, facts: &Arc<StateFacts>, bytes: usize) -> SealedPart {
        let layer = Arc::new(Layer { table, facts: Arc::clone(facts) });
        let status = Arc::new(LayerStatus::default());
        self.bytes += bytes;
        self.waiting.push_back(Waiting { layer: Arc::clone(&layer), status: Arc::clone(&status), bytes });
        SealedPart { layer, status }
    }

    /// Passes entries of the oldest layer to `merge`, if it may leave, looking at no more than `buckets` places.
    /// Returns what is left of a layer when it is empty, to be dropped elsewhere.
    pub(crate) fn hand_over(&mut self, shared: &Shared, buckets: usize, merge: impl FnMut(S)) -> HandOver<S> {
        if self.moving.is_none() && !self.begin_move(shared) {
            return HandOver::Idle;
        }
        let Some(moving) = &mut self.moving else { return HandOver::Idle };
        if moving.layer.table.sweep(&mut moving.cursor, buckets, |_| true, merge) {
            return HandOver::Moved;
        }
        self.handed = self.handed.max(moving.sequence);
        self.bytes -= moving.bytes;
        HandOver::Finished(self.moving.take().map(|moving| moving.layer))
    }

    fn begin_move(&mut self, shared: &Shared) -> bool {
        let Some(front) = self.waiting.front() else { return false };
        let sequence = front.status.sequence();
        if !shared.may_hand_over(sequence) || Arc::strong_count(&front.layer) > 1 {
            return false;
        }
        let Some(Waiting { layer, bytes, .. }) = self.waiting.pop_front() else { return false };
        let layer =
            Arc::into_inner(layer).expect("the only other holder dropped its reference before it set the number");
        // From here on clean may hold values of this run.
        self.handed = self.handed.max(sequence);
        self.moving = Some(Moving { layer, cursor: Cursor::default(), sequence, bytes });
        true
    }
}

/// What a slice of a hand-over did.
pub(crate) enum HandOver<S> {
    /// Nothing may be handed over now.
    Idle,
    /// Entries moved; more are left.
    Moved,
    /// The last entries moved; the empty layer is returned for disposal.
    Finished(Option<Layer<S>>),
}
