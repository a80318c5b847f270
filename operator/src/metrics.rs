//! What Prometheus sees of the Weir operator. The table is [`METRICS`]; `docs/reference/operator-metrics.md` is made from it.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{CounterVec, Encoder, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};
use weir_api::status::JobState;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Seconds, in buckets.
    Histogram,
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct MetricInfo {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

const JOB: &[&str] = &["namespace", "streamjob"];

const RECONCILES: usize = 0;
const DURATION: usize = 1;
const JOBS: usize = 2;
const RESTARTS: usize = 3;
const AGE: usize = 4;
const INTERVAL: usize = 5;
const RETAINED: usize = 6;
const API_ERRORS: usize = 7;
const LEADER: usize = 8;
const KEPT: usize = 9;
const DECIDE: usize = 10;

/// All metrics of the operator.
#[rustfmt::skip]
pub const METRICS: &[MetricInfo] = &[
    MetricInfo { name: "weir_operator_reconciles_total", kind: Kind::Counter, labels: &["outcome"],
        help: "Looks at a job: acted, unchanged, conflict (somebody else wrote in between), error" },
    MetricInfo { name: "weir_operator_reconcile_duration_seconds", kind: Kind::Histogram, labels: &[],
        help: "Duration of a look at a job, with its calls" },
    MetricInfo { name: "weir_operator_jobs", kind: Kind::Gauge, labels: &["state"],
        help: "StreamJobs by state, as in status.state" },
    MetricInfo { name: "weir_operator_job_restarts_total", kind: Kind::Counter, labels: &["namespace", "streamjob", "reason"],
        help: "Restarts of a job seen by this process, by reason: those of pods (out_of_memory, crashed, killed, refused, fenced, exited, image, evicted, node_gone, no_progress, pod_deleted) and those that the runtime names (label reason of weir_restarts_total)" },
    MetricInfo { name: "weir_operator_last_checkpoint_age_seconds", kind: Kind::Gauge, labels: JOB,
        help: "Age of the newest completed checkpoint of a job that runs" },
    MetricInfo { name: "weir_operator_checkpoint_interval_seconds", kind: Kind::Gauge, labels: JOB,
        help: "spec.checkpoint.interval of a job that runs" },
    MetricInfo { name: "weir_operator_retained_checkpoints", kind: Kind::Gauge, labels: JOB,
        help: "Completed checkpoints of a job that are kept" },
    MetricInfo { name: "weir_operator_api_errors_total", kind: Kind::Counter, labels: &["verb", "code"],
        help: "Calls to the API server that failed, by verb and HTTP status; 0 if there was no answer" },
    MetricInfo { name: "weir_operator_leader", kind: Kind::Gauge, labels: &[],
        help: "1 while this process leads" },
    MetricInfo { name: "weir_operator_checkpoints_kept_total", kind: Kind::Counter, labels: &["reason"],
        help: "Jobs with deletionPolicy Delete whose checkpoints were kept: namespace (it ended), deadline" },
    MetricInfo { name: "weir_operator_decide_duration_seconds", kind: Kind::Histogram, labels: &[],
        help: "Duration of a decision alone, without any call" },
];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Histogram => "histogram",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// The table as Markdown, for the reference.
pub fn markdown_table() -> String {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for MetricInfo { name, kind, labels, help } in METRICS {
        let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        table.push_str(&format!("| `{name}` | {} | {labels} | {help} |\n", kind.name()));
    }
    table
}

/// How a look at a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookOutcome {
    /// Something was written or called.
    Acted,
    /// Nothing was sent.
    Unchanged,
    /// Somebody else wrote in between.
    Conflict,
    /// It failed.
    Error,
}

/// What is remembered of one job for the gauges.
#[derive(Debug, Clone)]
struct JobNumbers {
    state: Option<JobState>,
    last_checkpoint: Option<jiff::Timestamp>,
    interval: Option<Duration>,
    retained: usize,
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    counters: BTreeMap<usize, CounterVec>,
    gauges: BTreeMap<usize, GaugeVec>,
    histograms: BTreeMap<usize, HistogramVec>,
    jobs: Mutex<BTreeMap<(String, String), JobNumbers>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers all of [`METRICS`].
    ///
    /// # Errors
    /// When a name is taken or is no name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let (mut counters, mut gauges, mut histograms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (at, MetricInfo { name, kind, labels, help }) in METRICS.iter().enumerate() {
            let opts = Opts::new(*name, *help);
            match kind {
                Kind::Counter => {
                    let counter = CounterVec::new(opts, labels)?;
                    registry.register(Box::new(counter.clone()))?;
                    counters.insert(at, counter);
                }
                Kind::Gauge => {
                    let gauge = GaugeVec::new(opts, labels)?;
                    registry.register(Box::new(gauge.clone()))?;
                    gauges.insert(at, gauge);
                }
                Kind::Histogram => {
                    let buckets = vec![0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];
                    let histogram = HistogramVec::new(HistogramOpts::from(opts).buckets(buckets), labels)?;
                    registry.register(Box::new(histogram.clone()))?;
                    histograms.insert(at, histogram);
                }
            }
        }
        Ok(Metrics { registry, counters, gauges, histograms, jobs: Mutex::default() })
    }

    /// A look at a job ended.
    pub fn looked(&self, outcome: LookOutcome, whole: Duration) {
        let outcome = match outcome {
            LookOutcome::Acted => "acted",
            LookOutcome::Unchanged => "unchanged",
            LookOutcome::Conflict => "conflict",
            LookOutcome::Error => "error",
        };
        self.counters[&RECONCILES].with_label_values(&[outcome]).inc();
        self.histograms[&DURATION].with_label_values::<&str>(&[]).observe(whole.as_secs_f64());
    }

    /// A decision took so long.
    pub fn decided(&self, took: Duration) {
        self.histograms[&DECIDE].with_label_values::<&str>(&[]).observe(took.as_secs_f64());
    }

    /// A job was restarted.
    pub fn restarted(&self, namespace: &str, job: &str, reason: &str, count: u64) {
        self.counters[&RESTARTS].with_label_values(&[namespace, job, reason]).inc_by(count as f64);
    }

    /// A call to the API server failed.
    pub fn api_error(&self, verb: &str, code: u16) {
        self.counters[&API_ERRORS].with_label_values(&[verb, &code.to_string()]).inc();
    }

    /// This process leads, or does not.
    pub fn leader(&self, leads: bool) {
        self.gauges[&LEADER].with_label_values::<&str>(&[]).set(if leads { 1.0 } else { 0.0 });
    }

    /// Checkpoints were kept although the job says Delete.
    pub fn kept(&self, reason: &str) {
        self.counters[&KEPT].with_label_values(&[reason]).inc();
    }

    /// What a job's status says.
    pub fn job(&self, namespace: &str, job: &str, status: &weir_api::StreamJobStatus, interval: Option<Duration>) {
        let runs = status.state == Some(JobState::Running);
        let last = status.last_checkpoint.as_ref().and_then(|checkpoint| checkpoint.completed_at.as_ref());
        let numbers = JobNumbers {
            state: status.state,
            last_checkpoint: last.filter(|_| runs).map(|time| time.0),
            interval: interval.filter(|_| runs),
            retained: status.checkpoints.len(),
        };
        self.jobs.lock().insert((namespace.to_owned(), job.to_owned()), numbers);
    }

    /// Keeps the numbers of jobs that are there: `is_there` is asked for namespace and name.
    pub fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.jobs.lock().retain(|(namespace, job), _| is_there(namespace, job));
    }

    /// Everything in Prometheus' text format, as of `now`.
    pub fn render(&self, now: jiff::Timestamp) -> String {
        self.gauges[&JOBS].reset();
        for state in JobState::ALL {
            self.gauges[&JOBS].with_label_values(&[state.to_string()]).set(0.0);
        }
        for gauge in [AGE, INTERVAL, RETAINED] {
            self.gauges[&gauge].reset();
        }
        for ((namespace, job), numbers) in self.jobs.lock().iter() {
            let labels = [namespace.as_str(), job.as_str()];
            if let Some(state) = numbers.state {
                self.gauges[&JOBS].with_label_values(&[state.to_string()]).inc();
            }
            if let Some(last) = numbers.last_checkpoint {
                self.gauges[&AGE].with_label_values(&labels).set(now.duration_since(last).as_secs_f64().max(0.0));
            }
            if let Some(interval) = numbers.interval {
                self.gauges[&INTERVAL].with_label_values(&labels).set(interval.as_secs_f64());
            }
            self.gauges[&RETAINED].with_label_values(&labels).set(numbers.retained as f64);
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::warn!(%error, "metrics cannot be rendered");
        }
        String::from_utf8(text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
