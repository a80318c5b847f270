//! Jobs that do not run: suspended, resumed, ended, begun again.

use weir_api::spec::DesiredState;
use weir_api::status::JobState;

use super::decide::{RARELY, SOON, Step, renumbered};
use super::deployment::{Ended, Mode, Notes};
use super::world::{Deployed, Wanted};

impl Step<'_> {
    pub(super) fn ended(&mut self, deployed: &Deployed, ended: &Ended) {
        match ended {
            Ended::Finished => {
                self.said.state(JobState::Finished);
                self.said.not_ready("Finished", "its input ended and all output is committed");
            }
            Ended::Failed { reason, message } => {
                self.said.state(JobState::Failed);
                self.said.degraded(reason, message.clone());
                self.said.not_ready("Failed", message.clone());
            }
        }
        if deployed.replicas > 0 {
            self.scale(deployed, 0, deployed.notes.clone());
        }
    }

    pub(super) fn suspend(&mut self, deployed: &Deployed) {
        if deployed.replicas == 0 {
            let gone = self.world.pods.is_empty();
            self.said.state(if gone { JobState::Suspended } else { JobState::Suspending });
            self.said.not_ready("Suspended", "the job is suspended and keeps everything it needs to go on");
            self.again = if gone { RARELY } else { SOON };
            return;
        }
        self.said.state(JobState::Suspending);
        self.said.progressing("Suspending", "the job is being stopped with a final checkpoint");
        if self.stopped(deployed) {
            self.scale(deployed, 0, Notes { unproven_since: None, ..deployed.notes.clone() });
        }
        self.again = SOON;
    }

    pub(super) fn resume(&mut self, deployed: &Deployed, changed: Option<&Wanted>) {
        self.said.state(JobState::Starting);
        self.said.progressing("Resuming", "the runtime pods are being created");
        let number = self.number(deployed.number);
        let world = self.world;
        let (resolved, spec) = match (changed, &world.wanted, &deployed.resolved) {
            (Some(wanted), _, _) => (wanted.numbered(number, None), wanted.spec.clone()),
            (None, _, Some(last)) => (renumbered(last, number), deployed.notes.spec.clone()),
            (None, Ok(wanted), None) => (wanted.numbered(number, None), wanted.spec.clone()),
            (None, Err(_), None) => return,
        };
        let notes = Notes { spec, mode: Mode::Replace, unproven_since: Some(world.now), ..deployed.notes.clone() };
        self.tell("Resumed", "the job goes on from its latest checkpoint");
        self.deploy(resolved, deployed.serial, 1, notes);
        self.again = SOON;
    }

    /// A job that came to an end is asked to run again by a changed spec.
    pub(super) fn begin_again(&mut self, deployed: &Deployed, wanted: &Wanted) {
        let running = self.world.desired_state == DesiredState::Running;
        self.said.state(if running { JobState::Starting } else { JobState::Suspended });
        if running {
            self.said.progressing("Starting", "the spec changed after the job had ended: it runs again");
        } else {
            self.said.not_ready("Suspended", "the job is suspended and keeps everything it needs to go on");
        }
        let notes = Notes {
            spec: wanted.spec.clone(),
            mode: Mode::Replace,
            unproven_since: running.then_some(self.world.now),
            ended: None,
            refused: None,
            ..deployed.notes.clone()
        };
        self.tell("Restarted", "the spec changed after the job had ended: it runs again");
        self.deploy(wanted.numbered(self.number(deployed.number), None), deployed.serial, i32::from(running), notes);
        self.again = SOON;
    }
}
