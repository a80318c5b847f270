//! Requests by hand: checkpoints, savepoints, stop; and what becomes of savepoints after their checkpoint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::action::Action;
use super::config::MAX_WAITING_REQUESTS;
use super::event::RequestId;
use super::lifecycle::StopWish;
use super::output::Output;
use super::{Coordinator, Stage};
use crate::ids::{CheckpointId, Millis};
use crate::journal::{Head, PendingSavepoint};

/// A savepoint asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WantedSavepoint {
    pub name: String,
    pub request: Option<RequestId>,
}

/// Somebody who waits for the job to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WaitingStop {
    pub request: RequestId,
    /// What the final checkpoint was to be kept as.
    pub savepoint: Option<String>,
}

/// Requests that wait, and savepoints being copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Requests {
    checkpoints: Vec<RequestId>,
    savepoints: VecDeque<WantedSavepoint>,
    stops: Vec<WaitingStop>,
    /// Savepoints whose output is not committed yet: a copy that is complete earlier could be restored elsewhere, where
    /// nobody commits.
    uncommitted: BTreeMap<String, CheckpointId>,
    /// Who asked for a savepoint that waits for its commits or is being copied.
    copying: BTreeMap<String, Option<RequestId>>,
    copied: BTreeSet<String>,
    failed: BTreeMap<String, String>,
    /// The savepoint that stops asked for, once it is complete.
    kept: Option<String>,
}

impl Requests {
    pub fn take_checkpoints(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.checkpoints)
    }

    fn take_savepoint(&mut self) -> Option<WantedSavepoint> {
        self.savepoints.pop_front()
    }

    pub fn has_checkpoint(&self) -> bool {
        !self.checkpoints.is_empty()
    }

    pub fn take_stops(&mut self) -> Vec<WaitingStop> {
        std::mem::take(&mut self.stops)
    }

    /// A savepoint's checkpoint is complete: it is to be copied, unless that is under way already.
    pub fn begin_savepoint(&mut self, name: &str, checkpoint: CheckpointId, request: Option<RequestId>) {
        match self.copying.get_mut(name) {
            Some(asked) => *asked = asked.or(request),
            None => {
                self.copying.insert(name.to_owned(), request);
                self.uncommitted.insert(name.to_owned(), checkpoint);
            }
        }
    }

    /// Savepoints whose output is committed now: their copies begin.
    fn take_committed(&mut self, output: &Output) -> BTreeMap<String, CheckpointId> {
        self.uncommitted.extract_if(.., |_, checkpoint| output.is_committed_up_to(*checkpoint)).collect()
    }

    pub fn handle_copied(&mut self, name: String, result: Result<(), String>) {
        if !self.copying.contains_key(&name) {
            return;
        }
        match result {
            Ok(()) => {
                self.copied.insert(name);
            }
            Err(reason) => {
                self.failed.insert(name, reason);
            }
        }
    }

    /// A savepoint that is copied: to be recorded as complete.
    pub fn complete_savepoint(&self, head: &Head) -> Option<PendingSavepoint> {
        head.savepoints.iter().find(|savepoint| self.copied.contains(&savepoint.name)).cloned()
    }

    /// A savepoint that cannot be copied: its sources are to be released.
    pub fn failed_savepoint(&self) -> Option<String> {
        self.failed.keys().next().cloned()
    }

    /// A savepoint's end stands in the journal: forgets it and says whom to answer what.
    pub fn settle_savepoint(&mut self, name: &str) -> (Option<RequestId>, Result<(), String>) {
        let request = self.copying.remove(name).flatten();
        self.copied.remove(name);
        let result = self.failed.remove(name).map_or(Ok(()), Err);
        if result.is_ok() && self.stops.iter().any(|stop| stop.savepoint.as_deref() == Some(name)) {
            self.kept = Some(name.to_owned());
        }
        (request, result)
    }

    /// True if the savepoint of this name that a stop asked for is complete.
    pub fn has_kept(&self, name: &str) -> bool {
        self.kept.as_deref() == Some(name)
    }

    fn waiting(&self) -> usize {
        self.checkpoints.len() + self.savepoints.len() + self.stops.len()
    }

    fn knows_savepoint(&self, name: &str) -> bool {
        self.copying.contains_key(name) || self.savepoints.iter().any(|wanted| wanted.name == name)
    }
}

impl Coordinator {
    /// Has savepoints copied whose output is committed. While nothing runs that is not known.
    pub(super) fn copy_savepoints(&mut self, out: &mut Vec<Action>) {
        if !self.is_running() {
            return;
        }
        for (name, checkpoint) in self.requests.take_committed(&self.output) {
            let entry = self.head().and_then(|head| head.checkpoint(checkpoint)).cloned();
            let checkpoint = entry.expect("a savepoint's checkpoint is kept until it is copied");
            out.push(Action::CopySavepoint { name, checkpoint });
        }
    }

    pub(super) fn handle_checkpoint_request(&mut self, request: RequestId, out: &mut Vec<Action>) {
        match self.refuse_request() {
            Some(reason) => answer_error(&[request], &reason, out),
            None => self.requests.checkpoints.push(request),
        }
    }

    pub(super) fn handle_savepoint_request(&mut self, request: RequestId, name: String, out: &mut Vec<Action>) {
        match self.refuse_request().or_else(|| self.refuse_savepoint(&name)) {
            Some(reason) => answer_error(&[request], &reason, out),
            None => self.requests.savepoints.push_back(WantedSavepoint { name, request: Some(request) }),
        }
    }

    /// The next savepoint to take. One that was asked for before the journal was open may turn out to be under way.
    pub(super) fn next_savepoint(&mut self, out: &mut Vec<Action>) -> Option<WantedSavepoint> {
        while let Some(wanted) = self.requests.take_savepoint() {
            match self.refuse_savepoint(&wanted.name) {
                Some(reason) => answer_error(wanted.request.as_slice(), &reason, out),
                None => return Some(wanted),
            }
        }
        None
    }

    pub(super) fn handle_stop_request(
        &mut self,
        request: RequestId,
        deadline: Millis,
        savepoint: Option<String>,
        out: &mut Vec<Action>,
    ) {
        if let Stage::Settled { .. } = self.stage {
            out.push(self.stop_answer(WaitingStop { request, savepoint }, true));
            return;
        }
        let wished = self.stop.as_ref().and_then(|stop| stop.savepoint.as_ref());
        let refused = savepoint.as_ref().and_then(|name| match wished {
            // The same stop, asked for again.
            Some(wished) if wished == name => None,
            Some(wished) => Some(format!("the job is being stopped already, with savepoint {wished}")),
            None => self.refuse_savepoint(name),
        });
        let full = self.requests.waiting() >= MAX_WAITING_REQUESTS;
        if let Some(reason) = refused.or(full.then(|| "too many requests wait".to_owned())) {
            answer_error(&[request], &reason, out);
            return;
        }
        self.requests.stops.push(WaitingStop { request, savepoint: savepoint.clone() });
        let stop = self.stop.get_or_insert(StopWish { deadline, savepoint: None });
        stop.deadline = stop.deadline.min(deadline);
        stop.savepoint = stop.savepoint.take().or(savepoint);
    }

    /// Answers everything that waits and will not be done any more.
    pub(super) fn refuse_waiting(&mut self, reason: &str, out: &mut Vec<Action>) {
        let mut waiting = self.requests.take_checkpoints();
        waiting.extend(self.requests.savepoints.drain(..).filter_map(|wanted| wanted.request));
        answer_error(&waiting, reason, out);
    }

    fn refuse_request(&self) -> Option<String> {
        match &self.stage {
            Stage::Settled { status } | Stage::Settling { status } => return Some(format!("the job is {status}")),
            Stage::New
            | Stage::Opening
            | Stage::Claiming { .. }
            | Stage::Deploying
            | Stage::Running
            | Stage::Backoff { .. }
            | Stage::Left => {}
        }
        if self.ending.is_some() || self.stop.is_some() {
            return Some("the job is ending with a final checkpoint".to_owned());
        }
        (self.requests.waiting() >= MAX_WAITING_REQUESTS).then(|| "too many requests wait".to_owned())
    }

    fn refuse_savepoint(&self, name: &str) -> Option<String> {
        let in_journal = self.head().is_some_and(|head| head.savepoints.iter().any(|savepoint| savepoint.name == name));
        let in_flight = self.in_flight.as_ref().and_then(|in_flight| in_flight.savepoint.as_deref()) == Some(name);
        (in_journal || in_flight || self.requests.knows_savepoint(name))
            .then(|| format!("savepoint {name} is already being taken"))
    }
}

/// Answers requests with an error.
pub(super) fn answer_error(requests: &[RequestId], reason: &str, out: &mut Vec<Action>) {
    out.extend(requests.iter().map(|request| Action::Answer { request: *request, result: Err(reason.to_owned()) }));
}
