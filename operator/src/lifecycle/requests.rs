//! Checkpoints and savepoints that the user asks for: each request once.

use super::call::{Call, Outcome};
use super::decide::{SOON, Step};
use super::deployment::Notes;
use super::plan::Action;
use super::report::{Report, RunState};

impl Step<'_> {
    pub(super) fn requests(&mut self, notes: &mut Notes, report: &Report, number: u64) {
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
    pub(super) fn request(&mut self, call: Call, carried_out: bool) -> Option<String> {
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
