//! What a worker's store and the backends of its subtasks have in common: counters, switches and the past. Read on the record
//! path without locks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use weir_protocol::MaxParallelism;

use crate::config::{Defects, MemoryBudget};
use crate::past::Past;

/// Changes that take fewer bytes than this are not worth waiting for.
const LEAST_WRITES: usize = 1 << 20;

/// How much of its budgets a store may use, because budgets go by estimates and the process by what it really takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze {
    /// Of the budget for changes, in permille.
    pub write: u32,
    /// Of the budget for the cache, in permille.
    pub clean: u32,
    /// True while no subtask may read that could give memory back.
    pub full: bool,
}

impl Squeeze {
    /// The budgets as they are.
    pub const NONE: Self = Self { write: 1000, clean: 1000, full: false };
}

/// State shared by a store and its backends.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) max: MaxParallelism,
    pub(crate) budget: MemoryBudget,
    pub(crate) defects: Defects,
    /// True if values may leave memory, because RocksDB can hold them.
    pub(crate) evicts: bool,
    /// Bytes of dirty and sealed layers of all backends.
    pub(crate) write_bytes: AtomicUsize,
    /// Bytes of encoded changes on their way to the disk and into RocksDB.
    pub(crate) encoded_bytes: AtomicUsize,
    /// Bytes of the clean caches of all backends.
    pub(crate) clean_bytes: AtomicUsize,
    /// Bytes of timers and broadcast state, which always stay in memory.
    pub(crate) pinned_bytes: AtomicUsize,
    /// Number of backends, for fair shares.
    pub(crate) backends: AtomicUsize,
    /// True once every run is ingested as soon as it is built. Until then everything is in memory and nothing is ingested.
    pub(crate) ingesting: AtomicBool,
    /// Asks the store to begin ingesting.
    pub(crate) wants_ingest: AtomicBool,
    /// All runs up to this number are in the past.
    pub(crate) ingested: AtomicU64,
    /// What the process leaves of the budgets, see [`Squeeze`].
    pub(crate) squeezed_write: AtomicU32,
    pub(crate) squeezed_clean: AtomicU32,
    /// True while the process has no memory left: who can give some back reads no more until then.
    pub(crate) full: AtomicBool,
    /// True while a bound outside memory is reached, like unsent runs on disk.
    pub(crate) blocked: AtomicBool,
    /// The latest time any backend was told, milliseconds since the Unix epoch.
    pub(crate) clock: Arc<AtomicI64>,
    past: OnceLock<Arc<dyn Past>>,
}

impl Shared {
    pub(crate) fn new(max: MaxParallelism, budget: MemoryBudget, evicts: bool, defects: Defects) -> Self {
        Self {
            max,
            budget,
            defects,
            evicts,
            write_bytes: AtomicUsize::new(0),
            encoded_bytes: AtomicUsize::new(0),
            clean_bytes: AtomicUsize::new(0),
            pinned_bytes: AtomicUsize::new(0),
            backends: AtomicUsize::new(0),
            ingesting: AtomicBool::new(false),
            wants_ingest: AtomicBool::new(false),
            ingested: AtomicU64::new(0),
            squeezed_write: AtomicU32::new(Squeeze::NONE.write),
            squeezed_clean: AtomicU32::new(Squeeze::NONE.clean),
            full: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            clock: Arc::new(AtomicI64::new(i64::MIN)),
            past: OnceLock::new(),
        }
    }

    /// The past that misses are read from.
    pub(crate) fn past(&self) -> Option<&Arc<dyn Past>> {
        self.past.get()
    }

    /// Sets the past; the first one stays.
    pub(crate) fn set_past(&self, past: Arc<dyn Past>) {
        let _ = self.past.set(past);
    }

    /// True if a layer written as run `sequence` may move to clean. Once clean evicts, the run must be in the past; before that,
    /// clean must have room, because it cannot shrink yet.
    pub(crate) fn may_hand_over(&self, sequence: u64) -> bool {
        if sequence == 0 {
            return false;
        }
        if self.ingesting.load(Ordering::Acquire) { self.is_ingested(sequence) } else { !self.clean_is_over() }
    }

    /// True if run `sequence` and all before it can be read from the past.
    pub(crate) fn is_ingested(&self, sequence: u64) -> bool {
        self.ingested.load(Ordering::Acquire) >= sequence
    }

    /// True if values of runs up to `handed` may leave clean; asks the store to begin ingesting if that has not begun.
    pub(crate) fn may_evict(&self, handed: u64) -> bool {
        if !self.ingesting.load(Ordering::Acquire) {
            self.wants_ingest.store(true, Ordering::Relaxed);
            return false;
        }
        self.is_ingested(handed)
    }

    /// True while changes and what they are encoded to fill their budget.
    pub(crate) fn writes_are_over(&self) -> bool {
        let encoded = self.encoded_bytes.load(Ordering::Relaxed);
        let beyond = encoded.saturating_sub(self.budget.builders);
        let writes = self.write_bytes.load(Ordering::Relaxed) + beyond;
        writes > self.write_budget() || writes > LEAST_WRITES && self.full.load(Ordering::Relaxed)
    }

    /// Bytes that changes may take now.
    pub(crate) fn write_budget(&self) -> usize {
        of(self.budget.write, &self.squeezed_write)
    }

    /// Bytes that the cache may take now: what changes leave.
    fn clean_budget(&self) -> usize {
        let MemoryBudget { total, write, .. } = self.budget;
        let changes = self.write_bytes.load(Ordering::Relaxed).min(write);
        of(total.saturating_sub(changes), &self.squeezed_clean)
    }

    pub(crate) fn squeeze(&self, squeeze: Squeeze) {
        self.squeezed_write.store(squeeze.write, Ordering::Relaxed);
        self.squeezed_clean.store(squeeze.clean, Ordering::Relaxed);
        self.full.store(squeeze.full, Ordering::Relaxed);
    }

    /// True while clean holds more than its share and may shrink.
    pub(crate) fn clean_is_over(&self) -> bool {
        self.evicts && self.clean_bytes.load(Ordering::Relaxed) > self.clean_budget()
    }
}

fn of(bytes: usize, permille: &AtomicU32) -> usize {
    bytes / 1000 * permille.load(Ordering::Relaxed) as usize
}

/// A byte count that is published to a shared total.
#[derive(Debug, Default)]
pub(crate) struct Published(usize);

impl Published {
    /// What this contributes.
    pub(crate) fn bytes(&self) -> usize {
        self.0
    }

    /// Sets this contribution to `total`.
    #[inline]
    pub(crate) fn set(&mut self, total: &AtomicUsize, bytes: usize) {
        if bytes > self.0 {
            total.fetch_add(bytes - self.0, Ordering::Relaxed);
        } else if bytes < self.0 {
            total.fetch_sub(self.0 - bytes, Ordering::Relaxed);
        }
        self.0 = bytes;
    }
}
