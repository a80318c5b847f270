//! Bases: one acknowledged chain's files merged into a sorted image of some key groups that replaces them there.
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
use crate::store::parts::BasePlan;
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

    /// The owned key groups in so many ranges of about the same size, as many as there are groups at most.
    pub(crate) fn parts(&self, count: usize) -> Vec<KeyGroupRange> {
        let ranges: BTreeSet<_> =
            self.operators.values().flat_map(|operator| operator.ranges.iter().copied()).collect();
        let groups: Vec<_> = merge_ranges(&ranges, false).into_iter().flat_map(KeyGroupRange::groups).collect();
        let parts = groups.chunks(groups.len().div_ceil(count.max(1)).max(1));
        let range = |part: &[KeyGroup]| Some(KeyGroupRange::new(part.first()?.0.into(), u32::from(part.last()?.0) + 1));
        parts.filter_map(range).collect()
    }

    /// The key groups within `within` of every state that this worker owns, as ranges in order; none for a state of which it owns nothing
    /// there.
    fn of_states(&self, states: &[StateInfo], within: KeyGroupRange, off_by_one: bool) -> Vec<Owned> {
        let owned = |state: &StateInfo| {
            let is_broadcast = state.kind == StateKind::Broadcast;
            let ranges = match self.operators.get(&state.operator) {
                None => Vec::new(),
                Some(operator) if is_broadcast && operator.broadcasts => vec![KeyGroupRange::BROADCAST],
                Some(_) if is_broadcast => Vec::new(),
                Some(operator) => merge_ranges(&operator.ranges, off_by_one),
            };
            let ranges = ranges.into_iter().map(|range| range.intersection(within)).filter(|range| !range.is_empty());
            Owned { state: state.id, is_broadcast, ranges: ranges.collect() }
        };
        states.iter().map(owned).collect()
    }
}

/// What of a state is to be in a base.
struct Owned {
    state: StateId,
    is_broadcast: bool,
    ranges: Vec<KeyGroupRange>,
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
fn owned_spans(owned: &[Owned]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keyed: BTreeSet<_> = owned.iter().filter(|owned| !owned.is_broadcast).map(|owned| &owned.ranges).collect();
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
    for Owned { state, ranges, .. } in owned.iter().filter(|owned| owned.is_broadcast || !all_agree) {
        // Ids stay below `u16::MAX`, so there is a next one.
        let groups = ranges.iter().flat_map(|range| range.groups());
        spans.extend(
            groups.map(|group| (key_head(group, *state).to_vec(), key_head(group, StateId(state.0 + 1)).to_vec())),
        );
    }
    spans.sort();
    spans
}

/// Builds a base in the background.
pub(super) fn start(inner: &Arc<Inner>, plan: BasePlan) {
    let thread = std::thread::Builder::new().name("weir-state-base".into());
    let shared = Arc::clone(inner);
    let spawned = thread.spawn(move || {
        let epoch = plan.cut.epoch;
        match build(&shared, plan) {
            Ok(files) => {
                let files = shared.ledger.lock().base_built(files);
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
    let owned = inner.ownership.lock().of_states(&states, plan.cut.groups, off_by_one);
    let now = inner.shared.clock.load(Ordering::Relaxed);
    write(inner, &rocks, &owned, now)
}

fn write(inner: &Inner, merged: &dyn Past, owned: &[Owned], now: i64) -> Result<Vec<WrittenFile>, StateError> {
    let ranges: BTreeMap<_, _> = owned.iter().map(|owned| (owned.state, &owned.ranges)).collect();
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
                ranges.get(&state).is_some_and(|ranges| ranges.iter().any(|range| range.contains(group)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: u16, operator: &OperatorId) -> StateInfo {
        StateInfo {
            id: StateId(id),
            operator: operator.clone(),
            name: "held".to_owned(),
            kind: StateKind::Value,
            key_type: String::new(),
            value_type: String::new(),
            user_key_type: None,
            version: 1,
        }
    }

    #[test]
    fn a_base_hides_nothing_of_a_state_whose_key_groups_are_another_workers() {
        let [wide, narrow, elsewhere] = ["wide", "narrow", "elsewhere"].map(|name| OperatorId(name.into()));
        let mut ownership = Ownership::default();
        ownership.add(&wide, 0, KeyGroupRange::new(0, 4));
        ownership.add(&narrow, 0, KeyGroupRange::new(0, 2));
        let states = [state(1, &wide), state(2, &narrow), state(3, &elsewhere)];
        let owned = ownership.of_states(&states, KeyGroupRange::new(2, 4), false);
        let group = |group, state| key_head(KeyGroup(group), StateId(state)).to_vec();
        assert_eq!(owned_spans(&owned), [(group(2, 1), group(2, 2)), (group(3, 1), group(3, 2))]);
    }

    #[test]
    fn parts_are_ranges_of_what_is_owned() {
        let mut ownership = Ownership::default();
        ownership.add(&OperatorId("a".into()), 0, KeyGroupRange::new(10, 20));
        ownership.add(&OperatorId("a".into()), 2, KeyGroupRange::new(40, 50));
        let parts = ownership.parts(4);
        assert_eq!(parts, [(10, 15), (15, 20), (40, 45), (45, 50)].map(|(start, end)| KeyGroupRange::new(start, end)));
        assert_eq!(ownership.parts(100).len(), 20, "no part without a key group");
        assert_eq!(Ownership::default().parts(4), []);
    }
}
