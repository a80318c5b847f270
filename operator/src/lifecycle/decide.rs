//! The decision: which phase a job is in, and what its next step is.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_api::resolve::NUMBERS_PER_GENERATION;
use weir_api::spec::{DeletionPolicy, DesiredState};
use weir_api::status::JobState;
use weir_api::{Invalid, ResolvedJob, StreamJobStatus};

use super::call::{Call, CallRecord};
use super::certificate::Certificate;
use super::change::{Change, resolve_change};
use super::deployment::{Deployment, Notes, Refused};
use super::memory::Memory;
use super::plan::{Action, Notice, Plan};
use super::report::{Control, Report};
use super::status::Said;
use super::world::{Deployed, Wanted, World};
use crate::build::config::config_name;

/// How soon to look again while something is under way.
pub(super) const SOON: Duration = Duration::from_millis(500);
/// How soon to look again at a job that runs.
pub(super) const POLL: Duration = Duration::from_secs(5);
/// How soon to look again at what is mended in an object that is not watched.
pub(super) const UNHEARD: Duration = Duration::from_secs(60);
/// How soon to look again at a job that nothing happens to: a change wakes us.
pub(super) const RARELY: Duration = Duration::from_secs(3600);

/// What to do next.
pub fn decide(world: &World) -> Plan {
    let mut step = Step::new(world);
    step.decide();
    step.finish()
}

/// A plan in the making.
pub(super) struct Step<'w> {
    pub world: &'w World,
    pub support: bool,
    pub deployment: Option<Deployment>,
    pub actions: Vec<Action>,
    pub notices: Vec<Notice>,
    pub restarted: BTreeMap<String, u64>,
    pub memory: Memory,
    pub again: Duration,
    pub said: Said,
    pub status: StreamJobStatus,
}

impl<'w> Step<'w> {
    fn new(world: &'w World) -> Self {
        Step {
            world,
            support: false,
            deployment: None,
            actions: Vec::new(),
            notices: Vec::new(),
            restarted: BTreeMap::new(),
            memory: world.memory.clone(),
            again: RARELY,
            said: Said::default(),
            status: world.status.clone(),
        }
    }

    fn decide(&mut self) {
        let world = self.world;
        if let Some(since) = world.deleting {
            return self.delete(since);
        }
        let wants_finalizer = world.deletion_policy == DeletionPolicy::Delete;
        if wants_finalizer != world.finalizer {
            self.actions.push(Action::SetFinalizer(wants_finalizer));
        }
        if let Some(what) = &world.conflict {
            let words = format!("{what} is there and is not this job's: rename the job, or remove it");
            self.again = UNHEARD;
            if world.deployed.is_none() {
                self.said.state(JobState::Pending);
                return self.said.held_back("NameConflict", words);
            }
            // What runs already is looked after all the same.
            self.said.degraded("NameConflict", words);
        }
        if let Some(why) = &world.unreadable {
            self.said.health_unknown = true;
            let way_out =
                "run the operator that wrote it, or remove the StatefulSet: the job goes on from its checkpoint";
            self.said.held_back("RecordUnreadable", format!("{why}: {way_out}"));
            self.again = UNHEARD;
            return;
        }
        if world.strangers > 0 && world.pods.is_empty() {
            self.said.state(JobState::Pending);
            self.said.progressing("WaitingForOldPods", "pods of an earlier job with this name are still there");
            self.again = SOON;
            return;
        }
        self.count_restarts();
        match (&world.deployed, &world.wanted) {
            (None, Err(invalid)) => {
                self.said.state(JobState::Pending);
                self.invalid(invalid);
            }
            (None, Ok(wanted)) => self.create(wanted),
            (Some(deployed), wanted) => self.go_on(deployed, wanted),
        }
    }

    /// The spec cannot run: said, and nothing that runs is touched.
    fn invalid(&mut self, invalid: &[Invalid]) {
        let words: Vec<String> = invalid.iter().map(ToString::to_string).collect();
        self.said.not_ready("InvalidSpec", words.join("; "));
        // A service account may get its label, which nobody tells us.
        self.again = self.again.min(UNHEARD);
    }

    fn create(&mut self, wanted: &Wanted) {
        let world = self.world;
        self.support = true;
        let running = world.desired_state == DesiredState::Running;
        let notes =
            Notes { spec: wanted.spec.clone(), unproven_since: running.then_some(world.now), ..Notes::default() };
        self.deploy(wanted.numbered(self.first_number(wanted), None), 1, i32::from(running), notes);
        self.said.state(if running { JobState::Starting } else { JobState::Suspended });
        if running {
            self.said.progressing("Creating", "the runtime pods are being created");
            self.tell("Created", "the job was accepted and its pods are being created");
            self.again = SOON;
        } else {
            self.said.not_ready("Suspended", "the job is suspended and has not run yet");
        }
    }

    /// Something is deployed: keep it, stop it, move it.
    fn go_on(&mut self, deployed: &Deployed, wanted: &Result<Wanted, Vec<Invalid>>) {
        self.support = self.world.conflict.is_none();
        self.status_of_deployed(deployed);
        if let Some(report) = self.report() {
            self.observe(report);
        }
        let valid = match wanted {
            Ok(wanted) => Some(wanted),
            Err(invalid) => {
                self.invalid(invalid);
                None
            }
        };
        let refused = deployed.notes.refused.as_ref();
        if let (Some(Refused { why, .. }), Some(wanted)) = (refused, valid)
            && refused.is_some_and(|refused| refused.spec == wanted.spec)
        {
            self.said.degraded(
                "UpgradeRolledBack",
                format!("{why}; the last stable revision runs: change the spec to try again"),
            );
        }
        let changed = valid.filter(|wanted| refused.is_none_or(|refused| refused.spec != wanted.spec));
        let change = match changed.map_or(Change::None, |wanted| resolve_change(deployed, wanted)) {
            // Nobody can be told: its pods are replaced.
            Change::Redeploy if !self.can_redeploy(deployed) => Change::Replace,
            change => change,
        };
        self.update_available(deployed, valid);
        self.collect_configs(deployed, changed.filter(|_| change == Change::Replace));
        let suspended = self.world.desired_state == DesiredState::Suspended;
        if change != Change::Replace || suspended || deployed.notes.ended.is_some() {
            self.drop_checks();
        }
        if let Some(ended) = &deployed.notes.ended {
            return match (change, changed) {
                (Change::Redeploy | Change::Replace, Some(wanted)) => self.begin_again(deployed, wanted),
                _ => self.ended(deployed, ended),
            };
        }
        if suspended {
            return self.suspend(deployed);
        }
        if deployed.replicas == 0 {
            return self.resume(deployed, changed);
        }
        match (change, changed) {
            (Change::None, _) | (_, None) => self.run(deployed),
            (Change::Note, Some(wanted)) => {
                let notes = Notes { spec: wanted.spec.clone(), ..deployed.notes.clone() };
                self.note(deployed, notes);
                self.run(deployed);
            }
            (Change::Redeploy, Some(wanted)) => self.rescale(deployed, wanted),
            (Change::Replace, Some(wanted)) => self.upgrade(deployed, wanted),
        }
    }

    /// Deploys a resolved job with a number. The certificate is renewed with it if that is due.
    pub(super) fn deploy(&mut self, resolved: ResolvedJob, serial: u64, replicas: i32, mut notes: Notes) {
        if Certificate::due(notes.certified_at, self.world.now) != Certificate::Keep {
            notes.certified_at = None;
        }
        self.deployment = Some(Deployment {
            config: config_name(&self.world.job, &resolved),
            image: resolved.image.clone().unwrap_or_else(|| self.world.default_image.clone()),
            resolved,
            serial,
            replicas,
            notes,
        });
    }

    /// The same deployment with other notes.
    pub(super) fn note(&mut self, deployed: &Deployed, notes: Notes) {
        self.scale(deployed, deployed.replicas, notes);
    }

    pub(super) fn scale(&mut self, deployed: &Deployed, replicas: i32, notes: Notes) {
        let resolved = match (&deployed.resolved, &self.world.wanted) {
            (Some(resolved), _) => resolved.clone(),
            (None, Ok(wanted)) => wanted.numbered(deployed.number, None),
            (None, Err(_)) => return,
        };
        let image = resolved.image.clone().unwrap_or_else(|| self.world.default_image.clone());
        let config = deployed.config.clone();
        self.deployment = Some(Deployment { config, resolved, image, serial: deployed.serial, replicas, notes });
    }

    /// The number of a job of which nothing is deployed. If it was before, the journal refuses lower numbers; and a look
    /// that failed after its ConfigMap goes on with the same.
    fn first_number(&self, wanted: &Wanted) -> u64 {
        let highest = self.world.highest;
        let same = config_name(&self.world.job, &wanted.numbered(highest, None));
        let is_there = highest >= self.number(0) && self.world.configs.contains(&same);
        if is_there { highest } else { self.number(highest) }
    }

    /// The next number above `current`.
    pub(super) fn number(&self, current: u64) -> u64 {
        let generation = u64::try_from(self.world.generation).unwrap_or_default();
        generation.saturating_mul(NUMBERS_PER_GENERATION).max(current + 1)
    }

    pub(super) fn report(&self) -> Option<&'w Report> {
        match &self.world.control {
            Control::Answered(report) => Some(report),
            Control::NotAsked | Control::Unreachable(_) => None,
        }
    }

    /// Begins a call and remembers it.
    pub(super) fn call(&mut self, call: Call) {
        let record = CallRecord { key: call.key(), started: self.world.now, outcome: None };
        self.memory.calls.insert(call.kind(), record);
        self.actions.push(Action::Call(call));
    }

    pub(super) fn tell(&mut self, reason: &str, note: impl Into<String>) {
        let (reason, note) = (reason.to_owned(), note.into());
        self.notices.push(Notice { warning: false, happened: false, reason, note });
    }

    pub(super) fn warn(&mut self, reason: &str, note: impl Into<String>) {
        let (reason, note) = (reason.to_owned(), note.into());
        self.notices.push(Notice { warning: true, happened: false, reason, note });
    }

    fn finish(mut self) -> Plan {
        self.write_status();
        let Step { world: _, support, deployment, actions, notices, restarted, memory, again, said: _, status } = self;
        Plan { support, deployment, actions, notices, restarted, status, memory, again }
    }
}

/// The same job with another number.
pub(super) fn renumbered(resolved: &ResolvedJob, number: u64) -> ResolvedJob {
    ResolvedJob { revision_number: number, ..resolved.clone() }
}
