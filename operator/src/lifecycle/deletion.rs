//! A StreamJob that goes: with `Delete`, its checkpoints go first; nothing ever keeps it from going for long.

use std::time::Duration;

use jiff::Timestamp;
use weir_api::ResolvedJob;
use weir_api::spec::DeletionPolicy;
use weir_api::status::JobState;

use super::back_off::since;
use super::decide::{SOON, Step};
use super::world::{Action, Removal};
use crate::names::Component;

/// How long the deletion of checkpoints may take before they are kept and the job goes.
pub const DELETION_DEADLINE: Duration = Duration::from_secs(600);

impl Step<'_> {
    pub(super) fn delete(&mut self, asked: Timestamp) {
        let world = self.world;
        self.again = SOON;
        if !world.finalizer {
            self.again = super::decide::RARELY;
            return;
        }
        self.said.state(JobState::Suspending);
        self.said.progressing("Deleting", "the job's checkpoints are being deleted");
        if world.deletion_policy == DeletionPolicy::Retain {
            return self.let_go();
        }
        if world.namespace_ending {
            let words = format!(
                "the checkpoints of {} are kept: its namespace ends, so nothing can delete them",
                world.job.name
            );
            self.actions.push(Action::TellNamespace(words));
            return self.let_go();
        }
        if since(world.now, asked) > DELETION_DEADLINE {
            self.warn("CheckpointsKept", "the checkpoints could not be deleted in time and are kept");
            return self.let_go();
        }
        if let Some(deployed) = &world.deployed
            && deployed.replicas > 0
        {
            self.scale(deployed, 0, deployed.notes.clone());
            return;
        }
        // Without a StatefulSet nobody else removes them.
        let orphans = world.pods.iter().filter(|pod| pod.deleting.is_none() && world.deployed.is_none());
        for pod in orphans {
            let (name, uid) = (pod.name.clone(), pod.uid.clone());
            self.actions.push(Action::DeletePod { name, uid, how: Removal::Graceful });
        }
        if !world.pods.is_empty() {
            return;
        }
        match world.deletion.as_ref().map(|task| task.ended.clone()) {
            Some(Some((0, _))) => {
                self.tell("CheckpointsDeleted", "everything under the job's prefix is deleted, savepoints excepted");
                self.let_go();
            }
            Some(Some((_, said))) => {
                // A new pod tries again, until the deadline.
                self.warn("DeletionFailed", said);
                if let Some(task) = world.deletion.as_ref().filter(|task| !task.deleting) {
                    let (name, uid) = (task.name.clone(), task.uid.clone());
                    self.actions.push(Action::DeletePod { name, uid, how: Removal::Graceful });
                }
                self.again = Duration::from_secs(5);
            }
            Some(None) => self.again = Duration::from_secs(1),
            None => match self.last_resolved() {
                Some((resolved, spec)) => {
                    let resolved = Box::new(resolved);
                    self.actions.push(Action::CreateTask { component: Component::Delete, resolved, spec });
                }
                // It never ran: there is nothing to delete.
                None => self.let_go(),
            },
        }
    }

    /// The job as it last ran, else as it is wanted.
    fn last_resolved(&self) -> Option<(ResolvedJob, String)> {
        let world = self.world;
        let deployed = world.deployed.as_ref();
        if let Some((deployed, resolved)) = deployed.and_then(|d| d.resolved.clone().map(|resolved| (d, resolved))) {
            return Some((resolved, deployed.notes.spec.clone()));
        }
        let wanted = world.wanted.as_ref().ok()?;
        deployed.map(|deployed| (wanted.numbered(deployed.number, None), wanted.spec.clone()))
    }

    fn let_go(&mut self) {
        self.actions.push(Action::SetFinalizer(false));
        self.again = super::decide::RARELY;
    }
}
