//! The coordinator and its journal: claims, appends, re-validation, and what follows from an entry that counts.

use super::action::{Action, Answer, LeaveReason};
use super::config::{CoordinatorConfig, MAX_REOPENED, PAUSE_SUSPECTED_MS, RESERVED_AHEAD};
use super::in_flight::Phase;
use super::requests::answer_error;
use super::{Coordinator, Stage};
use crate::defects::Defects;
use crate::ids::{CheckpointId, Generation, Millis};
use crate::journal::{
    Attempts, Draft, EntryKind, FencedBy, Head, JobStatus, JournalAction, JournalMachine, PendingSavepoint,
    StartDecision, resolve_start,
};

/// What the append under way is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Append {
    Claim,
    Checkpoint(CheckpointId),
    Savepoint(PendingSavepoint),
    /// A savepoint that cannot be copied is given up.
    Release(String),
    Reserve,
    Settle(JobStatus),
}

/// The journal, and how sure this coordinator is that it reigns.
#[derive(Debug, Clone)]
pub(super) struct Reign {
    pub journal: JournalMachine,
    attempts: Attempts,
    claimed: bool,
    /// How often the journal was opened anew before the claim.
    reopened: u32,
    seen: Option<Millis>,
    validated_at: Millis,
    /// The process may have been stopped and replaced: nothing is written before the store says otherwise.
    suspect: bool,
    /// The store has confirmed the reign in this very call.
    confirmed_now: bool,
}

impl Reign {
    pub fn new(config: &CoordinatorConfig, attempts: Attempts) -> Self {
        Self {
            journal: JournalMachine::new(config.journal_keep),
            attempts,
            claimed: false,
            reopened: 0,
            seen: None,
            validated_at: Millis(i64::MIN),
            suspect: false,
            confirmed_now: false,
        }
    }

    pub fn plant(&mut self, defects: Defects) {
        self.journal = self.journal.clone().with_defects(defects);
    }

    /// An event arrives.
    pub fn observe(&mut self, now: Millis) {
        self.confirmed_now = false;
        let gap = self.seen.map_or(0, |seen| now.since(seen));
        if gap > PAUSE_SUSPECTED_MS {
            self.suspect();
        }
        self.seen = Some(now);
    }

    /// The process may have been stopped and replaced.
    pub fn suspect(&mut self) {
        if self.claimed {
            self.suspect = true;
            self.journal.pause_trimming();
        }
    }

    pub fn head(&self) -> Option<&Head> {
        self.journal.head().map(|entry| &entry.head)
    }

    pub fn generation(&self) -> Option<Generation> {
        self.head().filter(|_| self.claimed).map(|head| head.generation)
    }

    /// True if something may be written now.
    pub fn may_write(&self) -> bool {
        !self.suspect
    }

    /// True if the store has confirmed the reign in this very call.
    pub fn is_confirmed_now(&self) -> bool {
        self.confirmed_now && self.claimed
    }

    /// True if `by` is the reign that the claim was to end, and has only been quicker.
    fn is_outrun_by(&self, by: &FencedBy) -> bool {
        let read = self.head().map(|head| head.generation);
        !self.claimed && read.is_some() && by.generation == read && self.reopened < MAX_REOPENED
    }

    fn confirm(&mut self, now: Millis) {
        self.validated_at = now;
        self.suspect = false;
        self.confirmed_now = true;
    }
}

impl Coordinator {
    pub(super) fn start(&mut self, out: &mut Vec<Action>) {
        if self.stage == Stage::New {
            self.stage = Stage::Opening;
            out.extend(self.reign.journal.open().into_iter().map(Action::Journal));
        }
    }

    /// The reign to be replaced has appended what the claim did not know: reads it, and decides anew.
    fn reopen(&mut self, out: &mut Vec<Action>) {
        self.reign.reopened += 1;
        self.append = None;
        self.stage = Stage::Opening;
        out.extend(self.reign.journal.open().into_iter().map(Action::Journal));
    }

    pub(super) fn handle_journal(&mut self, actions: Vec<JournalAction>, now: Millis, out: &mut Vec<Action>) {
        for action in actions {
            match action {
                JournalAction::List
                | JournalAction::Read { .. }
                | JournalAction::Create { .. }
                | JournalAction::Delete { .. } => out.push(Action::Journal(action)),
                JournalAction::Opened => self.handle_opened(now, out),
                JournalAction::Appended { .. } => self.handle_appended(now, out),
                JournalAction::NotAppended => self.handle_not_appended(now, out),
                JournalAction::Valid => self.reign.confirm(now),
                JournalAction::Fenced(by) if self.reign.is_outrun_by(&by) => self.reopen(out),
                JournalAction::Fenced(by) => self.leave(LeaveReason::Fenced(by), out),
                JournalAction::Unreadable { key, reason } => self.leave(LeaveReason::Unreadable { key, reason }, out),
            }
        }
    }

    pub(super) fn validate_if_due(&mut self, now: Millis, out: &mut Vec<Action>) {
        let is_due = now.since(self.reign.validated_at) >= self.config.head_poll_ms;
        if self.reign.claimed && (self.reign.suspect || is_due) {
            out.extend(self.reign.journal.validate().into_iter().map(Action::Journal));
        }
    }

    /// Starts the next append, if the journal can take one and there is one to make.
    pub(super) fn append_next(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.reign.journal.is_ready() || !self.reign.may_write() || self.append.is_some() {
            return;
        }
        let Some((append, kind, mut head)) = self.next_append() else { return };
        self.output.apply(&mut head);
        head.reserved_ids = head.reserved_ids.max(CheckpointId(self.last_used.0 + RESERVED_AHEAD));
        let draft = Draft { kind, head, attempt: self.reign.attempts.draw(), written_at: now };
        let actions = self.reign.journal.append(draft).expect("the journal is ready");
        self.append = Some(append);
        out.extend(actions.into_iter().map(Action::Journal));
    }

    fn next_append(&self) -> Option<(Append, EntryKind, Head)> {
        match &self.stage {
            Stage::Claiming { kind, head } => Some((Append::Claim, (**kind).clone(), (**head).clone())),
            Stage::Settling { status } if self.in_flight.is_none() => {
                let mut head = self.head()?.clone();
                head.status = status.clone();
                let kind = match status {
                    // A deletion is no coordinator's to write.
                    JobStatus::Running | JobStatus::Deleted => return None,
                    JobStatus::Stopped => EntryKind::Stopped,
                    JobStatus::Finished => EntryKind::Finished,
                    JobStatus::Failed { reason } => EntryKind::Failed { reason: reason.clone() },
                };
                Some((Append::Settle(status.clone()), kind, head))
            }
            Stage::Running => self.next_running_append(),
            Stage::New
            | Stage::Opening
            | Stage::Deploying
            | Stage::Backoff { .. }
            | Stage::Settling { .. }
            | Stage::Settled { .. }
            | Stage::Left => None,
        }
    }

    fn next_running_append(&self) -> Option<(Append, EntryKind, Head)> {
        let mut head = self.head()?.clone();
        if let Some(in_flight) = &self.in_flight
            && let Phase::Published(published) = &in_flight.phase
        {
            let checkpoint = in_flight.id;
            self.output.apply(&mut head);
            head.complete(published.entry.clone());
            if published.sinks.is_empty() {
                head.pending_commits.retain(|pending| *pending != checkpoint);
            }
            let savepoint = in_flight.savepoint.clone();
            head.savepoints.extend(savepoint.map(|name| PendingSavepoint { name, checkpoint }));
            head.retire(self.config.retained);
            return Some((Append::Checkpoint(checkpoint), EntryKind::Checkpoint { checkpoint }, head));
        }
        if let Some(savepoint) = self.requests.complete_savepoint(&head) {
            head.savepoints.retain(|other| *other != savepoint);
            self.output.apply(&mut head);
            head.retire(self.config.retained);
            let PendingSavepoint { name, checkpoint } = savepoint.clone();
            return Some((Append::Savepoint(savepoint), EntryKind::Savepoint { name, checkpoint }, head));
        }
        if let Some(name) = self.requests.failed_savepoint() {
            head.savepoints.retain(|other| other.name != name);
            self.output.apply(&mut head);
            head.retire(self.config.retained);
            return Some((Append::Release(name), EntryKind::Retire, head));
        }
        (self.last_used >= head.reserved_ids).then_some((Append::Reserve, EntryKind::Reserve, head))
    }

    fn handle_opened(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.reign.validated_at = now;
        let found = self.head();
        let decision = resolve_start(found, &self.request);
        let reserved = found.map_or(CheckpointId(0), |head| head.reserved_ids);
        match decision {
            Ok(StartDecision::Claim { kind, head }) => {
                self.last_used = reserved.max(head.reserved_ids);
                self.stage = Stage::Claiming { kind: Box::new(kind), head };
            }
            Ok(StartDecision::Settled(status)) => {
                self.stage = Stage::Settled { status: status.clone() };
                self.refuse_waiting(&format!("the job is {status}"), out);
                self.answer_stops(true, out);
                out.push(Action::Settled(status));
            }
            Err(refusal) => {
                self.stage = Stage::Left;
                out.push(Action::Refused(refusal));
            }
        }
    }

    fn handle_appended(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(append) = self.append.take() else { return };
        let head = self.head().expect("an appended entry is the head").clone();
        self.reign.claimed = true;
        self.reign.confirm(now);
        self.output.handle_head(&head);
        self.retirement.handle_head(&head);
        match append {
            Append::Claim => self.deploy(&head, out),
            Append::Checkpoint(_) => self.complete(now, out),
            Append::Savepoint(PendingSavepoint { name, checkpoint }) => {
                let answer = Answer::Savepoint { name: name.clone(), checkpoint };
                if let (Some(request), Ok(())) = self.requests.settle_savepoint(&name) {
                    out.push(Action::Answer { request, result: Ok(answer) });
                }
            }
            Append::Release(name) => {
                if let (Some(request), Err(reason)) = self.requests.settle_savepoint(&name) {
                    answer_error(&[request], &reason, out);
                }
            }
            Append::Reserve => {}
            Append::Settle(status) => self.handle_settled(status, out),
        }
    }

    /// Nothing was written: the same thing is tried again, unless its reason has gone.
    fn handle_not_appended(&mut self, now: Millis, out: &mut Vec<Action>) {
        let append = self.append.take();
        if let Some(Append::Checkpoint(_)) = append {
            if !self.is_running() || self.defects.discard_on_unknown {
                self.abandon_in_flight("the job failed", now, out);
            } else {
                self.note_trouble("the journal entry could not be written");
            }
        }
    }

    fn leave(&mut self, reason: LeaveReason, out: &mut Vec<Action>) {
        self.stage = Stage::Left;
        let why = match &reason {
            LeaveReason::Fenced(by) => format!("fenced by {by}"),
            LeaveReason::Unreadable { key, reason } => format!("{key} is unreadable: {reason}"),
        };
        out.push(Action::Cancel { reason: why });
        out.push(Action::Leave(reason));
    }
}
