//! The table of all metrics: one place for names, labels and help, from which they are registered and documented.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Seconds, in buckets.
    Histogram,
    /// Only grows.
    Counter,
    /// A whole number.
    Gauge,
    /// A gauge in seconds.
    Seconds,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Histogram => "histogram",
            Self::Counter => "counter",
            Self::Gauge | Self::Seconds => "gauge",
        }
    }
}

/// Names a metric within this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    CheckpointDuration,
    CheckpointBytes,
    CheckpointUploaded,
    CheckpointLastCompleted,
    CheckpointAge,
    CheckpointsRetained,
    CheckpointsCompleted,
    CheckpointsFailed,
    CheckpointTicksSkipped,
    Restarts,
    Generation,
    StorageFailures,
    ManifestsWithdrawn,
    RecordsIn,
    RecordsOut,
    BytesIn,
    RecordsLate,
    RecordsDead,
    WatermarkLag,
    SubtaskTime,
    StateBytes,
    ChainFiles,
    QueueBytes,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricInfo {
    pub(crate) id: Name,
    /// Its name.
    pub name: &'static str,
    pub(crate) kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const fn metric(
    id: Name,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> MetricInfo {
    MetricInfo { id, name, kind, labels, help }
}

const OPERATOR: &[&str] = &["operator", "subtask"];

/// All metrics of a run.
#[rustfmt::skip]
pub const METRICS: &[MetricInfo] = &[
    metric(Name::CheckpointDuration, "weir_checkpoint_duration_seconds", Kind::Histogram, &["phase"],
        "Duration of checkpoints by phase: per subtask alignment, sync, async, upload (part of async); per checkpoint publish (last part durable to journal entry) and total"),
    metric(Name::CheckpointBytes, "weir_checkpoint_bytes", Kind::Gauge, &["kind"],
        "Bytes of the last completed checkpoint: full (all objects it names) or incremental (uploaded for it)"),
    metric(Name::CheckpointUploaded, "weir_checkpoint_uploaded_bytes_total", Kind::Counter, &[],
        "Bytes uploaded for completed checkpoints, bases included"),
    metric(Name::CheckpointLastCompleted, "weir_checkpoint_last_completed_timestamp_seconds", Kind::Seconds, &[],
        "When the last part of the newest completed checkpoint was durable, Unix time"),
    metric(Name::CheckpointAge, "weir_checkpoint_age_seconds", Kind::Seconds, &[],
        "Age of the newest completed checkpoint"),
    metric(Name::CheckpointsRetained, "weir_checkpoints_retained", Kind::Gauge, &[],
        "Completed checkpoints that are kept"),
    metric(Name::CheckpointsCompleted, "weir_checkpoints_completed_total", Kind::Counter, &[],
        "Checkpoints completed by this process"),
    metric(Name::CheckpointsFailed, "weir_checkpoints_failed_total", Kind::Counter, &["reason"],
        "Checkpoints aborted by this process: timeout, declined, inconsistent, storage (does not count against tolerableFailures)"),
    metric(Name::CheckpointTicksSkipped, "weir_checkpoint_ticks_skipped", Kind::Gauge, &[],
        "Periodic triggers since the start of the process that found a checkpoint under way or the pause after one"),
    metric(Name::Restarts, "weir_restarts_total", Kind::Counter, &["reason"],
        "Restarts of the job within this process: user_code, connector, state, cancelled (a subtask's neighbour went away), checkpoints (too many failed in a row), deployment (anything else)"),
    metric(Name::Generation, "weir_generation", Kind::Gauge, &[],
        "The reigning generation; grows with every deployment"),
    metric(Name::StorageFailures, "weir_storage_call_failures_total", Kind::Counter, &[],
        "Calls to the object store that failed and were repeated"),
    metric(Name::ManifestsWithdrawn, "weir_checkpoint_manifests_withdrawn_total", Kind::Counter, &[],
        "Manifests that were not written at once, because the process had stood still since they were decided on; many mean that it is short of CPU"),
    metric(Name::RecordsIn, "weir_operator_records_in_total", Kind::Counter, OPERATOR,
        "Records taken in"),
    metric(Name::RecordsOut, "weir_operator_records_out_total", Kind::Counter, OPERATOR,
        "Records passed on, side outputs included"),
    metric(Name::BytesIn, "weir_operator_bytes_in_total", Kind::Counter, OPERATOR,
        "Bytes taken in by sources, estimated from samples"),
    metric(Name::RecordsLate, "weir_operator_records_late_total", Kind::Counter, OPERATOR,
        "Records behind the watermark, dropped or sent to the late side output"),
    metric(Name::RecordsDead, "weir_operator_dead_letters_total", Kind::Counter, OPERATOR,
        "Records that user code refused and that went to the dead-letter output"),
    metric(Name::WatermarkLag, "weir_operator_watermark_lag_seconds", Kind::Seconds, OPERATOR,
        "Time from the operator's watermark to now; absent without event time and after the end of a bounded input"),
    metric(Name::SubtaskTime, "weir_subtask_time_milliseconds_total", Kind::Counter, &["operator", "subtask", "state"],
        "Where a subtask's time goes: busy, idle, backpressured, aligning; the operator is the head of its chain"),
    metric(Name::StateBytes, "weir_state_bytes", Kind::Gauge, &["layer"],
        "Keyed state: write (dirty and sealed), clean (cache), pinned (timers, broadcast state), past (local database, estimated), chain (objects of the newest chain)"),
    metric(Name::ChainFiles, "weir_state_chain_files", Kind::Gauge, &[],
        "Runs and bases in the newest chain"),
    metric(Name::QueueBytes, "weir_queue_bytes", Kind::Gauge, &["queue"],
        "Bytes that wait: upload (written, not in the object store yet), compaction (of the local database, estimated)"),
];

/// The table as Markdown, for the reference.
pub fn markdown_table() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for MetricInfo { id: _, name, kind, labels, help } in METRICS {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        table.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.name()));
    }
    table
}
