//! What Linux says of this process: CPU time, memory, age.

use std::fs;

/// Ticks per second in `/proc`: part of Linux's interface on every architecture Weir runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds of the process so far, user and system, ended threads included; 0 if it cannot be told.
pub(crate) fn cpu_seconds() -> f64 {
    let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return 0.0 };
    cpu_ticks(&stat).map_or(0.0, |ticks| ticks as f64 / TICKS_PER_SECOND)
}

/// `utime` and `stime` of a `/proc/<pid>/stat`. The command before them may contain anything, hence the last bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(field(14)? + field(15)?)
}

/// The most memory that was resident, in bytes; 0 if it cannot be told.
pub(crate) fn peak_rss() -> u64 {
    status_bytes("VmHWM:")
}

/// The memory that is resident now, in bytes; 0 if it cannot be told.
pub(crate) fn rss() -> u64 {
    status_bytes("VmRSS:")
}

fn status_bytes(name: &str) -> u64 {
    fs::read_to_string("/proc/self/status").ok().and_then(|status| field_bytes(&status, name)).unwrap_or(0)
}

fn field_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_any_command() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 50 13 14";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (weir"), None);
        assert_eq!(field_bytes("Name:\tweir\nVmHWM:\t    1234 kB\n", "VmHWM:"), Some(1234 * 1024));
    }

    #[test]
    fn this_process_has_memory() {
        // The kernel keeps the two apart by some pages per thread, so they are not compared with each other.
        assert!(rss() > 1 << 20);
        assert!(peak_rss() > 1 << 20);
    }
}
