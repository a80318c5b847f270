//! The stop ladder: a final checkpoint if there is an answer in time, else the latest completed one.

use std::time::Duration;

use super::back_off::{millis, since};
use super::call::{Call, CallKind, CallRecord, Outcome};
use super::decide::Step;
use super::plan::Action;
use super::world::Deployed;

/// What is waited beyond the time that a coordinator has for its final checkpoint.
const STOP_GRACE: Duration = Duration::from_secs(5);

impl Step<'_> {
    /// The stop ladder. True once nothing of the deployment needs to be waited for.
    ///
    /// First a final checkpoint through the control API; if there is no answer, or none in time, the pods may be deleted:
    /// the latest completed checkpoint is used, and that is said.
    pub(super) fn stopped(&mut self, deployed: &Deployed) -> bool {
        use CallKind::Stop;
        let world = self.world;
        let timeout = self.final_checkpoint_timeout();
        let report = self.report();
        if report.is_some_and(|report| report.journal_settled(deployed.number)) || world.pods.is_empty() {
            if let Some(CallRecord { outcome, .. }) = self.memory.calls.remove(&Stop) {
                let said = if let Some(Outcome::Done(what)) = outcome { what } else { "the job is stopped".to_owned() };
                self.tell("Stopped", said);
            }
            return true;
        }
        let call = self.memory.calls.get(&Stop).filter(|call| call.key == deployed.number).cloned();
        let Some(CallRecord { started, outcome, .. }) = call else {
            let can_answer = world.pods.iter().any(|pod| pod.running_since.is_some() && pod.deleting.is_none());
            if !can_answer {
                self.warn("NoFinalCheckpoint", "no process is there to stop: the latest completed checkpoint is used");
                return true;
            }
            self.call(Call::Stop { number: deployed.number, timeout });
            return false;
        };
        // A little longer than the coordinator itself takes, so that its own answer wins.
        let over = since(world.now, started) > timeout + STOP_GRACE;
        match outcome {
            Some(Outcome::Done(what)) => {
                self.memory.calls.remove(&Stop);
                self.tell("Stopped", what);
                true
            }
            Some(Outcome::Refused(why)) => {
                self.memory.calls.remove(&Stop);
                self.warn("NoFinalCheckpoint", format!("{why}: the latest completed checkpoint is used"));
                true
            }
            Some(Outcome::Again(why)) if over => {
                self.memory.calls.remove(&Stop);
                self.warn("NoFinalCheckpoint", format!("{why}: the latest completed checkpoint is used"));
                true
            }
            Some(Outcome::Again(_)) => {
                // Asked again, counted from the first time.
                self.actions.push(Action::Call(Call::Stop { number: deployed.number, timeout }));
                false
            }
            None if over => {
                self.memory.calls.remove(&Stop);
                let words =
                    format!("no final checkpoint within {}s: the latest completed one is used", timeout.as_secs());
                self.warn("NoFinalCheckpoint", words);
                true
            }
            None => false,
        }
    }

    pub(super) fn final_checkpoint_timeout(&self) -> Duration {
        millis(self.upgrade_wishes().final_checkpoint_timeout)
    }
}
