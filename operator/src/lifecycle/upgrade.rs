//! Moving a running job to another spec: rescale in place, or preflight, stop, replace; and the single way back.

use std::time::Duration;

use weir_api::ResolvedJob;
use weir_api::resolved::ResolvedUpgrade;
use weir_api::status::JobState;

use super::back_off::{millis, since};
use super::decide::{SOON, Step, renumbered};
use super::deployment::{Ended, Mode, Notes, Refused, Stable};
use super::pods::REFUSED;
use super::world::{Action, Deployed, Removal, Report, RunState, TaskView, Wanted};
use crate::build::config::config_name;
use crate::names::Component;

/// Least time between two rescales of one job.
const RESCALE_PAUSE: Duration = Duration::from_secs(10);

/// Least time between two preflight pods of one revision.
const PREFLIGHT_PAUSE: Duration = Duration::from_secs(30);

impl Step<'_> {
    /// Whether a process is there that can be told: it runs what is deployed.
    pub(super) fn can_redeploy(&self, deployed: &Deployed) -> bool {
        let runs = |report: &Report| report.state == RunState::Running && report.number == deployed.number;
        deployed.resolved.is_some() && self.report().is_some_and(runs)
    }

    /// Pods stay: the record changes first, the coordinator is told after it (see `redeploy`).
    pub(super) fn rescale(&mut self, deployed: &Deployed, wanted: &Wanted) {
        let world = self.world;
        self.said.state(JobState::Upgrading);
        self.said.progressing("Rescaling", "the job is being deployed anew in the same pods");
        self.again = SOON;
        if deployed.notes.unproven_since.is_some_and(|then| since(world.now, then) < RESCALE_PAUSE) {
            return;
        }
        let number = self.number(deployed.number);
        let resolved = wanted.numbered(number, deployed.resolved.as_ref());
        let notes = Notes {
            spec: wanted.spec.clone(),
            mode: Mode::Redeploy,
            unproven_since: Some(world.now),
            refused: None,
            ..deployed.notes.clone()
        };
        self.tell("Rescaling", format!("to {} slots", resolved.slots));
        // Redeploying keeps pods, and with them their certificate.
        let certified_at = notes.certified_at;
        self.deploy(resolved, deployed.serial, 1, notes);
        if let Some(deployment) = &mut self.deployment {
            deployment.notes.certified_at = certified_at;
        }
    }

    /// Preflight first, while the job runs; then the stop ladder; then the new deployment.
    pub(super) fn upgrade(&mut self, deployed: &Deployed, wanted: &Wanted) {
        let world = self.world;
        let number = self.number(deployed.number);
        let resolved = wanted.numbered(number, None);
        let config = config_name(&world.job, &resolved);
        // What does not run is not stopped by a bad spec; it may be waiting for just this change.
        let runs = world.pods.iter().any(|pod| pod.running_since.is_some() && pod.deleting.is_none());
        let preflight = if runs { self.preflight(&resolved, &config, wanted) } else { Preflight::Passed };
        match preflight {
            Preflight::Passed => {}
            Preflight::Waits(why) => {
                self.said.progressing("Preflight", why);
                self.run(deployed);
                self.again = self.again.min(SOON);
                return;
            }
            Preflight::Failed(check, why) => {
                self.said.progressing("Preflight", "a pod of the new revision checks again whether it can run");
                self.said.degraded(
                    "PreflightFailed",
                    format!("{why}; the job runs on as it was, and a new preflight pod tries again"),
                );
                if since(world.now, check.created) > PREFLIGHT_PAUSE {
                    self.actions.push(remove(&check));
                }
                return self.run(deployed);
            }
            Preflight::Refused(why) => {
                self.said.not_ready("PreflightRefused", why.clone());
                self.said.degraded("PreflightRefused", format!("{why}; the job runs on as it was: mend the spec"));
                return self.run(deployed);
            }
        }
        self.said.state(JobState::Upgrading);
        self.said.progressing("Upgrading", "the job is being stopped with a final checkpoint");
        self.again = SOON;
        if !self.stopped(deployed) {
            return;
        }
        let notes = Notes {
            spec: wanted.spec.clone(),
            mode: Mode::Replace,
            unproven_since: Some(world.now),
            refused: None,
            ..deployed.notes.clone()
        };
        self.tell("Upgrading", format!("to revision {} ({number})", resolved.revision()));
        self.deploy(resolved, deployed.serial, 1, notes);
        self.drop_checks();
    }

    fn preflight(&mut self, resolved: &weir_api::ResolvedJob, config: &str, wanted: &Wanted) -> Preflight {
        let world = self.world;
        for old in world.checks.iter().filter(|check| check.config != config && !check.deleting) {
            self.actions.push(remove(old));
        }
        let check = world.checks.iter().find(|check| check.config == config && !check.deleting);
        let Some(check) = check else {
            let (resolved, spec) = (Box::new(resolved.clone()), wanted.spec.clone());
            self.actions.push(Action::CreateTask { component: Component::Check, resolved, spec });
            self.tell("Preflight", format!("of revision {}", resolved_name(config)));
            return Preflight::Waits("a pod of the new revision checks whether it can run".to_owned());
        };
        match &check.ended {
            Some((0, _)) => Preflight::Passed,
            Some((REFUSED, said)) => Preflight::Refused(refusal(said)),
            // Storage that does not answer, an eviction, a kill: that says nothing about the spec.
            Some((code, said)) => {
                let words = refusal(said);
                let words = if words.is_empty() { format!("exit code {code}") } else { words };
                Preflight::Failed(check.clone(), format!("the preflight could not be carried out: {words}"))
            }
            None if since(world.now, check.created) > millis(self.upgrade_wishes().deadline) => {
                let why = check.stuck.clone().unwrap_or_else(|| "it does not end".to_owned());
                Preflight::Refused(format!("the preflight pod did not answer in time: {why}"))
            }
            None => {
                let why = check.stuck.clone();
                Preflight::Waits(
                    why.unwrap_or_else(|| "a pod of the new revision checks whether it can run".to_owned()),
                )
            }
        }
    }

    /// Preflight pods that are not needed any more.
    pub(super) fn drop_checks(&mut self) {
        for check in self.world.checks.iter().filter(|check| !check.deleting) {
            self.actions.push(remove(check));
        }
    }

    /// The deployment proved itself by a checkpoint, or by reaching its end.
    pub(super) fn proven(&mut self, deployed: &Deployed) -> Notes {
        let stable = Stable { config: deployed.config.clone(), spec: deployed.notes.spec.clone() };
        // A resumed job is the same revision with another number.
        if deployed.notes.stable.as_ref().is_some_and(|before| before.spec != stable.spec) {
            self.tell("Stable", "the new revision completed a checkpoint");
        }
        Notes { unproven_since: None, stable: Some(stable), ..deployed.notes.clone() }
    }

    /// Back to the last stable deployment, once. False if there is none, or this is it.
    pub(super) fn roll_back(&mut self, deployed: &Deployed, why: &str) -> bool {
        let (Some(stable), Some(resolved)) = (&deployed.notes.stable, &self.world.stable) else { return false };
        if stable.spec == deployed.notes.spec || deployed.notes.unproven_since.is_none() {
            return false;
        }
        self.said.state(JobState::Upgrading);
        self.said.progressing("RollingBack", why.to_owned());
        self.warn("RolledBack", format!("{why}: the last stable revision is deployed again"));
        let notes = Notes {
            spec: stable.spec.clone(),
            mode: Mode::Replace,
            unproven_since: Some(self.world.now),
            refused: Some(Refused { spec: deployed.notes.spec.clone(), why: why.to_owned() }),
            ended: None,
            ..deployed.notes.clone()
        };
        // It was consumed when the stable revision began. The journal knows only the last one that was: if the revision that is
        // left had another, this one would be obeyed again, and the job would start over from where it once began.
        let back = ResolvedJob { restore_from: None, ..renumbered(resolved, self.number(deployed.number)) };
        self.deploy(back, deployed.serial, 1, notes);
        self.again = SOON;
        true
    }

    /// Ends a deployment for good: it goes back if it never proved itself, else the job has failed.
    pub(super) fn give_up(&mut self, deployed: &Deployed, reason: &str, message: &str) {
        if self.roll_back(deployed, &format!("{reason}: {message}")) {
            return;
        }
        let ended = Ended::Failed { reason: reason.to_owned(), message: message.to_owned() };
        self.said.state(JobState::Failed);
        self.said.degraded(reason, message.to_owned());
        self.said.not_ready("Failed", message.to_owned());
        self.warn("Failed", format!("{reason}: {message}"));
        self.scale(deployed, 0, Notes { ended: Some(ended), unproven_since: None, ..deployed.notes.clone() });
        self.again = SOON;
    }

    pub(super) fn upgrade_wishes(&self) -> ResolvedUpgrade {
        match &self.world.wanted {
            Ok(wanted) => wanted.resolved.wishes.upgrade.clone(),
            Err(_) => ResolvedUpgrade::default(),
        }
    }

    pub(super) fn final_checkpoint_timeout(&self) -> Duration {
        millis(self.upgrade_wishes().final_checkpoint_timeout)
    }

    /// Says whether this operator would deploy another image.
    pub(super) fn update_available(&mut self, deployed: &Deployed, wanted: Option<&Wanted>) {
        let (Some(running), Some(wanted)) = (&deployed.resolved, wanted) else { return };
        if !wanted.names_image && running.image != wanted.resolved.image {
            let image = wanted.resolved.image.clone().unwrap_or_default();
            self.said.update =
                Some(format!("{image} comes with the next change of the spec, or with a new restartNonce"));
        }
    }

    /// Removes ConfigMaps that nothing names: neither what is deployed, nor what was stable, nor what is being checked.
    pub(super) fn collect_configs(&mut self, deployed: &Deployed, coming: Option<&Wanted>) {
        let stable = deployed.notes.stable.as_ref().map(|stable| stable.config.as_str());
        let checked = |name: &str| self.world.checks.iter().any(|check| check.config == name);
        let mounted = |name: &str| self.world.pods.iter().any(|pod| pod.config == name);
        let unused = |name: &&String| {
            **name != deployed.config && Some(name.as_str()) != stable && !checked(name) && !mounted(name)
        };
        // What is coming has a ConfigMap, and perhaps no pod yet.
        if coming.is_some() {
            return;
        }
        let unused: Vec<String> = self.world.configs.iter().filter(unused).cloned().collect();
        self.actions.extend(unused.into_iter().map(Action::DeleteConfig));
    }
}

enum Preflight {
    Passed,
    Waits(String),
    Refused(String),
    Failed(TaskView, String),
}

fn remove(task: &TaskView) -> Action {
    Action::DeletePod { name: task.name.clone(), uid: task.uid.clone(), how: Removal::Graceful }
}

fn resolved_name(config: &str) -> &str {
    config.rsplit('-').next().unwrap_or_default()
}

/// The words of a preflight: JSON with fields and messages, or whatever it said.
pub(super) fn refusal(said: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(said.trim()).ok();
    let errors = parsed.as_ref().and_then(|value| value.get("errors")).and_then(serde_json::Value::as_array);
    let words = errors.into_iter().flatten().map(|error| {
        let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        match text("field") {
            "" => text("message").to_owned(),
            field => format!("{field}: {}", text("message")),
        }
    });
    let words = words.collect::<Vec<_>>().join("; ");
    if words.is_empty() { said.trim().to_owned() } else { words }
}
