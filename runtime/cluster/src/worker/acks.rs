//! Acknowledgements of subtasks, held until the store has written what they sealed, whose figures belong into their timelines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_protocol::coordinator::{StoreAck, TaskAck, TaskId};
use weir_protocol::{CheckpointId, Generation};
use weir_state::EpochResult;

use super::deployment::WORKER;

/// Epochs between their barrier and their checkpoint's end.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Subtasks whose keyed state the store writes.
    stateful: BTreeSet<TaskId>,
    open: BTreeMap<CheckpointId, Open>,
}

#[derive(Debug, Default)]
struct Open {
    held: Vec<TaskAck>,
    written: Option<Written>,
}

/// What the store says of an epoch.
#[derive(Debug, Clone, Copy)]
struct Written {
    build: Duration,
    upload: Duration,
    finished_at_us: i64,
    /// Bytes per stateful subtask; the store packs all subtasks of a worker into common files.
    bytes: u64,
}

impl Acks {
    pub(super) fn new(stateful: BTreeSet<TaskId>) -> Self {
        Self { stateful, open: BTreeMap::new() }
    }

    /// The barrier of `epoch` is about to be injected.
    pub(super) fn begin(&mut self, epoch: CheckpointId) {
        self.open.insert(epoch, Open::default());
    }

    /// A subtask's acknowledgement; `None` while the store is behind it.
    pub(super) fn take(&mut self, ack: TaskAck) -> Option<TaskAck> {
        let is_stateful = self.stateful.contains(&ack.task);
        match self.open.get_mut(&ack.checkpoint).filter(|_| is_stateful) {
            Some(Open { written: Some(written), .. }) => Some(written.complete(ack)),
            Some(open) => {
                open.held.push(ack);
                None
            }
            None => Some(ack),
        }
    }

    /// The store has everything of `epoch`.
    pub(super) fn finish(
        &mut self,
        generation: Generation,
        epoch: CheckpointId,
        result: EpochResult,
    ) -> (Vec<TaskAck>, StoreAck) {
        let EpochResult { chain, states, bytes_uploaded, build, upload, finished_at_us, .. } = result;
        let subtasks = self.stateful.len().max(1) as u64;
        let written = Written { build, upload, finished_at_us, bytes: bytes_uploaded / subtasks };
        let held = match self.open.get_mut(&epoch) {
            Some(open) => {
                open.written = Some(written);
                std::mem::take(&mut open.held)
            }
            None => Vec::new(),
        };
        let acks = held.into_iter().map(|ack| written.complete(ack)).collect();
        (acks, StoreAck { generation, checkpoint: epoch, worker: WORKER, chain, states, bytes_uploaded })
    }

    /// The checkpoint is given up: what is held goes on as it is, and so does what comes later.
    pub(super) fn flush(&mut self, epoch: CheckpointId) -> Vec<TaskAck> {
        self.open.remove(&epoch).map(|open| open.held).unwrap_or_default()
    }

    /// The checkpoint is complete.
    pub(super) fn forget(&mut self, epoch: CheckpointId) {
        self.open.retain(|open, _| *open > epoch);
    }
}

impl Written {
    fn complete(self, mut ack: TaskAck) -> TaskAck {
        let timeline = &mut ack.timeline;
        let sealed_at = timeline.alignment_end_us.saturating_add_unsigned(timeline.sync_us);
        timeline.end_us = timeline.end_us.max(self.finished_at_us);
        timeline.async_us = u64::try_from(timeline.end_us.saturating_sub(sealed_at)).unwrap_or(0);
        // Files are built and uploaded side by side, so their times may sum up to more than passed.
        let (build, upload) = (self.build.as_micros(), self.upload.as_micros());
        let share = u128::from(timeline.async_us) * upload / (build + upload).max(1);
        timeline.upload_us = u64::try_from(share.min(upload)).unwrap_or(u64::MAX);
        timeline.bytes += self.bytes;
        ack
    }
}

#[cfg(test)]
mod tests {
    use weir_protocol::SubtaskTimeline;

    use super::*;

    fn ack(operator: &str, epoch: u64) -> TaskAck {
        TaskAck {
            generation: Generation(1),
            checkpoint: CheckpointId(epoch),
            task: TaskId::new(operator, 0),
            operators: Vec::new(),
            splits: Vec::new(),
            sinks: Vec::new(),
            timeline: SubtaskTimeline { alignment_end_us: 100, sync_us: 5, end_us: 110, ..SubtaskTimeline::default() },
        }
    }

    fn result(epoch: u64) -> EpochResult {
        EpochResult {
            epoch: CheckpointId(epoch),
            chain: Vec::new(),
            states: Vec::new(),
            bytes_uploaded: 64,
            bytes_full: 64,
            entries: 1,
            build: Duration::from_micros(100),
            upload: Duration::from_micros(300),
            started_at_us: 90,
            finished_at_us: 505,
        }
    }

    #[test]
    fn stateful_subtasks_wait_for_the_store_and_get_its_figures() {
        let mut acks = Acks::new(BTreeSet::from([TaskId::new("count", 0)]));
        acks.begin(CheckpointId(1));
        assert!(acks.take(ack("map", 1)).is_some(), "stateless subtasks do not wait");
        assert!(acks.take(ack("count", 1)).is_none());
        let (held, store) = acks.finish(Generation(1), CheckpointId(1), result(1));
        let timeline = &held[0].timeline;
        assert_eq!((timeline.end_us, timeline.async_us, timeline.upload_us, timeline.bytes), (505, 400, 300, 64));
        assert_eq!(store.bytes_uploaded, 64);
        assert!(acks.take(ack("count", 1)).is_some(), "a subtask that is later than the store does not wait");
    }

    #[test]
    fn aborted_epochs_hold_nothing_back() {
        let mut acks = Acks::new(BTreeSet::from([TaskId::new("count", 0)]));
        acks.begin(CheckpointId(1));
        assert!(acks.take(ack("count", 1)).is_none());
        assert_eq!(acks.flush(CheckpointId(1)).len(), 1);
        assert!(acks.take(ack("count", 1)).is_some());
    }
}
