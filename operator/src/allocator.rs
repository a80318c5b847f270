//! The allocator of the process: jemalloc, which gives freed memory back. Lists of a thousand jobs are read at once and
//! kept in small pieces; with the system's allocator the pages in between stayed with the process.

use tikv_jemalloc_ctl::{Access, AsName};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long freed memory is kept for the next use before it goes back to the system, in milliseconds.
const DIRTY_DECAY_MS: isize = 500;

/// Lets freed memory go back to the system without waiting for the next allocation. To be called before there are other
/// threads. What cannot be set stays as it is: a user may bring a configuration in `MALLOC_CONF`.
pub fn configure() {
    if std::env::var_os("MALLOC_CONF").is_some() {
        return;
    }
    let _ = tikv_jemalloc_ctl::background_thread::write(true);
    for name in ["arenas.muzzy_decay_ms\0", "arena.0.muzzy_decay_ms\0"] {
        let _ = name.as_bytes().name().write(0_isize);
    }
    for name in ["arenas.dirty_decay_ms\0", "arena.0.dirty_decay_ms\0"] {
        let _ = name.as_bytes().name().write(DIRTY_DECAY_MS);
    }
}

/// Has the calling thread share the arena of all others and keep no freed memory of its own: there is little to contend for,
/// and what each thread keeps is a tenth of what a thousand jobs need.
pub fn share() {
    if std::env::var_os("MALLOC_CONF").is_none() {
        let _ = b"thread.arena\0".name().write(0_u32);
        let _ = b"thread.tcache.enabled\0".name().write(false);
    }
}
