//! The order of numbers, and who may be overtaken by whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::layers::SealedLayer;
use crate::run_buffer::RunBuffer;

struct Nothing;

impl SealedLayer for Nothing {
    fn encode(&self, _out: &mut RunBuffer) -> Result<(), StateError> {
        Ok(())
    }
}

fn ledger() -> Ledger {
    let policy = BasePolicy { factor: 2.0, max_runs: 256, min_bytes: 1 << 20, part_bytes: 0, from_live_state: false };
    Ledger::new(WorkerIndex(0), policy)
}

/// Subtasks that hand over one layer at a time, and when whose layers were given to the builder.
#[derive(Default)]
struct Subtasks {
    /// Subtask and count of every layer, by the address of its status.
    layers: BTreeMap<usize, (u64, u32)>,
    handed: BTreeMap<u64, u32>,
    statuses: Vec<Arc<crate::layers::LayerStatus>>,
}

impl Subtasks {
    fn seal(&mut self, backend: u64) -> SealedSubtask {
        let count = self.handed.entry(backend).or_default();
        *count += 1;
        let status = Arc::new(crate::layers::LayerStatus::default());
        self.layers.insert(Arc::as_ptr(&status).addr(), (backend, *count));
        self.statuses.push(Arc::clone(&status));
        SealedSubtask { parts: vec![SealedPart { layer: Arc::new(Nothing), status }], backend: Some(backend) }
    }

    /// Whose layers the jobs hold, in the order of their numbers.
    fn order(&self, mut jobs: Vec<BuildJob>) -> Vec<(u64, u32)> {
        jobs.sort_by_key(|job| job.sequence);
        let parts = jobs.iter().flat_map(|job| &job.parts);
        parts.map(|part| self.layers[&Arc::as_ptr(&part.status).addr()]).collect()
    }
}

#[test]
fn an_abort_does_not_number_a_newer_layer_before_an_older_one() {
    let (mut ledger, mut subtasks) = (ledger(), Subtasks::default());
    let (first, second) = (CheckpointId(1), CheckpointId(2));
    ledger.begin(first, 2, 0, Box::new(drop));
    ledger.begin(second, 2, 0, Box::new(drop));
    let mut jobs = ledger.submit(first, subtasks.seal(7));
    jobs.extend(ledger.submit(second, subtasks.seal(7)));
    jobs.extend(ledger.abort(second));
    jobs.extend(ledger.submit(first, subtasks.seal(8)));
    assert_eq!(subtasks.order(jobs), [(7, 1), (7, 2), (8, 1)]);
}

#[test]
#[should_panic(expected = "runs are built in the order of their numbers")]
fn a_run_that_overtakes_another_is_not_taken() {
    let (mut ledger, mut subtasks) = (ledger(), Subtasks::default());
    let first = ledger.submit_early(subtasks.seal(7));
    let second = ledger.submit_early(subtasks.seal(8));
    assert!(first[0].sequence < second[0].sequence);
    ledger.built(second[0].sequence, Vec::new(), 0, Duration::ZERO);
}

/// What happens to a ledger. Every subtask seals its barriers in order, as the engine makes it.
#[derive(Debug, Clone)]
enum Event {
    Begin,
    /// A subtask passes its next barrier.
    Seal(u64),
    Spill(u64),
    /// One of the epochs that were begun, counted back from the newest.
    Abort(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Begin),
        6 => (0..3u64).prop_map(Event::Seal),
        2 => (0..3u64).prop_map(Event::Spill),
        1 => (0..3u64).prop_map(Event::Abort),
    ]
}

proptest! {
    #[test]
    fn what_one_subtask_hands_over_is_numbered_in_that_order(events in proptest::collection::vec(event(), 0..60)) {
        let (mut ledger, mut subtasks) = (ledger(), Subtasks::default());
        let (mut begun, mut passed, mut jobs) = (0u64, [0u64; 3], Vec::new());
        for event in events {
            match event {
                Event::Begin => {
                    begun += 1;
                    ledger.begin(CheckpointId(begun), 3, 0, Box::new(drop));
                }
                Event::Seal(subtask) if passed[subtask as usize] < begun => {
                    passed[subtask as usize] += 1;
                    let epoch = CheckpointId(passed[subtask as usize]);
                    jobs.extend(ledger.submit(epoch, subtasks.seal(subtask)));
                }
                Event::Seal(_) => {}
                Event::Spill(subtask) => jobs.extend(ledger.submit_early(subtasks.seal(subtask))),
                Event::Abort(back) if back < begun => jobs.extend(ledger.abort(CheckpointId(begun - back))),
                Event::Abort(_) => {}
            }
        }
        jobs.extend(ledger.flush_through(CheckpointId(u64::MAX)));
        prop_assert!(jobs.is_sorted_by_key(|job| job.sequence), "jobs are handed out in the order of their numbers");
        let mut seen = BTreeMap::new();
        for (subtask, count) in subtasks.order(jobs) {
            let before = seen.insert(subtask, count).unwrap_or(0);
            prop_assert_eq!(count, before + 1, "subtask {}", subtask);
        }
        prop_assert_eq!(seen, subtasks.handed);
    }
}
