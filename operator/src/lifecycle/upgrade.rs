//! Moving a running job to another spec with new pods: preflight, stop, replace.

use weir_api::resolved::ResolvedUpgrade;
use weir_api::status::JobState;

use super::back_off::since;
use super::decide::{SOON, Step};
use super::deployment::{Mode, Notes};
use super::plan::Action;
use super::preflight::{PREFLIGHT_PAUSE, Preflight, remove};
use super::world::{Deployed, Wanted};
use crate::build::config::config_name;

impl Step<'_> {
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
            // Said as NameConflict already.
            Preflight::Taken => return self.run(deployed),
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

    pub(super) fn upgrade_wishes(&self) -> ResolvedUpgrade {
        match &self.world.wanted {
            Ok(wanted) => wanted.resolved.wishes.upgrade.clone(),
            Err(_) => ResolvedUpgrade::default(),
        }
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
