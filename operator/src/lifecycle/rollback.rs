//! Whether a deployment proves itself; and what becomes of one that does not: the single way back, or the end.

use std::time::Duration;

use weir_api::ResolvedJob;
use weir_api::status::JobState;

use super::back_off::{millis, since};
use super::call::{Call, CallKind, CallRecord, Outcome};
use super::decide::{SOON, Step, renumbered};
use super::deployment::{Ended, Mode, Notes, Refused, Stable};
use super::plan::Action;
use super::world::Deployed;

/// How long a refused deployment may take to stop without a checkpoint, before its pods are removed all the same.
const DISCARD_PATIENCE: Duration = Duration::from_secs(15);

impl Step<'_> {
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
        self.again = SOON;
        self.memory.rolling_back = Some((deployed.number, why.to_owned()));
        if !self.discarded(deployed) {
            return true;
        }
        self.memory.rolling_back = None;
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
        true
    }

    /// Goes on with a way back that was begun. True if there is one.
    pub(super) fn rolls_back(&mut self, deployed: &Deployed) -> bool {
        let begun = self.memory.rolling_back.clone().filter(|(number, _)| *number == deployed.number);
        begun.is_some_and(|(_, why)| self.roll_back(deployed, &why))
    }

    /// Whether a deployment that is refused can take no checkpoint any more: the way back is to the stable pair of spec *and*
    /// checkpoint, and a pod that is asked to go takes one.
    fn discarded(&mut self, deployed: &Deployed) -> bool {
        let world = self.world;
        let answers = world.pods.iter().any(|pod| pod.running_since.is_some() && pod.deleting.is_none());
        if !answers || self.report().is_some_and(|report| report.journal_settled(deployed.number)) {
            self.memory.calls.remove(&CallKind::Discard);
            return true;
        }
        let known = self.memory.calls.get(&CallKind::Discard).filter(|call| call.key == deployed.number).cloned();
        let Some(CallRecord { started, outcome, .. }) = known else {
            self.call(Call::Discard { number: deployed.number });
            return false;
        };
        let is_over = since(world.now, started) > DISCARD_PATIENCE;
        match outcome {
            Some(Outcome::Done(_) | Outcome::Refused(_)) => {}
            Some(Outcome::Again(_)) | None if is_over => {}
            Some(Outcome::Again(_)) => {
                self.actions.push(Action::Call(Call::Discard { number: deployed.number }));
                return false;
            }
            None => return false,
        }
        self.memory.calls.remove(&CallKind::Discard);
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

    /// A deployment that has not proven itself in time goes back to the stable one, once.
    pub(super) fn upgrade_deadline(&mut self, deployed: &Deployed) {
        let _ = self.goes_back_in_time(deployed);
    }

    /// As [`upgrade_deadline`](Self::upgrade_deadline). True if it goes back.
    pub(super) fn goes_back_in_time(&mut self, deployed: &Deployed) -> bool {
        let Some(then) = deployed.notes.unproven_since else { return false };
        let deadline = millis(self.upgrade_wishes().deadline);
        if since(self.world.now, then) <= deadline {
            return false;
        }
        let why = match &self.said.degraded {
            Some((reason, message)) => {
                format!("no completed checkpoint within {}s: {reason}: {message}", deadline.as_secs())
            }
            None => format!("no completed checkpoint within {}s", deadline.as_secs()),
        };
        if self.roll_back(deployed, &why) {
            return true;
        }
        if self.said.degraded.is_none() {
            let words = format!("{why}: look at the job's metrics and at the storage");
            // A job that runs is ready, also while its first checkpoint is late.
            if !self.said.is_running() {
                self.said.not_ready("NoCheckpoint", words.clone());
            }
            self.said.degraded("NoCheckpoint", words);
        }
        false
    }
}
