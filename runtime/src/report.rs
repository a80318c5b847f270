//! What `weir run --report FILE` writes: a run in one JSON document.
//!
//! Counters are of the whole run, over all restarts. Points in time are milliseconds since the Unix epoch.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The version of [`Report`]'s form. Fields are only ever added.
pub const FORMAT: u32 = 1;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ending {
    /// The input ended and all output is committed.
    Finished,
    /// Stopped on request, with a final checkpoint.
    Stopped,
    /// There was nothing to run: the journal says that the job is over.
    Settled,
    /// Given up.
    Failed,
    /// Another process took the job over.
    Fenced,
    /// Ended at once, without a final checkpoint.
    Interrupted,
}

/// A run in one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Version of this form.
    pub format: u32,
    /// Version of Weir.
    pub version: String,
    /// The job's name.
    pub name: String,
    /// Its graph.
    pub job: String,
    /// Where the job keeps its state.
    pub storage: String,
    /// Subtasks of each operator.
    pub parallelism: u32,
    /// How the run ended.
    pub outcome: Ending,
    /// Why, if it failed: all causes in one line.
    pub error: Option<String>,
    /// The job's id; empty if it never claimed its journal.
    pub job_id: String,
    /// The last generation of this run.
    pub generation: u64,
    /// The checkpoint that the run began with.
    pub restored_from: Option<u64>,
    /// When the process started.
    pub started_at: i64,
    /// When the run ended.
    pub ended_at: i64,
    /// Between the two, in seconds.
    pub wall_seconds: f64,
    /// CPU time of the process, in seconds: user and system.
    pub cpu_seconds: f64,
    /// Most memory that was resident, in bytes.
    pub peak_rss_bytes: u64,
    /// Records that sources delivered.
    pub records_in: u64,
    /// Records that sinks took.
    pub records_out: u64,
    /// Every operator.
    pub operators: BTreeMap<String, OperatorReport>,
    /// Checkpoints of this run.
    pub checkpoints: CheckpointsReport,
    /// Restarts of this run, oldest first.
    pub restarts: Vec<RestartReport>,
    /// How the counters grew; neighbours are merged in long runs.
    pub samples: Vec<Sample>,
}

/// An operator's counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorReport {
    /// Records taken in.
    pub records_in: u64,
    /// Records passed on.
    pub records_out: u64,
    /// Bytes taken in, estimated.
    pub bytes_in: u64,
    /// Records too late for their windows.
    pub late: u64,
    /// Records that went to the dead letters.
    pub dead: u64,
    /// Its watermark, in milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
}

/// Checkpoints of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointsReport {
    /// How many completed.
    pub completed: u64,
    /// How many failed.
    pub failed: u64,
    /// How many failed, by reason.
    pub failed_by_reason: BTreeMap<String, u64>,
    /// The completed ones, oldest first; in long runs the newest [`MOST_CHECKPOINTS`].
    pub taken: Vec<TakenCheckpoint>,
}

/// A completed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TakenCheckpoint {
    /// Its id.
    pub id: u64,
    /// When it was complete.
    pub completed_at: i64,
    /// Milliseconds from its trigger.
    pub duration_ms: u64,
    /// Bytes of all objects it names.
    pub bytes_full: u64,
    /// Bytes uploaded for it.
    pub bytes_incremental: u64,
}

/// A restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartReport {
    /// When.
    pub at: i64,
    /// Why.
    pub reason: String,
    /// The operator that failed.
    pub operator: Option<String>,
    /// The checkpoint that was restored.
    pub restored: Option<u64>,
    /// How long it was waited before, in milliseconds.
    pub delay_ms: u64,
}

/// Records of one stretch of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    /// When it begins.
    pub from: i64,
    /// When it ends.
    pub to: i64,
    /// Records that sources delivered.
    pub records_in: u64,
    /// Records that sinks took.
    pub records_out: u64,
}

/// Completed checkpoints that a report lists.
pub const MOST_CHECKPOINTS: usize = 10_000;

impl Report {
    /// Writes the report, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        std::fs::write(&temporary, text)?;
        std::fs::rename(&temporary, path).inspect_err(|_| _ = std::fs::remove_file(&temporary))
    }
}
