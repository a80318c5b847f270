//! Parts of the key groups, each with a base of its own, and when which of them is due.
//!
//! A base replaces older files. Were all key groups rewritten at once, the bucket would hold the old base, the new one and all runs
//! between them at the same time. So a worker's key groups are divided, and one part is rewritten at a time: the one whose base is the
//! oldest, each time the runs since the last base have grown by this part's share. A file leaves the chain when every part that it
//! touches has a newer base. It is the idea of incremental garbage collection in log-structured stores (Rosenblum and Ousterhout,
//! *The design and implementation of a log-structured file system*, 1992), with parts in turn instead of segments by their use.
//!
//! As long as a part has no base of this process (at its beginning, or after a restore), no run can be dropped. So the first ones come
//! earlier, one each time the runs have grown by a part's share of the state, and the last when it is due. Small states are not worth
//! dividing: all parts are rewritten together.

use std::path::PathBuf;

use weir_protocol::{CheckpointId, KeyGroup, KeyGroupRange, ObjectRef, RunKind, RunRef};

/// All key groups there can be, broadcast state included.
const EVERYTHING: KeyGroupRange = KeyGroupRange { start: 0, end_exclusive: KeyGroup::BROADCAST.0 as u32 + 1 };

/// When a base is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BasePolicy {
    /// Runs may weigh so many times as much as the live state.
    pub(crate) factor: f64,
    /// There may be so many runs.
    pub(crate) max_runs: usize,
    /// Runs that weigh less are left alone.
    pub(crate) min_bytes: u64,
    /// Parts with less live state than this are rewritten together.
    pub(crate) part_bytes: u64,
    /// A planted defect: a base is made of everything there is.
    pub(crate) from_live_state: bool,
}

/// A base that is under way: what it will replace.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) epoch: CheckpointId,
    /// The key groups of the parts in it, one or all, as far as they are this worker's.
    pub(crate) groups: KeyGroupRange,
    /// The state's growth until then.
    growth: i64,
}

/// A base to be built.
#[derive(Debug)]
pub(crate) struct BasePlan {
    pub(crate) cut: Cut,
    /// What it is made of, in chain order, and where that is.
    pub(crate) files: Vec<(ObjectRef, PathBuf)>,
}

#[derive(Debug)]
struct Part {
    groups: KeyGroupRange,
    /// Epoch of its base, if this process has written one.
    cut: Option<CheckpointId>,
    /// Bytes of its base.
    bytes: f64,
    /// [`Parts::growth`] when it was cut.
    growth: i64,
}

impl Part {
    /// True if a chain needs the file for this part: it is newer than the part's base, or belongs to it.
    fn needs(&self, run: &RunRef) -> bool {
        let is_new = |cut| run.epoch > cut || (run.kind == RunKind::Base && run.epoch == cut);
        self.groups.overlaps(run.key_groups) && self.cut.is_none_or(is_new)
    }
}

/// The parts of a worker.
#[derive(Debug)]
pub(crate) struct Parts {
    policy: BasePolicy,
    parts: Vec<Part>,
    is_divided: bool,
    /// Bytes of live state added since the process began, estimated.
    growth: i64,
}

impl Parts {
    pub(crate) fn new(policy: BasePolicy) -> Self {
        let all = Part { groups: EVERYTHING, cut: None, bytes: 0.0, growth: 0 };
        Self { policy, parts: vec![all], is_divided: false, growth: 0 }
    }

    pub(crate) fn policy(&self) -> BasePolicy {
        self.policy
    }

    /// Takes what a restored chain says of the live state.
    pub(crate) fn restored<'a>(&mut self, chain: impl Iterator<Item = &'a RunRef>) {
        let bases = chain.filter(|run| run.kind == RunKind::Base);
        self.parts[0].bytes = bases.map(|run| run.object.length).sum::<u64>() as f64;
    }

    /// Divides the key groups at the beginnings of these ranges; only the first call counts.
    pub(crate) fn divide(&mut self, ranges: impl FnOnce() -> Vec<KeyGroupRange>) {
        if std::mem::replace(&mut self.is_divided, true) {
            return;
        }
        let starts: Vec<u32> = ranges().iter().skip(1).map(|range| range.start).collect();
        let bytes = self.parts[0].bytes / (starts.len() + 1) as f64;
        let from = std::iter::once(EVERYTHING.start).chain(starts.iter().copied());
        let to = starts.iter().copied().chain([EVERYTHING.end_exclusive]);
        let part = |(start, end)| Part { groups: KeyGroupRange::new(start, end), cut: None, bytes, growth: 0 };
        self.parts = from.zip(to).map(part).collect();
    }

    /// Notes how much a run added to the live state.
    pub(crate) fn grow(&mut self, bytes: i64) {
        self.growth += bytes;
    }

    /// Notes that a base of so many bytes is part of the chain.
    pub(crate) fn cut(&mut self, cut: &Cut, bytes: u64) {
        let within = self.parts.iter().filter(|part| part.groups.overlaps(cut.groups)).count();
        for part in self.parts.iter_mut().filter(|part| part.groups.overlaps(cut.groups)) {
            part.cut = Some(cut.epoch);
            part.bytes = bytes as f64 / within as f64;
            part.growth = cut.growth;
        }
    }

    /// True if the chain needs the file.
    pub(crate) fn need(&self, run: &RunRef) -> bool {
        self.need_within(run, EVERYTHING)
    }

    /// True if the chain needs the file for these key groups.
    pub(crate) fn need_within(&self, run: &RunRef, groups: KeyGroupRange) -> bool {
        self.parts.iter().any(|part| part.groups.overlaps(groups) && part.needs(run))
    }

    /// Bytes of live state, estimated.
    fn live(&self) -> f64 {
        let share = |part: &Part| part.bytes + (self.growth - part.growth) as f64 / self.parts.len() as f64;
        self.parts.iter().map(share).sum::<f64>().max(0.0)
    }

    /// The base that is due after the checkpoint of `epoch` with this chain.
    pub(crate) fn due<'a>(&self, epoch: CheckpointId, chain: impl Iterator<Item = &'a RunRef>) -> Option<Cut> {
        let runs: Vec<_> =
            chain.filter(|run| run.kind == RunKind::Run).map(|run| (run.epoch, run.object.length)).collect();
        let live = self.live();
        let all = self.parts.len() as f64;
        let together = live < self.policy.part_bytes as f64 * all;
        let outweighs = |since: Option<CheckpointId>, share: f64| {
            let newer = runs.iter().filter(|(epoch, _)| since.is_none_or(|since| *epoch > since));
            let (count, bytes) =
                newer.fold((0_usize, 0.0), |(count, bytes), (_, length)| (count + 1, bytes + *length as f64));
            let most = (live * self.policy.factor).max(self.policy.min_bytes as f64);
            bytes > most * share || count as f64 > self.policy.max_runs as f64 * share
        };
        let newest = self.parts.iter().map(|part| part.cut).max().flatten();
        let without = self.parts.iter().filter(|part| part.cut.is_none()).count();
        let is_due = match without {
            _ if together => outweighs(None, 1.0),
            0 => outweighs(None, 1.0) || outweighs(newest, 1.0 / all),
            others => outweighs(None, 1.0 - (others - 1) as f64 / all / self.policy.factor),
        };
        if !is_due {
            return None;
        }
        let oldest = self.parts.iter().min_by_key(|part| part.cut).map_or(EVERYTHING, |part| part.groups);
        Some(Cut { epoch, groups: if together { EVERYTHING } else { oldest }, growth: self.growth })
    }
}

#[cfg(test)]
mod tests;
