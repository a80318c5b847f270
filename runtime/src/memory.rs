//! The allocator of the process: jemalloc, also for RocksDB.

use weir_cluster::ProcessMemory;

#[cfg(feature = "jemalloc")]
use tikv_jemalloc_ctl::{Access, AsName};

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long freed memory is kept for the next use before it goes back to the system, in milliseconds.
#[cfg(feature = "jemalloc")]
const DIRTY_DECAY_MS: isize = 3_000;

/// Lets freed memory go back to the system without waiting for the next allocation. What cannot be set stays as it is:
/// a user may bring a configuration in `MALLOC_CONF`.
#[cfg(feature = "jemalloc")]
pub(crate) fn configure() {
    if std::env::var_os("MALLOC_CONF").is_some() {
        return;
    }
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    let _ = b"arenas.muzzy_decay_ms\0".name().write(0_isize);
    set_decay(DIRTY_DECAY_MS);
}

/// Sets the decay of arenas there are and of those to come.
#[cfg(feature = "jemalloc")]
fn set_decay(millis: isize) {
    let _ = b"arenas.dirty_decay_ms\0".name().write(millis);
    let arenas = tikv_jemalloc_ctl::arenas::narenas::read().unwrap_or(0);
    for arena in 0..arenas {
        let _ = format!("arena.{arena}.dirty_decay_ms\0").as_bytes().name().write(millis);
    }
}

/// The program brings its own allocator.
#[cfg(not(feature = "jemalloc"))]
pub(crate) fn configure() {}

/// The memory of this process, whose allocator is this crate's unless the program brings its own: what a program hands
/// over that runs jobs by `weir_cluster` itself, so that `worker.memory` is kept.
#[derive(Debug, Clone, Copy)]
pub struct OwnMemory;

impl ProcessMemory for OwnMemory {
    #[cfg(feature = "jemalloc")]
    fn give_back(&self, at_once: bool) {
        set_decay(if at_once { 0 } else { DIRTY_DECAY_MS });
    }

    #[cfg(not(feature = "jemalloc"))]
    fn give_back(&self, _at_once: bool) {}
}
