//! One checkpoint from its trigger to its completion or abort.

use super::action::{AbortCause, Action, Answer, Barrier};
use super::config::MAX_WITHDRAWN;
use super::event::DeclineCause;
use super::in_flight::{InFlight, Phase};
use super::plan::{StoreAck, TaskAck, TaskId};
use super::reign::Append;
use super::requests::answer_error;
use super::{Coordinator, Stage};
use crate::ids::{CheckpointId, Millis};
use crate::manifest::ManifestKind;

/// Least time between a failed checkpoint and the next one that is wanted at once (by request, for an ending), in ms.
const RETRY_PAUSE_MS: u64 = 1_000;

/// Why checkpoints are late while uploads wait that failed.
const UPLOADS_WAIT: &str = "uploads wait for the storage";

/// The restart delay after too many failed checkpoints is not spread.
const NO_JITTER: f64 = 0.5;

impl Coordinator {
    /// Triggers the next checkpoint, if one is wanted and nothing is in the way.
    pub(super) fn trigger(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.is_running() {
            return;
        }
        let has_id = self.head().is_some_and(|head| self.last_used < head.reserved_ids);
        let is_free = self.in_flight.is_none() && has_id;
        let is_due = self.triggers.poll(&self.config, is_free && self.ending.is_none(), now);
        if !is_free {
            return;
        }
        let may_hurry = now >= self.not_before;
        if let Some(ending) = &self.ending {
            if !ending.final_done && may_hurry {
                let savepoint = self.stop.as_ref().and_then(|stop| stop.savepoint.clone());
                self.begin(ManifestKind::Final, now, out).savepoint = savepoint;
            }
        } else if may_hurry && let Some(wanted) = self.next_savepoint(out) {
            let requests = self.requests.take_checkpoints();
            let in_flight = self.begin(ManifestKind::Savepoint, now, out);
            in_flight.savepoint = Some(wanted.name);
            in_flight.savepoint_request = wanted.request;
            in_flight.requests = requests;
        } else if is_due || (may_hurry && self.requests.has_checkpoint()) {
            let requests = self.requests.take_checkpoints();
            self.begin(ManifestKind::Checkpoint, now, out).requests = requests;
        }
    }

    pub(super) fn handle_task_ack(&mut self, ack: TaskAck) {
        if !self.is_current(ack.generation) {
            return;
        }
        match &mut self.in_flight {
            Some(in_flight) if in_flight.id == ack.checkpoint => in_flight.add_task(ack),
            Some(_) | None => self.output.handle_late_ack(ack),
        }
    }

    pub(super) fn handle_sealed(&mut self, checkpoint: CheckpointId, task: TaskId) {
        if let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.id == checkpoint) {
            in_flight.add_sealed(task);
        }
    }

    pub(super) fn handle_store_ack(&mut self, ack: StoreAck) {
        if self.is_current(ack.generation)
            && let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.id == ack.checkpoint)
        {
            in_flight.add_store(ack);
        }
    }

    pub(super) fn handle_declined(
        &mut self,
        checkpoint: CheckpointId,
        cause: DeclineCause,
        now: Millis,
        out: &mut Vec<Action>,
    ) {
        // Once everybody acknowledged, a decline can only be a late one of somebody who acknowledged in the end.
        let is_collecting = self
            .in_flight
            .as_ref()
            .is_some_and(|in_flight| in_flight.id == checkpoint && in_flight.phase == Phase::Collecting);
        if is_collecting {
            let cause = match cause {
                DeclineCause::Storage(reason) => AbortCause::Storage(reason),
                DeclineCause::Other(reason) => AbortCause::Declined(reason),
            };
            self.abort(cause, now, out);
        }
    }

    pub(super) fn note_trouble(&mut self, trouble: &str) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.storage_trouble.get_or_insert_with(|| trouble.to_owned());
        }
    }

    pub(super) fn handle_uploads_waiting(&mut self, waiting: bool) {
        self.uploads_wait = waiting;
        if waiting {
            self.note_trouble(UPLOADS_WAIT);
        }
    }

    /// Builds the manifest once everybody acknowledged, and has it stored; again, with the same bytes, if that failed.
    pub(super) fn publish(&mut self, now: Millis, out: &mut Vec<Action>) {
        if !self.is_running() || !self.reign.may_write() {
            return;
        }
        let (Some(plan), Some(in_flight)) = (&self.plan, &mut self.in_flight) else { return };
        if in_flight.phase == Phase::Collecting && in_flight.is_collected(plan) {
            let head = self.reign.head().expect("a running job has a head");
            let names = (&head.job_id, head.generation);
            match in_flight.publish(plan, &self.base, self.output.carried(), names, now) {
                Ok(published) => {
                    in_flight.phase = Phase::Publishing { published: Box::new(published), sent: false, withdrawn: 0 };
                }
                Err(reason) => return self.abort(AbortCause::Inconsistent(reason), now, out),
            }
        }
        if let Phase::Publishing { published, sent: sent @ false, withdrawn } = &mut in_flight.phase {
            *sent = true;
            let guarded = *withdrawn < MAX_WITHDRAWN;
            let (checkpoint, key, bytes) =
                (in_flight.id, published.entry.manifest.key.clone(), published.bytes.clone());
            if self.defects.commit_before_publish {
                out.push(Action::Commit { checkpoint, handles: published.sinks.clone() });
            }
            if self.defects.delete_before_entry {
                let mut head = self.reign.head().expect("a running job has a head").clone();
                head.complete(published.entry.clone());
                let dropped = head.retire(self.config.retained);
                out.push(Action::DeleteObjects(dropped.into_iter().map(|entry| entry.manifest.key).collect()));
            }
            out.push(Action::PutManifest { checkpoint, key, bytes, guarded });
        }
    }

    pub(super) fn handle_manifest_stored(&mut self, checkpoint: CheckpointId, stored: bool) {
        let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.id == checkpoint) else { return };
        if let Phase::Publishing { published, sent, withdrawn } = &mut in_flight.phase {
            if stored {
                in_flight.phase = Phase::Published(published.clone());
            } else {
                (*sent, *withdrawn) = (false, 0);
                self.note_trouble("the manifest could not be stored");
            }
        }
    }

    pub(super) fn handle_manifest_withdrawn(&mut self, checkpoint: CheckpointId) {
        let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.id == checkpoint) else { return };
        if let Phase::Publishing { published: _, sent, withdrawn } = &mut in_flight.phase {
            *sent = false;
            *withdrawn = withdrawn.saturating_add(1);
            if *withdrawn >= MAX_WITHDRAWN {
                self.reign.suspect();
            }
        }
    }

    /// The checkpoint's journal entry counts.
    pub(super) fn complete(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let InFlight { id, kind, savepoint, savepoint_request, requests, phase, .. } = in_flight;
        let Phase::Published(published) = phase else { return };
        self.stats.completed += 1;
        self.stats.failures_in_a_row = 0;
        self.triggers.handle_ended(now);
        self.output.handle_completed();
        self.retirement.handle_loaded(id, Some(published.objects));
        // A deployment that failed meanwhile commits when the next one replays.
        if self.is_running() {
            if !published.sinks.is_empty() {
                self.output.handle_committing(id);
                out.push(Action::Commit { checkpoint: id, handles: published.sinks });
            }
            out.push(Action::Acknowledge { checkpoint: id });
        }
        if let Some(name) = savepoint {
            self.requests.begin_savepoint(&name, id, savepoint_request);
        }
        for request in requests {
            out.push(Action::Answer { request, result: Ok(Answer::Checkpoint(published.entry.clone())) });
        }
        if let (ManifestKind::Final, Some(ending)) = (kind, &mut self.ending) {
            ending.final_done = true;
        }
        out.push(Action::Completed(published.entry));
    }

    pub(super) fn expire_checkpoint(&mut self, now: Millis, out: &mut Vec<Action>) {
        let Some(in_flight) = &self.in_flight else { return };
        if now < in_flight.deadline || matches!(self.append, Some(Append::Checkpoint(_))) {
            return;
        }
        let is_collected = self.plan.as_ref().is_some_and(|plan| in_flight.is_collected(plan));
        let cause = match (&in_flight.storage_trouble, &in_flight.phase) {
            (Some(trouble), _) => AbortCause::Storage(trouble.clone()),
            // All parts are there: nothing but the storage is left to wait for, be it for its word on who reigns.
            (None, Phase::Publishing { .. } | Phase::Published(_)) => AbortCause::Storage("no answer".to_owned()),
            (None, Phase::Collecting) if is_collected => AbortCause::Storage("no answer".to_owned()),
            (None, Phase::Collecting) => {
                let awaited = self.plan.as_ref().map(|plan| in_flight.awaited(plan)).unwrap_or_default();
                AbortCause::Timeout { awaited }
            }
        };
        self.abort(cause, now, out);
    }

    /// Drops the checkpoint under way together with its deployment.
    pub(super) fn abandon_in_flight(&mut self, reason: &str, now: Millis, out: &mut Vec<Action>) {
        if let Some(in_flight) = self.in_flight.take() {
            self.triggers.handle_ended(now);
            self.refuse_in_flight(&in_flight, reason, out);
        }
    }

    /// Deletes what nothing names, while the store's confirmation of the reign is fresh.
    pub(super) fn delete(&mut self, out: &mut Vec<Action>) {
        if self.reign.is_confirmed_now() && self.stage != Stage::Left {
            let keys = self.retirement.begin_delete(self.config.manifests_together);
            if !keys.is_empty() {
                out.push(Action::DeleteObjects(keys));
            }
        }
    }

    pub(super) fn handle_objects_listed(&mut self, keys: Vec<String>) {
        if let Some(generation) = self.generation() {
            let trimmed_below = self.reign.journal.trimmed_below();
            self.retirement.handle_listed(keys, generation, trimmed_below);
        }
    }

    fn begin(&mut self, kind: ManifestKind, now: Millis, out: &mut Vec<Action>) -> &mut InFlight {
        let checkpoint = self.last_used.next();
        self.last_used = checkpoint;
        self.stats.triggered += 1;
        self.triggers.handle_triggered();
        let generation = self.generation().expect("a running job has a generation");
        out.push(Action::Trigger(Barrier { checkpoint, generation, kind, triggered_at: now }));
        let mut in_flight = InFlight::new(checkpoint, kind, now, now.plus(self.config.timeout_ms));
        in_flight.storage_trouble = self.uploads_wait.then(|| UPLOADS_WAIT.to_owned());
        self.in_flight.insert(in_flight)
    }

    fn abort(&mut self, cause: AbortCause, now: Millis, out: &mut Vec<Action>) {
        let Some(in_flight) = self.in_flight.take() else { return };
        let checkpoint = in_flight.id;
        self.triggers.handle_ended(now);
        self.not_before = now.plus(RETRY_PAUSE_MS);
        self.refuse_in_flight(&in_flight, &format!("checkpoint {checkpoint} {cause}"), out);
        let (acknowledged, sinks) = in_flight.take_sinks();
        if !self.defects.drop_output_on_abort {
            self.output.handle_aborted(checkpoint, acknowledged, sinks);
        }
        out.push(Action::Abort { checkpoint, cause: cause.clone() });
        if let AbortCause::Storage(_) = cause {
            self.stats.aborted_by_storage += 1;
            return;
        }
        self.stats.aborted += 1;
        self.stats.failures_in_a_row += 1;
        let failures = self.stats.failures_in_a_row;
        if failures > self.config.tolerable_failures {
            self.stats.failures_in_a_row = 0;
            let reason = format!("{failures} checkpoints in a row failed; the last one, {checkpoint}, {cause}");
            self.fail(reason, NO_JITTER, now, out);
        }
    }

    fn refuse_in_flight(&mut self, in_flight: &InFlight, reason: &str, out: &mut Vec<Action>) {
        match &in_flight.phase {
            Phase::Collecting => {}
            Phase::Publishing { published, .. } | Phase::Published(published) => {
                self.retirement.handle_abandoned(published.entry.manifest.key.clone());
            }
        }
        answer_error(&in_flight.requests, reason, out);
        answer_error(in_flight.savepoint_request.as_slice(), reason, out);
    }
}
