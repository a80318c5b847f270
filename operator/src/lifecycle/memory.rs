//! What is remembered of a job between looks. Losing it costs time only: whatever must survive is in the objects.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::back_off::BackOff;
use super::call::{CallKind, CallRecord};
use super::plan::Action;

/// What is remembered between looks. Losing it costs time only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// Calls under way and what came of them, until they are used.
    pub calls: BTreeMap<CallKind, CallRecord>,
    /// Failures in a row.
    pub back_off: BackOff,
    /// The number of a deployment that is on its way back to the stable one, and why.
    pub rolling_back: Option<(u64, String)>,
    /// The last crash that was counted there: the pod's uid, and which of its container's.
    pub crash_seen: Option<(String, u32)>,
    /// The pod that was last removed for a failure, and why.
    pub removed: Option<(String, String)>,
    /// Since when the coordinator does not answer.
    pub silent_since: Option<Timestamp>,
    /// Since when a job that runs was seen to run, with a storage that answers.
    pub progress_since: Option<Timestamp>,
    /// When status was last written.
    pub status_written: Option<Timestamp>,
}

impl Memory {
    /// Takes back what a plan that failed used up: calls of `before`, from which it was made.
    pub fn keep_calls_of(&mut self, before: &Memory) {
        for (kind, record) in &before.calls {
            self.calls.entry(*kind).or_insert_with(|| record.clone());
        }
    }

    /// What is remembered once a plan was made: `self` is what is remembered now, `before` what the plan was made from,
    /// `after` what it remembers.
    ///
    /// What came of calls in the meantime is newer. A call that the plan only begins is left out: whoever carries it out
    /// remembers it, so that a plan that fails before it does not leave a call that nobody makes.
    #[must_use]
    pub fn followed_by(&self, before: &Memory, mut after: Memory, actions: &[Action]) -> Memory {
        for (kind, record) in &self.calls {
            let is_news = before.calls.get(kind) != Some(record);
            if let Some(kept) = after.calls.get_mut(kind)
                && is_news
                && kept.key == record.key
            {
                *kept = record.clone();
            }
        }
        for action in actions {
            let Action::Call(call) = action else { continue };
            let is_known = before.calls.get(&call.kind()).is_some_and(|known| known.key == call.key());
            if !is_known {
                after.calls.remove(&call.kind());
            }
        }
        after
    }
}
