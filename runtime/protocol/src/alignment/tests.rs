//! Scripted cases, and the cut property over random schedules.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn machine(mode: AlignmentMode, inputs: usize) -> Alignment {
    Alignment::new(mode, inputs, CheckpointId(0))
}

fn aligned(checkpoint: u64, first_us: i64, last_us: i64) -> AlignmentStep {
    AlignmentStep {
        cancelled: None,
        aligned: Some(Aligned { checkpoint: CheckpointId(checkpoint), first_us, last_us }),
    }
}

const NOTHING: AlignmentStep = AlignmentStep { cancelled: None, aligned: None };

#[test]
fn inputs_wait_for_the_last_barrier_and_are_then_released() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 3);
    assert_eq!(alignment.handle_barrier(1, CheckpointId(1), 10), NOTHING);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(1), 20), NOTHING);
    assert_eq!(alignment.blocked_inputs().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(alignment.handle_barrier(2, CheckpointId(1), 35), aligned(1, 10, 35));
    assert_eq!(alignment.blocked_inputs().count(), 0);
}

#[test]
fn a_single_input_aligns_at_once() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 1);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(1), 5), aligned(1, 5, 5));
    assert_eq!(alignment.handle_barrier(0, CheckpointId(2), 6), aligned(2, 6, 6));
}

#[test]
fn at_least_once_never_blocks() {
    let mut alignment = machine(AlignmentMode::AtLeastOnce, 2);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(1), 1), NOTHING);
    assert_eq!(alignment.blocked_inputs().count(), 0);
    assert_eq!(alignment.handle_barrier(1, CheckpointId(1), 2), aligned(1, 1, 2));
}

#[test]
fn an_input_that_ends_counts_as_aligned() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 3);
    assert_eq!(alignment.handle_end(2, 0), NOTHING);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(1), 1), NOTHING);
    assert_eq!(alignment.handle_end(1, 2), aligned(1, 1, 2), "the end of the last open input completes the alignment");
    assert!(!alignment.is_blocked(0));
    assert_eq!(alignment.handle_barrier(0, CheckpointId(2), 3), aligned(2, 3, 3));
    assert!(!alignment.is_ended());
    assert_eq!(alignment.handle_end(0, 4), NOTHING);
    assert!(alignment.is_ended());
}

#[test]
fn a_newer_barrier_supersedes_an_older_alignment() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 2);
    alignment.handle_barrier(0, CheckpointId(1), 1);
    let step = alignment.handle_barrier(1, CheckpointId(2), 2);
    assert_eq!(step, AlignmentStep { cancelled: Some(CheckpointId(1)), aligned: None });
    assert_eq!(alignment.blocked_inputs().collect::<Vec<_>>(), [1], "the older barrier's input is read again");
    assert_eq!(alignment.handle_barrier(0, CheckpointId(2), 3), aligned(2, 2, 3));
}

#[test]
fn barriers_of_settled_checkpoints_are_swallowed() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 2);
    alignment.handle_barrier(0, CheckpointId(3), 1);
    assert_eq!(alignment.handle_barrier(1, CheckpointId(2), 2), NOTHING, "older than the one under way");
    assert!(!alignment.is_blocked(1));
    let step = alignment.handle_abort(CheckpointId(3));
    assert_eq!(step, AlignmentStep { cancelled: Some(CheckpointId(3)), aligned: None });
    assert!(!alignment.is_blocked(0));
    assert_eq!(alignment.handle_barrier(1, CheckpointId(3), 3), NOTHING, "aborted");
    assert!(!alignment.is_blocked(1));
    assert_eq!(alignment.aligning(), None);
}

#[test]
fn an_abort_that_overtakes_its_barriers_still_holds() {
    let mut alignment = machine(AlignmentMode::ExactlyOnce, 2);
    assert_eq!(alignment.handle_abort(CheckpointId(4)), NOTHING);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(4), 1), NOTHING);
    assert!(!alignment.is_blocked(0));
    assert_eq!(alignment.handle_abort(CheckpointId(2)), NOTHING, "an older abort changes nothing");
    alignment.handle_barrier(0, CheckpointId(5), 2);
    assert_eq!(alignment.handle_abort(CheckpointId(4)), NOTHING, "a repeated abort does not touch a newer alignment");
    assert!(alignment.is_blocked(0));
}

#[test]
fn a_restored_deployment_swallows_barriers_up_to_its_checkpoint() {
    let mut alignment = Alignment::new(AlignmentMode::ExactlyOnce, 1, CheckpointId(7));
    assert_eq!(alignment.handle_barrier(0, CheckpointId(7), 1), NOTHING);
    assert_eq!(alignment.handle_barrier(0, CheckpointId(8), 1), aligned(8, 1, 1));
}

/// What waits in a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Queued {
    Record,
    Barrier(u64),
    End,
}

/// An input: how many records precede each of its barriers and follow the last one, and whether it ends then.
type InputPlan = (Vec<u8>, bool);

/// A schedule: inputs that deliver the first few of four barriers (those with fewer than four end), random choices for the order of reading
/// and for aborts.
fn schedule() -> impl Strategy<Value = (Vec<InputPlan>, Vec<u16>, Vec<bool>)> {
    let input = (prop::collection::vec(0u8..4, 1..=5), any::<bool>());
    let choices = prop::collection::vec(any::<u16>(), 200);
    (prop::collection::vec(input, 1..5), choices, prop::collection::vec(any::<bool>(), 4))
}

fn barriers((gaps, _): &InputPlan) -> u64 {
    gaps.len() as u64 - 1
}

fn queue(plan: &InputPlan) -> VecDeque<Queued> {
    let (gaps, ends) = plan;
    let mut queue = VecDeque::new();
    for (index, &gap) in gaps.iter().enumerate() {
        if index > 0 {
            queue.push_back(Queued::Barrier(index as u64));
        }
        queue.extend((0..gap).map(|_| Queued::Record));
    }
    queue.extend((*ends || barriers(plan) < 4).then_some(Queued::End));
    queue
}

proptest! {
    /// Whatever the order of reading, whichever checkpoints are aborted at whatever moment: an aligned checkpoint cuts
    /// every input exactly at its barrier (or at its end), every checkpoint is aligned or aborted, and nothing stays
    /// blocked.
    #[test]
    fn an_aligned_checkpoint_cuts_every_input_at_its_barrier((plans, choices, aborts) in schedule()) {
        let mut queues: Vec<_> = plans.iter().map(queue).collect();
        let mut alignment = machine(AlignmentMode::ExactlyOnce, plans.len());
        let mut last_read = vec![None; plans.len()];
        let (mut done, mut aborted) = (Vec::new(), Vec::new());
        for choice in choices {
            // One in eight steps the coordinator gives up the checkpoint that is being aligned, if it is one to give up.
            if choice % 8 == 0
                && let Some(current) = alignment.aligning()
                && aborts[current.0 as usize - 1]
            {
                let step = alignment.handle_abort(current);
                prop_assert_eq!(step.cancelled, Some(current));
                aborted.push(current);
                continue;
            }
            let readable: Vec<usize> =
                (0..queues.len()).filter(|&i| !queues[i].is_empty() && !alignment.is_blocked(i)).collect();
            if readable.is_empty() {
                break;
            }
            let input = readable[usize::from(choice) % readable.len()];
            let element = queues[input].pop_front().unwrap();
            last_read[input] = Some(element);
            let step = match element {
                Queued::Record => AlignmentStep::default(),
                Queued::Barrier(checkpoint) => alignment.handle_barrier(input, CheckpointId(checkpoint), 0),
                Queued::End => alignment.handle_end(input, 0),
            };
            aborted.extend(step.cancelled);
            if let Some(Aligned { checkpoint, .. }) = step.aligned {
                for (plan, last) in plans.iter().zip(&last_read) {
                    let expected = if barriers(plan) >= checkpoint.0 { Queued::Barrier(checkpoint.0) } else { Queued::End };
                    prop_assert_eq!(*last, Some(expected), "checkpoint {}", checkpoint);
                }
                done.push(checkpoint);
            }
        }
        prop_assert!(queues.iter().all(VecDeque::is_empty), "an input is blocked for ever");
        prop_assert_eq!(alignment.blocked_inputs().count(), 0);
        let settled: std::collections::BTreeSet<_> = done.iter().chain(&aborted).collect();
        let delivered = plans.iter().map(barriers).max().unwrap();
        prop_assert_eq!(settled.len() as u64, delivered, "aligned {:?}, aborted {:?}", &done, &aborted);
        prop_assert!(done.is_sorted());
        prop_assert!(done.iter().all(|checkpoint| !aborted.contains(checkpoint)));
    }
}
