//! CPU time, wall time and memory of this process.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What one leg measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Records processed.
    pub records: u64,
    /// Seconds of wall time.
    pub wall_s: f64,
    /// Seconds of CPU time of all threads.
    pub cpu_s: f64,
    /// Peak resident set in MiB.
    pub peak_rss_mib: f64,
    /// Checksum of the output.
    pub checksum: u64,
    /// What else the leg has to say.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Measured {
    /// Records per second of CPU time.
    pub fn per_cpu_second(&self) -> f64 {
        self.records as f64 / self.cpu_s
    }
}

/// A measurement under way.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    wall: Instant,
    cpu: f64,
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

impl Meter {
    /// Begins to measure.
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Ends the measurement.
    pub fn stop(self, records: u64, checksum: u64) -> Measured {
        let (wall_s, cpu_s) = (self.wall.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        Measured { records, wall_s, cpu_s, peak_rss_mib: peak_rss_mib(), checksum, more: serde_json::Map::new() }
    }
}

/// Peak resident set of this process in MiB.
pub fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().trim_end_matches("kB").trim().parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
