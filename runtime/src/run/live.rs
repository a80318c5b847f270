//! What a job does right now, in one line. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir_cluster::status::{JobState, JobStatus, OperatorStatus, StateBytes};
use weir_engine::graph::{JobGraph, NodeKind};
use weir_protocol::OperatorId;

use crate::show;

/// Rates are averages over this time, in milliseconds.
const RATE_WINDOW_MS: i64 = 3_000;
/// Event time this far behind the clock is a replay of old data, not a lag.
const MOST_LAG_MS: u64 = 7 * 86_400_000;

/// Which operators bring records in and take them out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    sources: BTreeSet<OperatorId>,
    sinks: BTreeSet<OperatorId>,
}

impl Ends {
    pub(crate) fn of(graph: &JobGraph) -> Self {
        let mut ends = Self::default();
        for node in &graph.nodes {
            match node.kind {
                NodeKind::Source(_) => _ = ends.sources.insert(node.id.clone()),
                NodeKind::Operator(_) if node.committer.is_some() => _ = ends.sinks.insert(node.id.clone()),
                NodeKind::Operator(_) => {}
            }
        }
        ends
    }

    #[cfg(test)]
    pub(crate) fn of_ids(sources: impl Into<BTreeSet<OperatorId>>, sinks: impl Into<BTreeSet<OperatorId>>) -> Self {
        Self { sources: sources.into(), sinks: sinks.into() }
    }

    /// Records that sources delivered and that sinks took.
    pub(crate) fn records(&self, operators: &BTreeMap<OperatorId, OperatorStatus>) -> (u64, u64) {
        let sum = |ids: &BTreeSet<OperatorId>, count: fn(&OperatorStatus) -> u64| {
            ids.iter().filter_map(|id| operators.get(id)).map(count).sum()
        };
        (sum(&self.sources, |status| status.records_out), sum(&self.sinks, |status| status.records_in))
    }
}

/// Records per second over the last few seconds.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// Time in milliseconds and the counters at that time, oldest first.
    seen: VecDeque<(i64, u64, u64)>,
}

impl Rates {
    /// Takes the counters at `at`; returns the rates of records in and out.
    pub(crate) fn update(&mut self, at: i64, (records_in, records_out): (u64, u64)) -> (f64, f64) {
        self.seen.push_back((at, records_in, records_out));
        while self.seen.len() > 2 && self.seen[1].0 <= at - RATE_WINDOW_MS {
            self.seen.pop_front();
        }
        let (from, first_in, first_out) = self.seen[0];
        let seconds = (at - from) as f64 / 1e3;
        if seconds <= 0.0 {
            return (0.0, 0.0);
        }
        (records_in.saturating_sub(first_in) as f64 / seconds, records_out.saturating_sub(first_out) as f64 / seconds)
    }
}

/// State as a job holds it: what changed lately, and what lies below.
pub(crate) fn state_size(state: &StateBytes) -> u64 {
    state.write + state.pinned + state.past.max(state.clean)
}

/// The line for `status`, at the rates of records in and out. `now` is in milliseconds since the Unix epoch.
pub(crate) fn line(status: &JobStatus, (rate_in, rate_out): (f64, f64), now: i64) -> String {
    let checkpoint = match &status.last_checkpoint {
        None => "none yet".to_owned(),
        Some(last) => {
            let age = show::ago(u64::try_from(now - last.completed_at.0).unwrap_or(0));
            format!("{} {age} ({})", last.id, show::millis(last.duration_ms))
        }
    };
    let lag = match status.lag_ms {
        None => String::new(),
        Some(lag) if lag > MOST_LAG_MS => String::new(),
        Some(lag) => format!("  lag {}", show::millis(lag)),
    };
    let state = match &status.state {
        JobState::Restarting { at, .. } => {
            let seconds = u64::try_from(at.0 - now).unwrap_or(0).div_ceil(1000);
            format!("restarting in {seconds} s")
        }
        state => state.name().to_owned(),
    };
    let size = show::bytes(state_size(&status.state_bytes));
    format!(
        "{state}  in {}/s  out {}/s  checkpoint {checkpoint}  state {size}{lag}  restarts {}",
        show::quantity(rate_in),
        show::quantity(rate_out),
        status.restart_count
    )
}

#[cfg(test)]
mod tests {
    use weir_cluster::status::CheckpointSummary;
    use weir_protocol::{CheckpointId, ManifestKind, Millis};

    use super::*;

    fn status() -> JobStatus {
        JobStatus {
            state: JobState::Running,
            last_checkpoint: Some(CheckpointSummary {
                id: CheckpointId(17),
                generation: weir_protocol::Generation(1),
                kind: ManifestKind::Checkpoint,
                completed_at: Millis(100_000),
                duration_ms: 42,
                bytes_full: 0,
                bytes_incremental: 0,
            }),
            state_bytes: StateBytes { write: 1 << 20, clean: 5 << 20, pinned: 0, past: 7 << 20, chain: 0, pending: 0 },
            lag_ms: Some(1_250),
            restart_count: 2,
            ..JobStatus::default()
        }
    }

    #[test]
    fn the_line_says_what_a_job_does_right_now() {
        assert_eq!(
            line(&status(), (1_240_000.0, 312.4), 103_999),
            "running  in 1.24 M/s  out 312/s  checkpoint 17 3 s ago (42.0 ms)  state 8.00 MiB  lag 1.25 s  restarts 2"
        );
        let replay = JobStatus { lag_ms: Some(u64::MAX), last_checkpoint: None, ..status() };
        assert_eq!(
            line(&replay, (0.0, 0.0), 0),
            "running  in 0/s  out 0/s  checkpoint none yet  state 8.00 MiB  restarts 2"
        );
        let waiting =
            JobStatus { state: JobState::Restarting { at: Millis(104_100), reason: String::new() }, ..status() };
        assert!(line(&waiting, (0.0, 0.0), 100_000).starts_with("restarting in 5 s  "));
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut rates = Rates::default();
        assert_eq!(rates.update(0, (0, 0)), (0.0, 0.0));
        assert_eq!(rates.update(500, (1_000, 50)), (2_000.0, 100.0));
        for second in 1..=20 {
            rates.update(500 + second * 1_000, (1_000 + 10 * second as u64, 50));
        }
        assert_eq!(rates.update(21_500, (1_210, 50)), (10.0, 0.0));
    }

    #[test]
    fn counters_that_begin_anew_do_not_make_rates_negative() {
        let mut rates = Rates::default();
        rates.update(0, (100, 100));
        assert_eq!(rates.update(1_000, (10, 10)), (0.0, 0.0));
    }
}
