//! The allocator of the process: jemalloc, also for RocksDB.

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
    let _ = b"arenas.dirty_decay_ms\0".name().write(DIRTY_DECAY_MS);
    let _ = b"arenas.muzzy_decay_ms\0".name().write(0_isize);
    // Arena 0 exists already; later ones take the defaults above.
    let _ = b"arena.0.dirty_decay_ms\0".name().write(DIRTY_DECAY_MS);
}

/// The program brings its own allocator.
#[cfg(not(feature = "jemalloc"))]
pub(crate) fn configure() {}
