//! What bases cost, what lies in the bucket, and which files a chain needs, over a simulated chain.

use weir_protocol::WorkerIndex;

use super::*;

const LIVE: u64 = 1 << 30;
/// A twentieth of the state changes between two checkpoints.
const CHANGED: u64 = LIVE / 20;
const FACTOR: f64 = 2.25;
/// Checkpoints that are retained.
const RETAINED: usize = 6;

fn parts(count: u32, part_bytes: u64) -> Parts {
    let policy = BasePolicy { factor: FACTOR, max_runs: 1000, min_bytes: 1 << 20, part_bytes, from_live_state: false };
    let mut parts = Parts::new(policy);
    parts.divide(|| (0..count).map(|part| KeyGroupRange::new(part * 32, (part + 1) * 32)).collect());
    parts
}

fn file(kind: RunKind, epoch: u64, key_groups: KeyGroupRange, length: u64) -> RunRef {
    let object = ObjectRef { key: format!("{kind:?}-{epoch}"), length, crc32c: 0 };
    let epoch = CheckpointId(epoch);
    RunRef { object, kind, epoch, worker: WorkerIndex(0), key_groups, entries: 1, file_bytes: length }
}

/// What a run of the simulation shows.
#[derive(Debug, Default)]
struct Shown {
    /// Bytes uploaded per byte changed, once every part has a base.
    uploaded: f64,
    /// Most bytes in the bucket per live byte.
    bucket: f64,
    /// Key groups of every base, in order.
    bases: Vec<KeyGroupRange>,
}

/// Fills the state in twenty checkpoints, then changes it for so many more. A base is named by the second checkpoint after its own.
fn simulate(mut parts: Parts, checkpoints: u64) -> Shown {
    let mut shown = Shown::default();
    let mut chain: Vec<RunRef> = Vec::new();
    let mut retained: std::collections::VecDeque<Vec<RunRef>> = std::collections::VecDeque::new();
    let (mut pending, mut uploaded, mut changed) = (None, 0, 0);
    for epoch in 1..=20 + checkpoints {
        chain.push(file(RunKind::Run, epoch, EVERYTHING, CHANGED));
        parts.grow(if epoch <= 20 { CHANGED as i64 } else { 0 });
        if let Some((cut, base)) = pending.take_if(|(cut, _): &mut (Cut, RunRef)| cut.epoch.0 + 2 == epoch) {
            parts.cut(&cut, base.object.length);
            let at = chain.partition_point(|run| run.epoch <= cut.epoch);
            chain.insert(at, base);
            chain.retain(|run| parts.need(run));
        }
        if parts.parts.iter().all(|part| part.cut.is_some()) {
            changed += CHANGED;
            uploaded += CHANGED;
        }
        retained.push_back(chain.clone());
        if retained.len() > RETAINED {
            retained.pop_front();
        }
        if pending.is_none()
            && let Some(cut) = parts.due(CheckpointId(epoch), chain.iter())
        {
            let within = parts.parts.iter().filter(|part| part.groups.overlaps(cut.groups)).count() as u64;
            let base = file(RunKind::Base, epoch, cut.groups, LIVE * within / parts.parts.len() as u64);
            uploaded += if changed > 0 { base.object.length } else { 0 };
            shown.bases.push(cut.groups);
            pending = Some((cut, base));
        }
        let objects: std::collections::BTreeMap<_, _> = retained
            .iter()
            .flatten()
            .chain(pending.iter().map(|(_, base)| base))
            .map(|run| ((run.kind, run.epoch), run.object.length))
            .collect();
        shown.bucket = shown.bucket.max(objects.values().sum::<u64>() as f64 / LIVE as f64);
    }
    shown.uploaded = uploaded as f64 / changed as f64;
    shown
}

#[test]
fn parts_in_turn_cost_no_more_and_leave_less_in_the_bucket() {
    let (whole, divided) = (simulate(parts(1, 0), 1000), simulate(parts(4, 0), 1000));
    let cost = 1.0 + 1.0 / FACTOR;
    assert!((whole.uploaded - cost).abs() < 0.03, "{}", whole.uploaded);
    assert!((divided.uploaded - cost).abs() < 0.03, "{}", divided.uploaded);
    // The state, the runs, those that come until the old chain is retired, and the base that replaces it.
    let common = 1.0 + FACTOR + (RETAINED + 2) as f64 / 20.0;
    assert!(whole.bucket > common + 0.9, "{}", whole.bucket);
    assert!(divided.bucket < common + 0.3, "{}", divided.bucket);
}

#[test]
fn the_oldest_part_is_next() {
    let shown = simulate(parts(4, 0), 400);
    let starts: Vec<_> = shown.bases.iter().map(|groups| groups.start / 32).collect();
    assert!(starts.len() > 8);
    assert!(starts.iter().enumerate().all(|(at, start)| *start == at as u32 % 4), "{starts:?}");
}

#[test]
fn small_parts_are_rewritten_together() {
    let shown = simulate(parts(4, LIVE), 200);
    assert!(shown.bases.len() > 2);
    assert!(shown.bases.iter().all(|groups| *groups == EVERYTHING));
}

#[test]
fn a_file_is_needed_until_every_part_it_touches_has_a_newer_base() {
    let mut parts = parts(2, 0);
    let cut =
        |epoch, start: u32, end| Cut { epoch: CheckpointId(epoch), groups: KeyGroupRange::new(start, end), growth: 0 };
    let run = file(RunKind::Run, 5, KeyGroupRange::new(0, 64), 1);
    let left = file(RunKind::Run, 5, KeyGroupRange::new(0, 32), 1);
    let base = file(RunKind::Base, 5, KeyGroupRange::new(0, 32), 1);
    assert!(parts.need(&run));
    parts.cut(&cut(5, 0, 32), 1);
    assert!(parts.need(&run), "the second part has no base yet");
    assert!(!parts.need(&left));
    assert!(parts.need(&base), "it is the base");
    assert!(!parts.need_within(&run, KeyGroupRange::new(0, 32)), "what the base holds is not merged again");
    parts.cut(&cut(6, 32, EVERYTHING.end_exclusive), 1);
    assert!(!parts.need(&run));
    assert!(parts.need(&file(RunKind::Run, 6, KeyGroupRange::new(0, 64), 1)), "the first part's base is older");
    parts.cut(&cut(7, 0, 32), 1);
    assert!(!parts.need(&base), "a newer one has replaced it");
}
