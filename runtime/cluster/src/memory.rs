//! What the process takes of the machine's memory.

use std::fs;

/// A process's memory and its allocator.
pub trait ProcessMemory: Send + Sync {
    /// Bytes that the process holds and that the system cannot take back; `None` where this cannot be told.
    fn used(&self) -> Option<u64> {
        anonymous_bytes()
    }

    /// True: what is freed goes back to the system at once. False: it may be kept for a while for the next use.
    fn give_back(&self, at_once: bool);
}

/// Resident bytes that no file backs. Pages of mapped files are not among them: the system takes them back when it likes.
fn anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

/// A process whose allocator is left as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainMemory;

impl ProcessMemory for PlainMemory {
    fn give_back(&self, _at_once: bool) {}
}
