//! Remembers a run for its report, in bounded memory. Pure but for what it is handed.

use weir_cluster::status::{JobStatus, OperatorStatus, RestartRecord};

use super::live::Ends;
use crate::report::{CheckpointsReport, MOST_CHECKPOINTS, OperatorReport, RestartReport, Sample, TakenCheckpoint};

/// Samples that are kept; neighbours are merged when there are more.
const MOST_SAMPLES: usize = 4_096;
/// Milliseconds that a sample spans at least. A status comes with every change, its counters only several times a second.
const LEAST_SPAN: i64 = 150;
/// Milliseconds after which a sample ends although no record has passed.
const IDLE_SPAN: i64 = 1_000;

/// What a report shows besides the last status.
#[derive(Debug)]
pub(crate) struct Recorder {
    ends: Ends,
    samples: Vec<Sample>,
    /// Milliseconds that a sample must span; doubles with every merge.
    span: i64,
    /// Where the next sample begins: time and counters.
    last: Option<(i64, (u64, u64))>,
    /// The counters of the status before.
    seen: (u64, u64),
    taken: Vec<TakenCheckpoint>,
}

impl Recorder {
    pub(crate) fn new(ends: Ends) -> Self {
        Self { ends, samples: Vec::new(), span: LEAST_SPAN, last: None, seen: (0, 0), taken: Vec::new() }
    }

    /// Records that sources delivered and sinks took.
    pub(crate) fn records(&self, status: &JobStatus) -> (u64, u64) {
        self.ends.records(&status.operators)
    }

    /// Takes a status; statuses come in the order of their times.
    pub(crate) fn take(&mut self, status: &JobStatus) {
        self.take_checkpoint(status);
        let (at, records) = (status.sampled_at.0, self.records(status));
        // Counters that have just moved are those of this moment.
        let fresh = std::mem::replace(&mut self.seen, records) != records;
        let Some((from, before)) = self.last else {
            self.last = Some((at, records));
            return;
        };
        if at - from < if fresh { self.span } else { self.span.max(IDLE_SPAN) } {
            return;
        }
        let (records_in, records_out) = (records.0.saturating_sub(before.0), records.1.saturating_sub(before.1));
        self.samples.push(Sample { from, to: at, records_in, records_out });
        self.last = Some((at, records));
        if self.samples.len() >= MOST_SAMPLES {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let merged = self.samples.chunks(2).map(|pair| Sample {
            from: pair[0].from,
            to: pair[pair.len() - 1].to,
            records_in: pair.iter().map(|sample| sample.records_in).sum(),
            records_out: pair.iter().map(|sample| sample.records_out).sum(),
        });
        self.samples = merged.collect();
        self.span *= 2;
    }

    fn take_checkpoint(&mut self, status: &JobStatus) {
        let Some(last) = status.last_checkpoint.as_ref().filter(|_| status.completed > 0) else { return };
        if self.taken.last().is_some_and(|taken| taken.id >= last.id.0) {
            return;
        }
        if self.taken.len() >= MOST_CHECKPOINTS {
            self.taken.remove(0);
        }
        self.taken.push(TakenCheckpoint {
            id: last.id.0,
            completed_at: last.completed_at.0,
            duration_ms: last.duration_ms,
            bytes_full: last.bytes_full,
            bytes_incremental: last.bytes_incremental,
        });
    }

    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.samples.clone()
    }

    pub(crate) fn checkpoints(&self, status: &JobStatus) -> CheckpointsReport {
        CheckpointsReport {
            completed: status.completed,
            failed: status.failed.values().sum(),
            failed_by_reason: status.failed.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            taken: self.taken.clone(),
        }
    }
}

impl From<&OperatorStatus> for OperatorReport {
    fn from(status: &OperatorStatus) -> Self {
        let OperatorStatus { records_in, records_out, bytes_in, late, dead, watermark } = *status;
        Self { records_in, records_out, bytes_in, late, dead, watermark }
    }
}

impl From<&RestartRecord> for RestartReport {
    fn from(record: &RestartRecord) -> Self {
        Self {
            at: record.at.0,
            reason: record.reason.clone(),
            operator: record.operator.as_ref().map(ToString::to_string),
            restored: record.restored.map(|id| id.0),
            delay_ms: record.delay_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_cluster::status::CheckpointSummary;
    use weir_protocol::{CheckpointId, ManifestKind, Millis};

    use super::*;

    /// Counts a record of the source `in` per millisecond.
    fn status(at: i64, checkpoint: u64, completed: u64) -> JobStatus {
        let last_checkpoint = CheckpointSummary {
            id: CheckpointId(checkpoint),
            generation: weir_protocol::Generation(1),
            kind: ManifestKind::Checkpoint,
            completed_at: Millis(at),
            duration_ms: 5,
            bytes_full: 1,
            bytes_incremental: 1,
        };
        let operators = [("in".into(), OperatorStatus { records_out: at as u64, ..OperatorStatus::default() })].into();
        JobStatus {
            sampled_at: Millis(at),
            last_checkpoint: Some(last_checkpoint),
            completed,
            operators,
            ..JobStatus::default()
        }
    }

    fn ends() -> Ends {
        Ends::of_ids(["in".into()], [])
    }

    #[test]
    fn only_checkpoints_of_this_run_are_listed_and_each_once() {
        let mut recorder = Recorder::new(ends());
        for (at, checkpoint, completed) in [(0, 7, 0), (1, 8, 1), (2, 8, 1), (3, 9, 2)] {
            recorder.take(&status(at, checkpoint, completed));
        }
        let report = recorder.checkpoints(&status(4, 9, 2));
        assert_eq!(report.taken.iter().map(|taken| taken.id).collect::<Vec<_>>(), [8, 9]);
        assert_eq!(report.completed, 2);
    }

    #[test]
    fn long_runs_keep_their_whole_length_in_bounded_samples() {
        let mut recorder = Recorder::new(ends());
        for index in 0..50_000 {
            recorder.take(&status(index * 200, 0, 0));
        }
        let samples = recorder.samples();
        assert!(samples.len() < MOST_SAMPLES, "{}", samples.len());
        assert_eq!(samples[0].from, 0);
        assert!(samples.last().unwrap().to > 49_900 * 200);
        assert!(samples.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert!(samples.iter().all(|sample| sample.records_in as i64 == sample.to - sample.from));
    }

    #[test]
    fn a_status_without_new_counters_ends_no_sample() {
        let mut recorder = Recorder::new(ends());
        for (at, counter) in
            [(0, 0), (190, 0), (200, 200), (370, 200), (390, 200), (400, 400), (1_390, 400), (1_400, 400)]
        {
            let JobStatus { operators, .. } = status(counter, 0, 0);
            recorder.take(&JobStatus { operators, ..status(at, 0, 0) });
        }
        let samples: Vec<_> =
            recorder.samples().iter().map(|sample| (sample.from, sample.to, sample.records_in)).collect();
        assert_eq!(samples, [(0, 200, 200), (200, 400, 200), (400, 1_400, 0)]);
    }
}
