//! Keyed state: dirty, sealed, clean and RocksDB; runs, bases, timers, memory.
//!
//! The present is in memory, the past in RocksDB. A subtask's [`Backend`] holds one table per declared state. Changes since the
//! last barrier are *dirty*: typed values in hash maps. At a barrier they are *sealed* in O(1) and go to the worker's
//! [`WorkerStore`], which writes them, behind the stream, as one sorted *run*, uploads it and names it in the *chain* that the
//! checkpoint consists of. Written layers move on to *clean*, a cache. As long as everything fits in memory, nothing is read from disk
//! and nothing is written there but runs; RocksDB comes into play when clean has to evict, or after a restore.
//!
//! Reading order of the modules: [`keycodec`] and [`value`] (what is stored), `sharded`, `layers` and `table` (what is in
//! memory), `backend`, then `store` with its ledger (what happens behind the stream).

pub mod keycodec;
pub mod value;

mod backend;
mod config;
mod descriptor;
mod error;
mod key;
mod layers;
mod ordmap;
mod past;
mod rocks;
mod run_buffer;
mod schema;
mod sharded;
mod shared;
mod sst;
mod store;
mod table;

pub use backend::{Backend, MAX_SEALED_LAYERS, SealedSubtask};
pub use config::{BackendKind, Defects, MemoryBudget, RestoreChain, RocksTuning, StoreConfig};
pub use descriptor::{BroadcastHandle, ListHandle, MapHandle, StateDescriptor, TimerHandle, Ttl, ValueHandle};
pub use error::{StateError, StateName, ValueCodecError};
pub use key::{Key, hash_key, try_hash_key};
pub use shared::Squeeze;
pub use store::{Done, EpochResult, StoreStats, WorkerStore};
pub use table::broadcast::BroadcastTable;
pub use table::list::ListTable;
pub use table::map::{MapTable, UserKeyBounds};
pub use table::timer::TimerTable;
pub use table::value::{Fetch, ValueTable};
pub use value::Value;

/// RocksDB options as the store uses them, for benchmarks that compare it with a loop of their own.
#[doc(hidden)]
pub fn bench_options(tuning: &RocksTuning) -> rocksdb::Options {
    rocks::database_options(tuning, None)
}
