//! How a store is set up.

use std::path::PathBuf;
use std::sync::Arc;

use weir_protocol::{CheckpointId, Generation, MaxParallelism, RunRef, StateInfo, WorkerIndex};
use weir_storage::ObjectStore;

/// Where state lives that does not fit in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendKind {
    /// In RocksDB; memory is a cache.
    RocksDb,
    /// Nowhere: all state stays in memory.
    Memory,
}

/// Bytes a store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Changes and the cache together. Changes come first: the cache has what they leave.
    pub total: usize,
    /// Changes since the last barrier, and sealed ones that are being written, at most.
    pub write: usize,
    /// Changes that are encoded and wait for the disk, base building, RocksDB's own tables. Beyond it they count as changes.
    pub builders: usize,
}

impl MemoryBudget {
    /// Splits one number: an eighth for builders, an eighth of the rest for the cache whatever happens.
    ///
    /// Changes have precedence because a key that was changed is found among the changes, as in the cache; and the more of them are
    /// written together, the less compaction costs.
    pub fn split(bytes: usize) -> Self {
        let total = bytes / 8 * 7;
        Self { total, write: total / 8 * 7, builders: bytes / 8 }
    }
}

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::split(512 << 20)
    }
}

/// How RocksDB and its files are laid out. The defaults are starting values; the benchmark `state_layout` varies them, and
/// `docs/adr/0001-state-layout.md` says what has been measured so far.
#[derive(Debug, Clone, PartialEq)]
pub struct RocksTuning {
    /// Bytes of a data block.
    pub block_bytes: usize,
    /// Bits of filter per key.
    pub filter_bits: f64,
    /// Ribbon instead of Bloom filters: a third smaller, dearer to build and to ask.
    pub ribbon: bool,
    /// A hash index inside each data block.
    pub hash_index: bool,
    /// Reads through `mmap` instead of `pread`.
    pub mmap: bool,
    /// LZ4 instead of no compression.
    pub compress: bool,
    /// Bytes of a block cache; 0 for none, the page cache then being the only one.
    pub block_cache: usize,
    /// Universal instead of levelled compaction.
    pub universal: bool,
    /// Files in level 0 at which compaction begins.
    pub level0_files: i32,
    /// Bytes of level 1.
    pub level_base: u64,
    /// Bytes of a file that compaction writes.
    pub file_bytes: u64,
    /// Threads for compaction.
    pub threads: i32,
}

impl Default for RocksTuning {
    fn default() -> Self {
        Self {
            block_bytes: 4096,
            filter_bits: 10.0,
            ribbon: false,
            hash_index: true,
            mmap: true,
            compress: false,
            block_cache: 0,
            universal: false,
            level0_files: 10,
            level_base: 256 << 20,
            file_bytes: 64 << 20,
            threads: 2,
        }
    }
}

impl RocksTuning {
    /// For a store with so many bytes of memory: what compaction holds of a file while it writes it, like the hashes of all its keys for
    /// the filter, must fit.
    pub fn for_memory(memory: usize) -> Self {
        let file_bytes = (memory as u64 / 8).clamp(4 << 20, 64 << 20);
        Self { file_bytes, ..Self::default() }
    }
}

/// Defects that tests plant to see that they would be found. All off in production.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// Values in clean survive the hand-over of a newer one.
    pub clean_survives_hand_over: bool,
    /// A base is cut from all runs there are instead of those of its acknowledged epoch.
    pub base_from_live_state: bool,
    /// The last key group of a range is taken for foreign: `<` for `<=`.
    pub range_end_off_by_one: bool,
}

/// How a worker's store is set up.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The worker's own directory on its local disk. One process at a time; removed files cost only time.
    pub dir: PathBuf,
    /// The backend.
    pub backend: BackendKind,
    /// Bytes of memory.
    pub memory: MemoryBudget,
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// Who writes.
    pub worker: WorkerIndex,
    /// In which generation.
    pub generation: Generation,
    /// The object store, rooted at the job's prefix.
    pub objects: Arc<dyn ObjectStore>,
    /// Where uploads and downloads run; must have time and I/O drivers and more than the calling thread.
    pub runtime: tokio::runtime::Handle,
    /// A base is written when the runs are this many times as large as the live state. What is uploaded per byte that changes grows
    /// with `1 + 1 / factor`, what lies in the bucket with `1 + factor + 1 / base_parts`.
    pub base_factor: f64,
    /// The key groups are divided into so many parts, each with a base of its own.
    pub base_parts: usize,
    /// Parts are rewritten together, as one base, while they hold fewer bytes of live state than this.
    pub base_part_bytes: u64,
    /// A base is written when there are more runs than this.
    pub base_max_runs: usize,
    /// Runs that outweigh this are never fewer than a base; below it bases wait.
    pub base_min_bytes: u64,
    /// Files of runs and bases are cut at about this size.
    pub max_file_bytes: u64,
    /// Bytes of runs that may wait for upload on disk before sources are paused.
    pub max_pending_bytes: u64,
    /// Local files of a restored chain are verified before they are used, if they hold no more bytes than this.
    pub verify_bytes: u64,
    /// Layout of RocksDB.
    pub tuning: RocksTuning,
    /// Planted defects.
    pub defects: Defects,
}

impl StoreConfig {
    /// Defaults for everything but place and identity.
    pub fn new(
        dir: impl Into<PathBuf>,
        objects: Arc<dyn ObjectStore>,
        runtime: tokio::runtime::Handle,
        max_parallelism: MaxParallelism,
        generation: Generation,
    ) -> Self {
        Self {
            dir: dir.into(),
            backend: BackendKind::RocksDb,
            memory: MemoryBudget::default(),
            max_parallelism,
            worker: WorkerIndex(0),
            generation,
            objects,
            runtime,
            base_factor: 2.25,
            base_parts: 4,
            base_part_bytes: 4 << 20,
            base_max_runs: 256,
            base_min_bytes: 1 << 20,
            max_file_bytes: 256 << 20,
            max_pending_bytes: 4 << 30,
            verify_bytes: 1 << 30,
            tuning: RocksTuning::default(),
            defects: Defects::default(),
        }
    }
}

/// What to restore: the state part of a manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RestoreChain {
    /// The states declared when the checkpoint was taken.
    pub states: Vec<StateInfo>,
    /// The files, in epoch order.
    pub chain: Vec<RunRef>,
    /// The checkpoint.
    pub epoch: CheckpointId,
}
