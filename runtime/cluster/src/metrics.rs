//! What Prometheus sees of a run. The table of all metrics is [`names::METRICS`]; `docs/reference/metrics.md` is made from it.
//!
//! Label sets are closed: reasons, phases and layers are fixed lists, operators and subtasks come from the graph. Counters
//! of operators are kept by the workers; here only their growth is added, so that a redeployment never makes one fall.

mod names;

use std::collections::BTreeMap;

use parking_lot::Mutex;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};
use weir_protocol::coordinator::AbortCause;
use weir_protocol::journal::CheckpointEntry;
use weir_protocol::{Generation, Millis, SubtaskTimeline};

use crate::message::WorkerSample;
use names::{Kind, Name};
pub use names::{METRICS, MetricInfo, markdown_table};

/// Reasons of `weir_checkpoints_failed_total`: the names of [`AbortCause`].
const FAILED_CHECKPOINTS: [&str; 4] = ["timeout", "declined", "storage", "inconsistent"];
/// Reasons of `weir_restarts_total`: the kinds of failure, and what the coordinator finds by itself.
const RESTARTS: [&str; 6] = ["user_code", "connector", "state", "cancelled", "checkpoints", "deployment"];

/// Upper bounds of checkpoint phases, in seconds: half a millisecond to two minutes.
fn duration_buckets() -> Vec<f64> {
    prometheus::exponential_buckets(0.0005, 2.0, 18).expect("the arguments are constants")
}

/// All metrics of one run.
pub(crate) struct Metrics {
    histograms: BTreeMap<Name, HistogramVec>,
    counters: BTreeMap<Name, IntCounterVec>,
    gauges: BTreeMap<Name, IntGaugeVec>,
    seconds: BTreeMap<Name, GaugeVec>,
    /// The newest sample, of which counters already have their share.
    counted: Mutex<WorkerSample>,
}

impl Metrics {
    /// Registers every metric.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let mut metrics = Self {
            histograms: BTreeMap::new(),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            seconds: BTreeMap::new(),
            counted: Mutex::default(),
        };
        for MetricInfo { id, name, kind, labels, help } in METRICS {
            match kind {
                Kind::Histogram => {
                    let opts = HistogramOpts::new(*name, *help).buckets(duration_buckets());
                    let family = HistogramVec::new(opts, labels)?;
                    registry.register(Box::new(family.clone()))?;
                    metrics.histograms.insert(*id, family);
                }
                Kind::Counter => {
                    let family = IntCounterVec::new(Opts::new(*name, *help), labels)?;
                    registry.register(Box::new(family.clone()))?;
                    metrics.counters.insert(*id, family);
                }
                Kind::Gauge => {
                    let family = IntGaugeVec::new(Opts::new(*name, *help), labels)?;
                    registry.register(Box::new(family.clone()))?;
                    metrics.gauges.insert(*id, family);
                }
                Kind::Seconds => {
                    let family = GaugeVec::new(Opts::new(*name, *help), labels)?;
                    registry.register(Box::new(family.clone()))?;
                    metrics.seconds.insert(*id, family);
                }
            }
        }
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// Counters of closed label sets are there before they count: what appears with its first event has not grown for Prometheus, and an
    /// alert on its growth would miss that event.
    fn begin_at_zero(&self) {
        for name in
            [Name::CheckpointsCompleted, Name::CheckpointUploaded, Name::StorageFailures, Name::ManifestsWithdrawn]
        {
            self.count(name, &[], 0);
        }
        for reason in FAILED_CHECKPOINTS {
            self.count(Name::CheckpointsFailed, &[reason], 0);
        }
        for reason in RESTARTS {
            self.count(Name::Restarts, &[reason], 0);
        }
    }

    fn count(&self, name: Name, labels: &[&str], by: u64) {
        if let Some(family) = self.counters.get(&name) {
            family.with_label_values(labels).inc_by(by);
        }
    }

    fn set(&self, name: Name, labels: &[&str], value: u64) {
        if let Some(family) = self.gauges.get(&name) {
            family.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }

    fn set_seconds(&self, name: Name, labels: &[&str], value: f64) {
        if let Some(family) = self.seconds.get(&name) {
            family.with_label_values(labels).set(value);
        }
    }

    fn observe(&self, name: Name, labels: &[&str], seconds: f64) {
        if let Some(family) = self.histograms.get(&name) {
            family.with_label_values(labels).observe(seconds);
        }
    }

    /// The phases of a checkpoint in one subtask.
    pub(crate) fn observe_timeline(&self, timeline: &SubtaskTimeline) {
        let seconds = |us: u64| us as f64 / 1e6;
        let phases = [
            ("alignment", timeline.alignment_us()),
            ("sync", timeline.sync_us),
            ("async", timeline.async_us),
            ("upload", timeline.upload_us),
        ];
        for (phase, us) in phases {
            self.observe(Name::CheckpointDuration, &[phase], seconds(us));
        }
    }

    /// A checkpoint's journal entry counts.
    pub(crate) fn observe_completed(&self, entry: &CheckpointEntry, retained: usize, now: Millis) {
        let seconds = |ms: u64| ms as f64 / 1e3;
        self.observe(Name::CheckpointDuration, &["publish"], seconds(now.since(entry.completed_at)));
        self.observe(Name::CheckpointDuration, &["total"], seconds(now.since(entry.triggered_at)));
        self.count(Name::CheckpointsCompleted, &[], 1);
        self.count(Name::CheckpointUploaded, &[], entry.bytes_incremental);
        self.set(Name::CheckpointBytes, &["full"], entry.bytes_full);
        self.set(Name::CheckpointBytes, &["incremental"], entry.bytes_incremental);
        self.set(Name::CheckpointsRetained, &[], retained as u64);
        self.set_seconds(Name::CheckpointLastCompleted, &[], entry.completed_at.0 as f64 / 1e3);
    }

    /// A checkpoint was given up.
    pub(crate) fn count_abort(&self, cause: &AbortCause) {
        self.count(Name::CheckpointsFailed, &[cause.name()], 1);
    }

    /// The job restarts.
    pub(crate) fn count_restart(&self, reason: &str) {
        self.count(Name::Restarts, &[reason], 1);
    }

    /// A storage call failed and is repeated.
    pub(crate) fn count_storage_trouble(&self) {
        self.count(Name::StorageFailures, &[], 1);
    }

    /// A manifest was not sent.
    pub(crate) fn count_withdrawn(&self) {
        self.count(Name::ManifestsWithdrawn, &[], 1);
    }

    /// A claim counts.
    pub(crate) fn note_generation(&self, generation: Generation) {
        self.set(Name::Generation, &[], generation.0);
    }

    /// What only grows slowly or by time.
    pub(crate) fn note_coordinator(&self, skipped: u64, last_completed: Option<Millis>, now: Millis) {
        self.set(Name::CheckpointTicksSkipped, &[], skipped);
        if let Some(last) = last_completed {
            self.set_seconds(Name::CheckpointAge, &[], now.since(last) as f64 / 1e3);
        }
    }

    /// A worker's sample.
    pub(crate) fn observe_sample(&self, sample: &WorkerSample, now: Millis) {
        let mut counted = self.counted.lock();
        if sample.generation < counted.generation {
            return;
        }
        if sample.generation > counted.generation {
            *counted = WorkerSample { generation: sample.generation, ..WorkerSample::default() };
        }
        self.observe_operators(&counted, sample, now);
        self.observe_loads(&counted, sample);
        self.observe_store(sample);
        *counted = sample.clone();
    }

    fn observe_operators(&self, before: &WorkerSample, sample: &WorkerSample, now: Millis) {
        for (key, after) in &sample.operators {
            let then = before.operators.get(key).copied().unwrap_or_default();
            let subtask = key.1.to_string();
            let labels = [key.0.as_str(), subtask.as_str()];
            let grown = [
                (Name::RecordsIn, after.records_in, then.records_in),
                (Name::RecordsOut, after.records_out, then.records_out),
                (Name::BytesIn, after.bytes_in, then.bytes_in),
                (Name::RecordsLate, after.late, then.late),
                (Name::RecordsDead, after.dead, then.dead),
            ];
            for (name, after, then) in grown {
                self.count(name, &labels, after.saturating_sub(then));
            }
            if let Some(watermark) = after.watermark.filter(|watermark| *watermark != i64::MAX) {
                self.set_seconds(Name::WatermarkLag, &labels, now.since(Millis(watermark)) as f64 / 1e3);
            }
        }
    }

    fn observe_loads(&self, before: &WorkerSample, sample: &WorkerSample) {
        for (key, after) in &sample.loads {
            let then = before.loads.get(key).copied().unwrap_or_default();
            let subtask = key.1.to_string();
            let busy = |load: crate::message::LoadSample| {
                load.total_ns.saturating_sub(load.idle_ns + load.blocked_ns + load.aligning_ns)
            };
            let grown = [
                ("busy", busy(*after), busy(then)),
                ("idle", after.idle_ns, then.idle_ns),
                ("backpressured", after.blocked_ns, then.blocked_ns),
                ("aligning", after.aligning_ns, then.aligning_ns),
            ];
            for (state, after, then) in grown {
                // Whole milliseconds: what is left over is counted by a later sample.
                let grown_ms = (after / 1_000_000).saturating_sub(then / 1_000_000);
                self.count(Name::SubtaskTime, &[key.0.as_str(), subtask.as_str(), state], grown_ms);
            }
        }
    }

    fn observe_store(&self, sample: &WorkerSample) {
        let store = &sample.store;
        let layers = [
            ("write", store.write_bytes as u64),
            ("clean", store.clean_bytes as u64),
            ("pinned", store.pinned_bytes as u64),
            ("past", store.past_bytes),
            ("chain", store.chain_bytes),
        ];
        for (layer, bytes) in layers {
            self.set(Name::StateBytes, &[layer], bytes);
        }
        self.set(Name::QueueBytes, &["upload"], store.pending_bytes);
        self.set(Name::QueueBytes, &["compaction"], store.past_compaction_bytes);
        self.set(Name::ChainFiles, &[], store.chain_files as u64);
    }
}

#[cfg(test)]
mod tests;
