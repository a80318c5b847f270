//! Bases: one acknowledged chain's files merged into a single sorted image that replaces them.
//!
//! The files are ingested into a temporary database, read through in order and written out again: newest values only, without
//! tombstones, without what has expired, without what this worker does not own. A base begins with range tombstones over what
//! the worker owns, so that nothing older shines through where chains of several workers meet after a rescale.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use weir_protocol::{KeyGroup, KeyGroupRange, OperatorId, StateId, StateInfo, StateKind};

use crate::error::StateError;
use crate::past::{Direction, Past};
use crate::rocks::{Purpose, Rocks, file_options};
use crate::run_buffer::{key_head, split_head};
use crate::sst::{RunWriter, WrittenFile};
use crate::store::ledger::BasePlan;
use crate::store::restore::{fetch_missing, mend};
use crate::store::{Inner, upload};
use crate::value::split_expiry;

/// Which key groups the subtasks of each operator on this worker own.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    operators: BTreeMap<OperatorId, Operator>,
}

#[derive(Debug, Default)]
struct Operator {
    ranges: BTreeSet<KeyGroupRange>,
    /// The subtask that writes broadcast state is here.
    broadcasts: bool,
}

impl Ownership {
    pub(crate) fn add(&mut self, operator: &OperatorId, subtask: u32, range: KeyGroupRange) {
        let operator = self.operators.entry(operator.clone()).or_default();
        operator.ranges.insert(range);
        operator.broadcasts |= subtask == 0;
    }

    /// The key groups of every state that this worker owns, as ranges in order.
    fn of_states(&self, states: &[StateInfo], off_by_one: bool) -> BTreeMap<StateId, Vec<KeyGroupRange>> {
        let mut owned = BTreeMap::new();
        for state in states {
            let Some(operator) = self.operators.get(&state.operator) else { continue };
            let broadcast = u32::from(KeyGroup::BROADCAST.0);
            let ranges = match state.kind {
                StateKind::Broadcast if operator.broadcasts => vec![KeyGroupRange::new(broadcast, broadcast + 1)],
                StateKind::Broadcast => Vec::new(),
                _ => merge_ranges(&operator.ranges, off_by_one),
            };
            owned.insert(state.id, ranges);
        }
        owned
    }
}

/// Joins ranges that touch.
fn merge_ranges(ranges: &BTreeSet<KeyGroupRange>, off_by_one: bool) -> Vec<KeyGroupRange> {
    let mut merged: Vec<KeyGroupRange> = Vec::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.end_exclusive >= range.start => {
                last.end_exclusive = last.end_exclusive.max(range.end_exclusive);
            }
            _ => merged.push(*range),
        }
    }
    if off_by_one {
        merged.iter_mut().for_each(|range| range.end_exclusive -= 1);
    }
    merged
}

/// The parts of the stored key space that are owned, as `start..end` byte ranges in order: one per key group range if all states
/// agree on them, else one per key group and state.
fn owned_spans(owned: &BTreeMap<StateId, Vec<KeyGroupRange>>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keyed: BTreeSet<_> = owned
        .values()
        .filter(|ranges| ranges.first().is_some_and(|range| range.start < u32::from(KeyGroup::BROADCAST.0)))
        .collect();
    let head = |group: u32, state: StateId| match u16::try_from(group) {
        Ok(group) => key_head(KeyGroup(group), state).to_vec(),
        Err(_) => vec![u8::MAX; 5],
    };
    let mut spans: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let all_agree = keyed.len() <= 1;
    if all_agree {
        let ranges = keyed.into_iter().flatten();
        spans.extend(ranges.map(|range| (head(range.start, StateId(0)), head(range.end_exclusive, StateId(0)))));
    }
    for (state, ranges) in owned {
        for range in ranges {
            if all_agree && range.start < u32::from(KeyGroup::BROADCAST.0) {
                continue;
            }
            // Ids stay below `u16::MAX`, so there is a next one.
            spans.extend(
                range
                    .groups()
                    .map(|group| (key_head(group, *state).to_vec(), key_head(group, StateId(state.0 + 1)).to_vec())),
            );
        }
    }
    spans.sort();
    spans
}

/// Builds a base in the background.
pub(super) fn start(inner: &Arc<Inner>, plan: BasePlan) {
    let thread = std::thread::Builder::new().name("weir-state-base".into());
    let shared = Arc::clone(inner);
    let spawned = thread.spawn(move || {
        let epoch = plan.epoch;
        match build(&shared, plan) {
            Ok(files) => {
                let files = shared.ledger.lock().base_built(epoch, files);
                shared.bases_built.fetch_add(1, Ordering::Relaxed);
                files.into_iter().for_each(|file| upload::start(&shared, file.run.object.key, file.local));
            }
            Err(error) => {
                tracing::warn!(%epoch, error = &error as &dyn std::error::Error, "base not built, later");
                shared.ledger.lock().base_failed();
            }
        }
    });
    match spawned {
        Ok(thread) => *inner.base_thread.lock() = Some(thread),
        Err(_) => inner.ledger.lock().base_failed(),
    }
}

fn build(inner: &Inner, plan: BasePlan) -> Result<Vec<WrittenFile>, StateError> {
    let scratch = inner.directory.base();
    let result = build_in(inner, &plan, &scratch);
    remove(&scratch);
    if let Err(StateError::Rocks { .. }) = &result {
        // A local file may be damaged; then the next attempt finds it whole.
        mend(&inner.config, &plan.files)?;
    }
    result
}

fn remove(scratch: &Path) {
    if let Err(error) = std::fs::remove_dir_all(scratch)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(directory = %scratch.display(), error = &error as &dyn std::error::Error, "not removed");
    }
}

fn build_in(inner: &Inner, plan: &BasePlan, scratch: &Path) -> Result<Vec<WrittenFile>, StateError> {
    std::fs::create_dir_all(scratch).map_err(|source| StateError::local("create directory", scratch, source))?;
    fetch_missing(&inner.config, &plan.files)?;
    let files: Vec<_> = plan.files.iter().map(|(_, local)| local.clone()).collect();
    let suspicion = inner.directory.suspicion();
    let rocks = Rocks::create(scratch.join("db"), suspicion, &inner.config.tuning, Purpose::Merge)?;
    rocks.ingest(&files, &scratch.join("links"))?;
    let states = inner.schema.lock().states();
    let off_by_one = inner.config.defects.range_end_off_by_one;
    let owned = inner.ownership.lock().of_states(&states, off_by_one);
    let now = inner.shared.clock.load(Ordering::Relaxed);
    write(inner, &rocks, &owned, now)
}

fn write(
    inner: &Inner,
    merged: &dyn Past,
    owned: &BTreeMap<StateId, Vec<KeyGroupRange>>,
    now: i64,
) -> Result<Vec<WrittenFile>, StateError> {
    let options = file_options(&inner.config.tuning);
    let mut names = inner.file_names.base();
    let mut writer = RunWriter::new(&options, inner.config.max_file_bytes, || names.next_name());
    for (start, end) in owned_spans(owned) {
        // What the current file hides begins here, and ends where the file is cut.
        let mut hidden_from = start.clone();
        merged.scan(&start, &end, Direction::Ascending, &mut |key, value| {
            if inner.is_stopping() {
                return Err(StateError::ShutDown);
            }
            let is_owned = split_head(key).is_some_and(|(group, state, _)| {
                owned.get(&state).is_some_and(|ranges| ranges.iter().any(|range| range.contains(group)))
            });
            let is_over = split_expiry(value).is_ok_and(|(expiry, _)| expiry.is_over(now));
            if !is_owned || is_over {
                return Ok(ControlFlow::Continue(()));
            }
            if writer.is_full() {
                writer.hide(&hidden_from, key)?;
                writer.cut()?;
                hidden_from = key.to_vec();
            }
            writer.put(key, Some(value))?;
            Ok(ControlFlow::Continue(()))
        })?;
        writer.hide(&hidden_from, &end)?;
    }
    writer.finish()
}
