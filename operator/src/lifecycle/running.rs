//! A job that should run as it is deployed: look at its pods and its coordinator, and help where they cannot help themselves.

use std::time::Duration;

use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::back_off::{millis, since};
use super::call::CallKind;
use super::certificate::Certificate;
use super::decide::{POLL, SOON, Step, renumbered};
use super::deployment::{Ended, Mode, Notes};
use super::failing::TERMINATING_DEADLINE;
use super::plan::Removal;
use super::pod_view::PodView;
use super::pods::{PodHealth, resolve_health};
use super::reason::Reason;
use super::report::{Control, Report, RunState};
use super::world::Deployed;
use crate::build::config::config_name;

/// How long a node may be silent before its pods are replaced. Fencing makes it safe to be wrong.
pub const NODE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a coordinator may be silent before that is worth saying.
pub const SILENCE_PATIENCE: Duration = Duration::from_secs(30);
/// What is granted beyond a checkpoint's own timeout and three intervals before a job counts as making no progress.
const PROGRESS_SLACK: Duration = Duration::from_secs(60);
/// Failures in a row that make a job degraded.
pub const LOOP: u32 = 3;

impl Step<'_> {
    /// The steady state.
    pub(super) fn run(&mut self, deployed: &Deployed) {
        self.again = self.again.min(POLL);
        let Some(resolved) = deployed.resolved.clone().or_else(|| self.resolved_again(deployed)) else {
            return self.said.degraded(
                "ConfigMapGone",
                "the ConfigMap with the resolved job is gone and the spec is refused: mend the spec".to_owned(),
            );
        };
        // Somebody removed what pods are made from, or edited it, or asked for more pods than there may be.
        if deployed.drifted || !self.world.configs.contains(&deployed.config) || deployed.replicas > 1 {
            self.scale(deployed, 1, deployed.notes.clone());
        }
        if Certificate::due(deployed.notes.certified_at, self.world.now) == Certificate::Now {
            return self.renew_certificate(deployed, &resolved);
        }
        if self.rolls_back(deployed) {
            return;
        }
        // A stop that was taken back: a later one counts its time anew.
        self.memory.calls.remove(&CallKind::Stop);
        if self.replace_stale_pods(deployed) {
            self.said.state(JobState::Upgrading);
            self.said.progressing("ReplacingPods", "pods of the revision before are being replaced");
            self.again = SOON;
            return self.upgrade_deadline(deployed);
        }
        let Some(pod) = self.world.pods.first().cloned() else { return self.no_pod(deployed) };
        let health = resolve_health(&pod, &self.world.node);
        let runs = matches!(health, PodHealth::Starting | PodHealth::Running);
        if let Some(crash) = self.count_crash(&pod, &health, &resolved)
            && runs
            && self.budget_is_spent(deployed, &resolved, &crash)
        {
            return;
        }
        match health {
            PodHealth::Running => self.running(deployed, &resolved, &pod),
            PodHealth::Starting => {
                self.starting();
                self.upgrade_deadline(deployed);
            }
            PodHealth::Terminating(until) => self.terminating(&pod, until, TERMINATING_DEADLINE, Reason::PodDeleted),
            PodHealth::NodeGone(then) => self.terminating(&pod, then, NODE_DEADLINE, Reason::NodeGone),
            PodHealth::Stuck(reason, message) => self.stuck(deployed, &resolved, &pod, reason, &message),
            PodHealth::Crashed(crash) => self.crashed(deployed, &resolved, &pod, &crash),
            PodHealth::Over(reason, message) => {
                self.memory.removed = Some((pod.uid.clone(), reason.as_str().to_owned()));
                self.said.state(JobState::Restarting);
                self.said.progressing(reason.title(), message);
                self.again = SOON;
            }
        }
    }

    /// The ConfigMap is gone: what is wanted takes its place.
    fn resolved_again(&mut self, deployed: &Deployed) -> Option<ResolvedJob> {
        let wanted = self.world.wanted.as_ref().ok()?;
        let resolved = wanted.numbered(deployed.number, None);
        if config_name(&self.world.job, &resolved) != deployed.config {
            let number = self.number(deployed.number);
            let notes = Notes { spec: wanted.spec.clone(), ..deployed.notes.clone() };
            self.deploy(renumbered(&resolved, number), deployed.serial, deployed.replicas, notes);
        } else {
            self.note(deployed, deployed.notes.clone());
        }
        Some(resolved)
    }

    fn no_pod(&mut self, deployed: &Deployed) {
        self.starting();
        if let Some(message) = self.world.not_admitted.clone() {
            self.say_stuck(Reason::NotAdmitted, &message);
        }
        self.upgrade_deadline(deployed);
    }

    pub(super) fn starting(&mut self) {
        let again = self.world.status.restarts.unwrap_or_default() > 0 && self.world.status.job_id.is_some();
        self.said.state(if again { JobState::Restarting } else { JobState::Starting });
        self.said.progressing("Starting", "the runtime pod is starting");
        self.again = SOON;
    }

    /// The process runs: what does the coordinator say?
    fn running(&mut self, deployed: &Deployed, resolved: &ResolvedJob, pod: &PodView) {
        let report = match &self.world.control {
            Control::Answered(report) => report.clone(),
            Control::NotAsked | Control::Unreachable(_) => return self.silent(deployed),
        };
        self.memory.silent_since = None;
        // Told is not done: the process says the revision it was told last, the journal the one that was claimed.
        let told = report.number >= deployed.number || report.journal_settled(deployed.number);
        if deployed.notes.mode == Mode::Redeploy && (!told || self.is_redeploying(deployed)) {
            return self.redeploy(deployed, resolved);
        }
        self.memory.calls.remove(&CallKind::Redeploy);
        match report.state {
            RunState::Running | RunState::Ending => self.works(deployed, resolved, pod, &report),
            RunState::Finished => self.finished(deployed),
            RunState::Failed => {
                let why = report.last_failure.as_ref().map_or(report.reason.clone(), |(_, _, words)| words.clone());
                self.give_up(deployed, "JobFailed", &why);
            }
            RunState::Stopped if report.journal_settled(deployed.number) => {
                self.stopped_by_someone(deployed, resolved, &report);
            }
            RunState::Restarting => {
                self.said.state(JobState::Restarting);
                self.said.progressing("Restarting", report.reason.clone());
                let in_a_row: u64 = report.restarts.values().sum();
                if in_a_row >= u64::from(LOOP) {
                    self.said.held_back(
                        "RestartLoop",
                        format!("{in_a_row} restarts of this process, the last: {}", report.reason),
                    );
                }
                self.again = Duration::from_secs(1);
                self.upgrade_deadline(deployed);
            }
            RunState::Starting | RunState::Deploying | RunState::Stopped | RunState::Left | RunState::Unknown => {
                self.starting();
                self.upgrade_deadline(deployed);
            }
        }
        if report.state != RunState::Running || report.storage_trouble.is_some() {
            self.memory.progress_since = None;
        }
    }

    fn silent(&mut self, deployed: &Deployed) {
        let now = self.world.now;
        let then = *self.memory.silent_since.get_or_insert(now);
        self.starting();
        if since(now, then) > SILENCE_PATIENCE {
            let why = match &self.world.control {
                Control::Unreachable(why) => why.clone(),
                Control::NotAsked | Control::Answered(_) => "it was not asked".to_owned(),
            };
            self.said.health_unknown = true;
            self.said.held_back(
                "CoordinatorSilent",
                format!("the coordinator does not answer: {why}: look at the pod's log"),
            );
            self.again = POLL;
        }
        self.upgrade_deadline(deployed);
    }

    fn works(&mut self, deployed: &Deployed, resolved: &ResolvedJob, pod: &PodView, report: &Report) {
        self.said.state(JobState::Running);
        let now = self.world.now;
        let newest = report.checkpoints.first();
        let mut notes = deployed.notes.clone();
        let ours = report.number == deployed.number && report.journal_number == deployed.number;
        if ours && notes.unproven_since.is_some() && newest.is_some_and(|newest| newest.generation == report.generation)
        {
            notes = self.proven(deployed);
        }
        if let Some(newest) = newest {
            self.memory.back_off.progressed(newest.completed_at);
        }
        if self.memory.back_off.fruitless(now, &resolved.restart) > 0 {
            // The next failure may come soon: by then the checkpoint in between must have been seen.
            self.again = Duration::from_secs(1);
        }
        self.checkpoint_health(resolved, report);
        self.requests(&mut notes, report, deployed.number);
        let from = *self.memory.progress_since.get_or_insert(now);
        let from = newest.map_or(from, |newest| newest.completed_at.max(from));
        let checkpoint = &resolved.checkpoint;
        let patience = millis(checkpoint.timeout)
            + millis(checkpoint.interval) * 3
            + millis(checkpoint.min_pause)
            + PROGRESS_SLACK;
        if report.storage_trouble.is_none() && since(now, from) > patience {
            self.memory.progress_since = None;
            self.memory.back_off.failed(now, &resolved.restart);
            return self.remove(pod, Reason::NoProgress, Removal::Graceful);
        }
        if notes.unproven_since.is_some() {
            self.again = Duration::from_secs(1);
            if report.storage_trouble.is_none() {
                self.upgrade_deadline(deployed);
            }
        }
        if self.deployment.is_none() && notes != deployed.notes {
            self.note(deployed, notes);
        }
    }

    fn finished(&mut self, deployed: &Deployed) {
        let notes = Notes { ended: Some(Ended::Finished), ..self.proven(deployed) };
        self.said.state(JobState::Finished);
        self.said.not_ready("Finished", "its input ended and all output is committed");
        self.tell("Finished", "the job's input ended and all output is committed");
        self.scale(deployed, 0, notes);
        self.again = SOON;
    }

    /// The journal is stopped although the job is to run: by hand, or by an upgrade that was taken back.
    fn stopped_by_someone(&mut self, deployed: &Deployed, resolved: &ResolvedJob, report: &Report) {
        // Perhaps by an operator that was on the way back, and is gone.
        if self.goes_back_in_time(deployed) {
            return;
        }
        self.said.state(JobState::Starting);
        self.said.progressing("Resuming", "the job was stopped and is to run: it goes on from its final checkpoint");
        self.tell("Resumed", "the job was stopped and is to run: it goes on from its final checkpoint");
        let number = self.number(deployed.number.max(report.journal_number));
        let notes = Notes { mode: Mode::Replace, unproven_since: Some(self.world.now), ..deployed.notes.clone() };
        self.deploy(renumbered(resolved, number), deployed.serial, 1, notes);
        self.again = SOON;
    }
}
