//! Changes that keep the pods: the record changes first, then the coordinator is told.

use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::back_off::{millis, since};
use super::call::{Call, CallKind, Outcome};
use super::decide::{SOON, Step};
use super::deployment::{Mode, Notes};
use super::plan::Action;
use super::report::{Report, RunState};
use super::world::{Deployed, Wanted};

impl Step<'_> {
    /// Whether a process is there that can be told: it runs what is deployed.
    pub(super) fn can_redeploy(&self, deployed: &Deployed) -> bool {
        let runs = |report: &Report| report.state == RunState::Running && report.number == deployed.number;
        deployed.resolved.is_some() && self.report().is_some_and(runs)
    }

    /// Pods stay: the record changes first, the coordinator is told after it (see `redeploy`).
    pub(super) fn rescale(&mut self, deployed: &Deployed, wanted: &Wanted) {
        let world = self.world;
        let pause = millis(wanted.resolved.wishes.rescale.min_interval);
        let waited = deployed.notes.rescaled_at.map(|then| since(world.now, then));
        if let Some(left) = waited.and_then(|waited| pause.checked_sub(waited)).filter(|left| !left.is_zero()) {
            let words = format!("the change waits: the job was rescaled less than {}s ago", pause.as_secs());
            self.said.progressing("RescaleWaits", words);
            self.run(deployed);
            self.again = self.again.min(left);
            return;
        }
        self.said.state(JobState::Upgrading);
        self.said.progressing("Rescaling", "the job is being deployed anew in the same pods");
        self.again = SOON;
        let number = self.number(deployed.number);
        let resolved = wanted.numbered(number, deployed.resolved.as_ref());
        let notes = Notes {
            spec: wanted.spec.clone(),
            mode: Mode::Redeploy,
            rescaled_at: Some(world.now),
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

    pub(super) fn is_redeploying(&self, deployed: &Deployed) -> bool {
        let record = self.memory.calls.get(&CallKind::Redeploy);
        record.is_some_and(|record| record.key == deployed.number && record.outcome.is_none())
    }

    pub(super) fn redeploy(&mut self, deployed: &Deployed, resolved: &ResolvedJob) {
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
}
