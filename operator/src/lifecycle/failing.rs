//! Pods that do not run as they should: going, stuck, crashed, left over; who brings them back, and when.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::back_off::{BackOff, since};
use super::decide::{SOON, Step};
use super::deployment::Mode;
use super::plan::{Action, Removal};
use super::pod_view::PodView;
use super::pods::{Crash, PodHealth, resolve_crash, resolve_health};
use super::preflight::refusal;
use super::reason::Reason;
use super::running::LOOP;
use super::world::Deployed;

/// How long a pod may take beyond its grace period before it is removed without its kubelet's word.
pub const TERMINATING_DEADLINE: Duration = Duration::from_secs(60);
/// How long a pod may be stuck in its image before a new one tries.
pub const IMAGE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a pod may take to be scheduled, or to be admitted, before that is worth saying.
pub const START_PATIENCE: Duration = Duration::from_secs(10);
/// What a new pod costs beyond a new container: replaced only if the kubelet would wait longer than that.
const NEW_POD: Duration = Duration::from_secs(3);

impl Step<'_> {
    /// True if pods of another deployment are there that shall not stay.
    pub(super) fn replace_stale_pods(&mut self, deployed: &Deployed) -> bool {
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

    /// A pod that goes, or that nobody will ever confirm to have gone.
    pub(super) fn terminating(&mut self, pod: &PodView, then: Timestamp, deadline: Duration, reason: Reason) {
        self.said.state(JobState::Restarting);
        self.said.progressing(reason.title(), "the runtime pod is going; another takes its place");
        self.again = SOON;
        if since(self.world.now, then) > deadline {
            self.remove(pod, reason, Removal::Forced);
        }
    }

    pub(super) fn stuck(
        &mut self,
        deployed: &Deployed,
        resolved: &ResolvedJob,
        pod: &PodView,
        reason: Reason,
        message: &str,
    ) {
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

    pub(super) fn say_stuck(&mut self, reason: Reason, message: &str) {
        self.said.held_back(reason.title(), format!("{message}: {}", reason.way_out()));
    }

    /// Counts a crash once: while its container is down, or, if the kubelet was faster than we, once it runs again.
    /// Answers what was counted.
    pub(super) fn count_crash(&mut self, pod: &PodView, health: &PodHealth, resolved: &ResolvedJob) -> Option<Crash> {
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

    pub(super) fn crashed(&mut self, deployed: &Deployed, resolved: &ResolvedJob, pod: &PodView, crash: &Crash) {
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
            return self.give_up(deployed, Reason::Refused.title(), &refusal(&words));
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
    pub(super) fn budget_is_spent(&mut self, deployed: &Deployed, resolved: &ResolvedJob, crash: &Crash) -> bool {
        let failures = self.memory.back_off.in_a_row(self.world.now, &resolved.restart).max(1);
        let is_spent = resolved.restart.budget.is_some_and(|budget| failures > budget);
        if is_spent {
            let words =
                format!("{failures} failures in a row, the last: {}: {}", crash.words(), crash.reason.way_out());
            self.give_up(deployed, "RestartBudgetExhausted", &words);
        }
        is_spent
    }

    pub(super) fn remove(&mut self, pod: &PodView, reason: Reason, how: Removal) {
        if pod.deleting.is_some() && how == Removal::Graceful {
            return;
        }
        self.memory.removed = Some((pod.uid.clone(), reason.as_str().to_owned()));
        self.warn(reason.title(), format!("pod {} is replaced: {}", pod.name, reason.way_out()));
        self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone(), how });
    }
}
