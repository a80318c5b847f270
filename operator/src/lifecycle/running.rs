//! A job that should run as it is deployed: look at its pods and its coordinator, and help where they cannot help themselves.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::back_off::{BackOff, millis, since};
use super::decide::{POLL, SOON, Step, renumbered};
use super::deployment::{Certificate, Ended, Mode, Notes};
use super::failures::Reason;
use super::pods::{Crash, PodHealth, resolve_crash, resolve_health};
use super::world::{Action, Call, CallKind, Control, Deployed, Outcome, PodView, Removal, Report, RunState};

/// How long a node may be silent before its pods are replaced. Fencing makes it safe to be wrong.
pub const NODE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a pod may take beyond its grace period before it is removed without its kubelet's word.
pub const TERMINATING_DEADLINE: Duration = Duration::from_secs(60);
/// How long a pod may be stuck in its image before a new one tries.
pub const IMAGE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a pod may take to be scheduled, or to be admitted, before that is worth saying.
pub const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a coordinator may be silent before that is worth saying.
pub const SILENCE_PATIENCE: Duration = Duration::from_secs(30);
/// What is granted beyond a checkpoint's own timeout and three intervals before a job counts as making no progress.
const PROGRESS_SLACK: Duration = Duration::from_secs(60);
/// What a new pod costs beyond a new container: replaced only if the kubelet would wait longer than that.
const NEW_POD: Duration = Duration::from_secs(3);
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
        // Somebody removed what pods are made from, or asked for more pods than there may be.
        if !self.world.configs.contains(&deployed.config) || deployed.replicas > 1 {
            self.scale(deployed, 1, deployed.notes.clone());
        }
        if Certificate::due(deployed.notes.certified_at, self.world.now) == Certificate::Now {
            return self.renew_certificate(deployed, &resolved);
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
        if super::super::build::config::config_name(&self.world.job, &resolved) != deployed.config {
            let number = self.number(deployed.number);
            let notes = Notes { spec: wanted.spec.clone(), ..deployed.notes.clone() };
            self.deploy(renumbered(&resolved, number), deployed.serial, deployed.replicas, notes);
        } else {
            self.note(deployed, deployed.notes.clone());
        }
        Some(resolved)
    }

    /// The stop ladder for the sake of a certificate that is nearly over.
    fn renew_certificate(&mut self, deployed: &Deployed, resolved: &ResolvedJob) {
        self.said.state(JobState::Restarting);
        self.said.progressing("RenewingCertificate", "the certificate is nearly over: pods are replaced for a new one");
        self.again = SOON;
        if self.stopped(deployed) {
            let number = self.number(deployed.number);
            // Only a new pod reads the new certificate, however the deployment before came to its pods.
            let notes = Notes { mode: Mode::Replace, ..deployed.notes.clone() };
            self.deploy(renumbered(resolved, number), deployed.serial, 1, notes);
        }
    }

    /// True if pods of another deployment are there that shall not stay.
    fn replace_stale_pods(&mut self, deployed: &Deployed) -> bool {
        if deployed.notes.mode == Mode::Redeploy {
            return false;
        }
        let stale = self.world.pods.iter().filter(|pod| pod.config != deployed.config);
        let mut any = false;
        for pod in stale {
            any = true;
            if pod.deleting.is_none() {
                let (name, uid) = (pod.name.clone(), pod.uid.clone());
                self.actions.push(Action::DeletePod { name, uid, how: Removal::Graceful });
            } else if matches!(resolve_health(pod, &self.world.node), PodHealth::Terminating(until) | PodHealth::NodeGone(until)
                if since(self.world.now, until) > TERMINATING_DEADLINE)
            {
                let (name, uid) = (pod.name.clone(), pod.uid.clone());
                self.actions.push(Action::DeletePod { name, uid, how: Removal::Forced });
            }
        }
        any
    }

    fn no_pod(&mut self, deployed: &Deployed) {
        self.starting();
        if let Some(message) = self.world.not_admitted.clone() {
            self.say_stuck(Reason::NotAdmitted, &message);
        }
        self.upgrade_deadline(deployed);
    }

    fn starting(&mut self) {
        let again = self.world.status.restarts.unwrap_or_default() > 0 && self.world.status.job_id.is_some();
        self.said.state(if again { JobState::Restarting } else { JobState::Starting });
        self.said.progressing("Starting", "the runtime pod is starting");
        self.again = SOON;
    }

    /// A pod that goes, or that nobody will ever confirm to have gone.
    fn terminating(&mut self, pod: &PodView, then: Timestamp, deadline: Duration, reason: Reason) {
        self.said.state(JobState::Restarting);
        self.said.progressing(reason.title(), "the runtime pod is going; another takes its place");
        self.again = SOON;
        if since(self.world.now, then) > deadline {
            self.remove(pod, reason, Removal::Forced);
        }
    }

    fn stuck(&mut self, deployed: &Deployed, resolved: &ResolvedJob, pod: &PodView, reason: Reason, message: &str) {
        self.starting();
        if since(self.world.now, pod.created) > START_PATIENCE {
            self.say_stuck(reason, message);
        }
        let failures = self.memory.back_off.fruitless(self.world.now, &resolved.restart);
        let patience = IMAGE_DEADLINE.saturating_mul(failures + 1).min(Duration::from_secs(900));
        if reason == Reason::Image && since(self.world.now, pod.created) > patience {
            self.memory.back_off.failed(self.world.now, &resolved.restart);
            self.remove(pod, reason, Removal::Graceful);
        }
        self.again = Duration::from_secs(1);
        self.upgrade_deadline(deployed);
    }

    fn say_stuck(&mut self, reason: Reason, message: &str) {
        self.said.held_back(reason.title(), format!("{message}: {}", reason.way_out()));
    }

    /// Counts a crash once: while its container is down, or, if the kubelet was faster than we, once it runs again.
    /// Answers what was counted.
    fn count_crash(&mut self, pod: &PodView, health: &PodHealth, resolved: &ResolvedJob) -> Option<Crash> {
        let (crash, number, at_first) = match health {
            PodHealth::Crashed(crash) => (Some(crash.clone()), pod.restarts + 1, pod.restarts),
            // What runs at the first look of this process may have crashed long ago.
            PodHealth::Starting | PodHealth::Running => {
                (pod.last_terminated.as_ref().map(resolve_crash), pod.restarts, pod.restarts)
            }
            PodHealth::Terminating(_) | PodHealth::NodeGone(_) | PodHealth::Stuck(..) | PodHealth::Over(..) => {
                return None;
            }
        };
        let before = self.memory.crash_seen.replace((pod.uid.clone(), number));
        let counted = match before {
            Some((uid, counted)) if uid == pod.uid => counted,
            Some(_) => 0,
            None => at_first,
        };
        let crash = crash.filter(|_| number > counted)?;
        self.memory.back_off.failed(crash.at, &resolved.restart);
        Some(crash)
    }

    fn crashed(&mut self, deployed: &Deployed, resolved: &ResolvedJob, pod: &PodView, crash: &Crash) {
        let now = self.world.now;
        self.said.state(JobState::Restarting);
        let words = crash.words();
        self.said.progressing(crash.reason.title(), words.clone());
        self.again = SOON;
        if pod.config != deployed.config {
            // It was started with what it was first told, which a later redeployment has overtaken.
            return self.remove(pod, crash.reason, Removal::Graceful);
        }
        if crash.reason == Reason::Refused {
            return self.give_up(deployed, Reason::Refused.title(), &super::upgrade::refusal(&words));
        }
        if self.budget_is_spent(deployed, resolved, crash) {
            return;
        }
        let failures = self.memory.back_off.in_a_row(now, &resolved.restart);
        if failures >= LOOP {
            let words = format!("{failures} failures in a row, the last: {words}: {}", crash.reason.way_out());
            self.said.held_back(crash.reason.title(), words);
        }
        let waited = since(now, crash.at);
        let ours = BackOff::delay(self.memory.back_off.fruitless(now, &resolved.restart).max(1), &resolved.restart);
        let loops = pod.waiting.as_ref().filter(|waiting| waiting.reason == "CrashLoopBackOff");
        let kubelets = loops.map(|waiting| BackOff::kubelet(pod.restarts, &waiting.message));
        if waited < ours {
            self.again = (ours - waited).min(SOON);
        } else if kubelets.is_some_and(|kubelets| kubelets > waited + NEW_POD) {
            self.remove(pod, crash.reason, Removal::Dead { version: pod.version.clone() });
        }
        self.upgrade_deadline(deployed);
    }

    /// Gives the job up if it failed more often than it may.
    fn budget_is_spent(&mut self, deployed: &Deployed, resolved: &ResolvedJob, crash: &Crash) -> bool {
        let failures = self.memory.back_off.in_a_row(self.world.now, &resolved.restart).max(1);
        let is_spent = resolved.restart.budget.is_some_and(|budget| failures > budget);
        if is_spent {
            let words =
                format!("{failures} failures in a row, the last: {}: {}", crash.words(), crash.reason.way_out());
            self.give_up(deployed, "RestartBudgetExhausted", &words);
        }
        is_spent
    }

    fn remove(&mut self, pod: &PodView, reason: Reason, how: Removal) {
        if pod.deleting.is_some() && how == Removal::Graceful {
            return;
        }
        self.memory.removed = Some((pod.uid.clone(), reason.as_str().to_owned()));
        self.warn(reason.title(), format!("pod {} is replaced: {}", pod.name, reason.way_out()));
        self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone(), how });
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
        self.said.state(JobState::Starting);
        self.said.progressing("Resuming", "the job was stopped and is to run: it goes on from its final checkpoint");
        self.tell("Resumed", "the job was stopped and is to run: it goes on from its final checkpoint");
        let number = self.number(deployed.number.max(report.journal_number));
        let notes = Notes { mode: Mode::Replace, unproven_since: Some(self.world.now), ..deployed.notes.clone() };
        self.deploy(renumbered(resolved, number), deployed.serial, 1, notes);
        self.again = SOON;
    }

    fn is_redeploying(&self, deployed: &Deployed) -> bool {
        let record = self.memory.calls.get(&CallKind::Redeploy);
        record.is_some_and(|record| record.key == deployed.number && record.outcome.is_none())
    }

    fn redeploy(&mut self, deployed: &Deployed, resolved: &ResolvedJob) {
        self.said.state(JobState::Upgrading);
        self.said.progressing("Rescaling", "the job is being deployed anew in the same pods");
        self.again = SOON;
        let record = self.memory.calls.get(&CallKind::Redeploy).filter(|call| call.key == deployed.number).cloned();
        let timeout = self.final_checkpoint_timeout();
        let Some(record) = record else {
            return self.call(Call::Redeploy { resolved: Box::new(resolved.clone()), timeout });
        };
        match record.outcome {
            None => self.upgrade_deadline(deployed),
            Some(Outcome::Done(_)) => {
                // Done, and yet the process does not know: it is told again.
                self.memory.calls.remove(&CallKind::Redeploy);
                self.upgrade_deadline(deployed);
            }
            Some(Outcome::Again(_)) => {
                self.actions.push(Action::Call(Call::Redeploy { resolved: Box::new(resolved.clone()), timeout }));
                self.upgrade_deadline(deployed);
            }
            Some(Outcome::Refused(why)) => {
                self.memory.calls.remove(&CallKind::Redeploy);
                if !self.roll_back(deployed, &format!("the coordinator refused the new revision: {why}")) {
                    self.warn("Rescaling", format!("the coordinator refused ({why}): the pods are replaced instead"));
                    self.note(deployed, Notes { mode: Mode::Replace, ..deployed.notes.clone() });
                }
            }
        }
    }

    /// A deployment that has not proven itself in time goes back to the stable one, once.
    pub(super) fn upgrade_deadline(&mut self, deployed: &Deployed) {
        let Some(then) = deployed.notes.unproven_since else { return };
        let deadline = millis(self.upgrade_wishes().deadline);
        if since(self.world.now, then) <= deadline {
            return;
        }
        let why = match &self.said.degraded {
            Some((reason, message)) => {
                format!("no completed checkpoint within {}s: {reason}: {message}", deadline.as_secs())
            }
            None => format!("no completed checkpoint within {}s", deadline.as_secs()),
        };
        if !self.roll_back(deployed, &why) && self.said.degraded.is_none() {
            let words = format!("{why}: look at the job's metrics and at the storage");
            // A job that runs is ready, also while its first checkpoint is late.
            if !self.said.is_running() {
                self.said.not_ready("NoCheckpoint", words.clone());
            }
            self.said.degraded("NoCheckpoint", words);
        }
    }

    fn requests(&mut self, notes: &mut Notes, report: &Report, number: u64) {
        let Ok(wanted) = &self.world.wanted else { return };
        let wishes = wanted.resolved.wishes.clone();
        if report.number != number || report.state != RunState::Running {
            return;
        }
        if let Some(nonce) = wishes.checkpoint_nonce.filter(|nonce| notes.checkpoint_nonce != Some(*nonce)) {
            let carried_out = report.checkpoint_nonce == Some(nonce);
            if let Some(said) = self.request(Call::Checkpoint { nonce }, carried_out) {
                notes.checkpoint_nonce = Some(nonce);
                self.tell("Checkpoint", said);
            }
        }
        let Some(savepoint) = wishes.savepoint else { return };
        let Ok(nonce) = u64::try_from(savepoint.nonce) else { return };
        if notes.savepoint_nonce == Some(nonce) {
            return;
        }
        let carried_out = report.savepoint_nonce == Some(nonce);
        if let Some(said) = self.request(Call::Savepoint { nonce, name: savepoint.name.clone() }, carried_out) {
            notes.savepoint_nonce = Some(nonce);
            self.tell("Savepoint", said.clone());
            let (name, nonce) = (savepoint.name.clone(), savepoint.nonce);
            self.status.savepoint = Some(weir_api::status::SavepointStatus { name, nonce, message: said });
        }
    }

    /// Carries out a request once; answers what came of it when it is over.
    fn request(&mut self, call: Call, carried_out: bool) -> Option<String> {
        self.again = self.again.min(SOON);
        let kind = call.kind();
        let record = self.memory.calls.get(&kind).filter(|record| record.key == call.key()).cloned();
        match record.map(|record| record.outcome) {
            None if carried_out => Some("it was taken".to_owned()),
            None => {
                self.call(call);
                None
            }
            Some(None) => None,
            Some(Some(Outcome::Again(_))) => {
                self.actions.push(Action::Call(call));
                None
            }
            Some(Some(Outcome::Done(said) | Outcome::Refused(said))) => {
                self.memory.calls.remove(&kind);
                Some(said)
            }
        }
    }
}
