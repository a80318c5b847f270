//! Deployments, failures and endings.

use super::action::{Action, Answer};
use super::in_flight::{BaseCounts, base_counts};
use super::plan::{Deployment, Plan};
use super::reign::Append;
use super::requests::WaitingStop;
use super::{Coordinator, Stage};
use crate::ids::{Generation, Millis};
use crate::journal::start::resolve_redeploy;
use crate::journal::{Head, JobStatus, RestorePoint};
use crate::manifest::Manifest;
use crate::restart::RestartDecision;

/// The job ends with a final checkpoint. An ending belongs to its deployment: one that fails takes it along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ending {
    /// What it ends as.
    pub status: JobStatus,
    /// The final checkpoint is complete.
    pub final_done: bool,
}

impl Ending {
    fn of(status: JobStatus) -> Self {
        Self { status, final_done: false }
    }
}

/// Somebody wants the job stopped. That outlives deployments, and holds also if the job is finishing by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StopWish {
    /// When it stops without a final checkpoint.
    pub deadline: Millis,
    /// Keep the final checkpoint under this name.
    pub savepoint: Option<String>,
}

impl Coordinator {
    /// The claim counts.
    pub(super) fn deploy(&mut self, head: &Head, out: &mut Vec<Action>) {
        if self.stop.is_some() {
            self.settle(JobStatus::Stopped, out);
            return;
        }
        let checkpoint = match &head.restore {
            RestorePoint::Checkpoint(id) => head.checkpoint(*id).cloned(),
            RestorePoint::Empty | RestorePoint::Imported { .. } => None,
        };
        let replay = head.pending_commits.iter().filter_map(|id| head.checkpoint(*id).cloned());
        let replay = if self.defects.skip_commit_replay { Vec::new() } else { replay.collect() };
        self.stage = Stage::Deploying;
        out.push(Action::Deploy(Box::new(Deployment {
            job_id: head.job_id.clone(),
            generation: head.generation,
            restore: head.restore.clone(),
            checkpoint,
            replay,
            used_ids: self.last_used,
        })));
    }

    pub(super) fn handle_deployed(
        &mut self,
        generation: Generation,
        plan: Plan,
        restored: Option<&Manifest>,
        now: Millis,
        out: &mut Vec<Action>,
    ) {
        if self.stage != Stage::Deploying || !self.is_current(generation) {
            return;
        }
        let head = self.head().expect("a deployment has a claim").clone();
        self.stage = Stage::Running;
        self.plan = Some(plan);
        self.base = restored.map_or_else(BaseCounts::new, base_counts);
        self.output.reset();
        for pending in &head.pending_commits {
            self.output.handle_committed(*pending);
        }
        self.ended_inputs.clear();
        self.uploads_wait = false;
        self.triggers.start(&self.config, now);
        self.restarts.handle_running(now);
        if let (RestorePoint::Checkpoint(id), Some(manifest)) = (&head.restore, restored) {
            self.retirement.handle_loaded(*id, Some(manifest.object_keys()));
        }
        for savepoint in head.savepoints.iter().filter(|savepoint| head.checkpoint(savepoint.checkpoint).is_some()) {
            self.requests.begin_savepoint(&savepoint.name, savepoint.checkpoint, None);
        }
        let to_load = self.retirement.take_unrequested();
        out.extend(head.checkpoints.into_iter().filter(|entry| to_load.contains(&entry.id)).map(Action::LoadManifest));
        out.push(Action::ListObjects);
    }

    /// The deployment failed: cancel it, and start again after a while.
    pub(super) fn fail(&mut self, reason: String, random: f64, now: Millis, out: &mut Vec<Action>) {
        if !matches!(self.stage, Stage::Running | Stage::Deploying) {
            return;
        }
        self.withdraw_deployment(&reason, now, out);
        if self.stop.is_some() {
            self.settle(JobStatus::Stopped, out);
            return;
        }
        // If it was finishing, the sources will report their end again.
        self.ending = None;
        match self.restarts.handle_failure(now, random) {
            RestartDecision::After(delay) => {
                self.stats.restarts += 1;
                self.stage = Stage::Backoff { until: now.plus(delay), reason };
            }
            RestartDecision::GiveUp => self.settle(JobStatus::Failed { reason }, out),
        }
    }

    pub(super) fn handle_fatal(&mut self, reason: String, now: Millis, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Running | Stage::Deploying | Stage::Backoff { .. }) {
            self.withdraw_deployment(&reason, now, out);
            self.settle(JobStatus::Failed { reason }, out);
        }
    }

    /// Moves on what only waited for time to pass.
    pub(super) fn expire(&mut self, now: Millis, out: &mut Vec<Action>) {
        self.expire_checkpoint(now, out);
        if let Stage::Backoff { until, .. } = &self.stage
            && now >= *until
            && self.stop.is_none()
            && self.append.is_none()
            && self.in_flight.is_none()
        {
            let (kind, head) = resolve_redeploy(self.head().expect("a claimed journal has a head"));
            self.stage = Stage::Claiming { kind: Box::new(kind), head: Box::new(head) };
        }
    }

    /// Begins an ending when one is wished or all input has ended, and completes one when its final checkpoint is committed.
    pub(super) fn advance_ending(&mut self, now: Millis, out: &mut Vec<Action>) {
        if self.is_running() && self.ending.is_none() {
            let wished = self.stop.is_some().then_some(JobStatus::Stopped);
            self.ending = wished.or(self.has_input_ended().then_some(JobStatus::Finished)).map(Ending::of);
        }
        let is_late = self.stop.as_ref().is_some_and(|stop| now >= stop.deadline);
        let copies_done = self.head().is_some_and(|head| head.savepoints.is_empty());
        let is_done = |ending: &Ending| ending.final_done && self.output.is_committed() && (copies_done || is_late);
        let done = self.ending.as_ref().filter(|ending| is_done(ending)).map(|ending| ending.status.clone());
        match (&self.stage, done) {
            (Stage::Running, Some(status)) => {
                out.push(Action::EndTasks);
                self.settle(status, out);
            }
            (Stage::Running, None) if is_late && !matches!(self.append, Some(Append::Checkpoint(_))) => {
                self.withdraw_deployment("no final checkpoint in time", now, out);
                self.settle(JobStatus::Stopped, out);
            }
            (Stage::Deploying | Stage::Backoff { .. }, _) if self.stop.is_some() => {
                self.withdraw_deployment("the job is being stopped", now, out);
                self.settle(JobStatus::Stopped, out);
            }
            (
                Stage::New
                | Stage::Opening
                | Stage::Claiming { .. }
                | Stage::Deploying
                | Stage::Running
                | Stage::Backoff { .. }
                | Stage::Settling { .. }
                | Stage::Settled { .. }
                | Stage::Left,
                _,
            ) => {}
        }
    }

    /// The last entry counts.
    pub(super) fn handle_settled(&mut self, status: JobStatus, out: &mut Vec<Action>) {
        self.stage = Stage::Settled { status: status.clone() };
        self.stop = None;
        let with_final = self.ending.take().is_some_and(|ending| ending.final_done);
        self.answer_stops(with_final, out);
        out.push(Action::Settled(status));
    }

    pub(super) fn answer_stops(&mut self, with_final_checkpoint: bool, out: &mut Vec<Action>) {
        let stops = self.requests.take_stops();
        out.extend(stops.into_iter().map(|stop| self.stop_answer(stop, with_final_checkpoint)));
    }

    /// What a stop is told once the job has settled: an error if the savepoint that it asked for is not there.
    pub(super) fn stop_answer(&self, stop: WaitingStop, with_final_checkpoint: bool) -> Action {
        let WaitingStop { request, savepoint } = stop;
        let restore = self.head().and_then(|head| head.restore.checkpoint());
        let result = match savepoint.filter(|name| !self.requests.has_kept(name)) {
            None => Ok(Answer::Stopped { restore, with_final_checkpoint }),
            Some(name) => Err(format!("the job has ended, but savepoint {name} was not completed before")),
        };
        Action::Answer { request, result }
    }

    fn settle(&mut self, status: JobStatus, out: &mut Vec<Action>) {
        self.refuse_waiting(&format!("the job is {status}"), out);
        self.stage = Stage::Settling { status };
    }

    /// Tasks are cancelled. An append that is under way stays: its outcome is not ours to choose.
    fn withdraw_deployment(&mut self, reason: &str, now: Millis, out: &mut Vec<Action>) {
        if !matches!(self.append, Some(Append::Checkpoint(_))) {
            self.abandon_in_flight(reason, now, out);
        }
        self.plan = None;
        self.output.reset();
        out.push(Action::Cancel { reason: reason.to_owned() });
    }

    fn has_input_ended(&self) -> bool {
        let bounded = self.plan.as_ref().map(|plan| &plan.bounded_sources);
        bounded.is_some_and(|bounded| !bounded.is_empty() && bounded.is_subset(&self.ended_inputs))
    }
}
