//! A cluster of values: it does what a plan says, as the API server, the StatefulSet controller and a kubelet would.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use weir_api::spec::{DeletionPolicy, DesiredState};
use weir_api::{StreamJob, StreamJobStatus, Surface, resolve};

use crate::build::config::config_name;
use crate::lifecycle::*;
use crate::names::{Component, Job};

pub(super) const DEFAULT_IMAGE: &str = "weir:1";

/// A job's world, and what was done to it.
pub(super) struct Sim {
    pub world: World,
    pub spec: Value,
    /// Everything that was done, in words.
    pub done: Vec<String>,
    /// Whether a coordinator in a running pod answers.
    pub answers: bool,
    /// Whether a running coordinator completes checkpoints.
    pub checkpoints: bool,
    /// When the newest was completed, if not just now.
    pub checkpoints_at: Option<Timestamp>,
    /// What a preflight says.
    pub preflight: (i32, String),
    pods_made: u32,
    reign: u64,
    journal: (RunState, u64),
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

impl Sim {
    pub fn new(spec: Value) -> Self {
        let job = Job { namespace: "team-a".into(), name: "q5".into(), uid: "0b5e".into() };
        let world = World {
            now: at(0),
            job,
            generation: 1,
            deleting: None,
            finalizer: false,
            namespace_ending: false,
            desired_state: DesiredState::Running,
            deletion_policy: DeletionPolicy::Retain,
            wanted: Err(Vec::new()),
            conflict: None,
            unreadable: None,
            highest: 0,
            strangers: 0,
            deployed: None,
            stable: None,
            configs: Vec::new(),
            pods: Vec::new(),
            node: NodeHealth::Unknown,
            not_admitted: None,
            checks: Vec::new(),
            deletion: None,
            control: Control::NotAsked,
            status: StreamJobStatus::default(),
            default_image: DEFAULT_IMAGE.into(),
            memory: Memory::default(),
        };
        let mut sim = Sim {
            world,
            spec: json!({}),
            done: Vec::new(),
            answers: true,
            checkpoints: true,
            checkpoints_at: None,
            preflight: (0, r#"{"ok":true}"#.into()),
            pods_made: 0,
            reign: 0,
            journal: (RunState::Unknown, 0),
        };
        sim.world.generation = 0;
        sim.edit(spec);
        sim
    }

    /// The user changes fields of the spec.
    pub fn edit(&mut self, fields: Value) {
        let mut spec = json!({ "job": "q", "storage": { "uri": "s3://weir/jobs" } });
        let merged = self.spec.as_object().unwrap().iter().chain(fields.as_object().unwrap());
        for (name, value) in merged {
            spec[name] = value.clone();
        }
        spec.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        self.spec = spec;
        self.world.generation += 1;
        self.resolve();
    }

    pub fn resolve(&mut self) {
        let object = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": "q5", "namespace": "team-a", "uid": "0b5e", "generation": self.world.generation },
            "spec": self.spec,
        });
        let job: StreamJob = serde_json::from_value(object).unwrap();
        self.world.desired_state = job.spec.desired_state.unwrap_or_default();
        self.world.deletion_policy = job.spec.deletion_policy.unwrap_or_default();
        self.world.wanted = resolve(&job, Surface::Cluster).map(|mut resolved| {
            resolved.revision_number = 0;
            resolved.image.get_or_insert_with(|| self.world.default_image.clone());
            Wanted { resolved, names_image: job.spec.image.is_some(), spec: spec_hash(&job.spec) }
        });
    }

    /// One look, carried out. Answers the plan.
    pub fn look(&mut self) -> Plan {
        self.ask();
        let plan = decide(&self.world);
        self.world.memory = plan.memory.clone();
        self.world.status = plan.status.clone();
        if let Some(deployment) = plan.deployment.clone() {
            self.deploy(deployment);
        }
        for action in plan.actions.clone() {
            self.act(action);
        }
        for notice in &plan.notices {
            self.done.push(format!("{}{}", if notice.warning { "!" } else { "" }, notice.reason));
        }
        plan
    }

    /// Looks, with time going on and the cluster working in between, until a look does nothing.
    pub fn settle(&mut self) {
        for _ in 0..60 {
            let plan = self.look();
            self.pass(1);
            if quiet(&plan) && self.kubelet() == Moved::No {
                return;
            }
        }
        panic!("does not settle: {:?}", self.done);
    }

    pub fn pass(&mut self, seconds: i64) {
        self.world.now += jiff::SignedDuration::from_secs(seconds);
    }

    fn deploy(&mut self, mut deployment: Deployment) {
        let new = !self.world.configs.contains(&deployment.config);
        if new {
            self.world.configs.push(deployment.config.clone());
            self.world.configs.sort();
        }
        if deployment.notes.certified_at.is_none() && deployment.replicas > 0 {
            deployment.serial += u64::from(self.world.deployed.is_some());
            deployment.notes.certified_at = Some(self.world.now);
        }
        let Deployment { config, resolved, serial, replicas, notes, .. } = deployment;
        self.done.push(format!("deploy {} x{replicas}", resolved.revision_number));
        let before = self.world.deployed.take();
        self.world.deployed = Some(Deployed {
            number: resolved.revision_number,
            config: config.clone(),
            resolved: Some(resolved),
            serial,
            replicas,
            ready: 0,
            notes,
        });
        // What the shell reads from the stable ConfigMap.
        let deployed = self.world.deployed.as_ref().unwrap();
        self.world.stable = match (&deployed.notes.stable, before) {
            (Some(stable), Some(before)) if stable.config == before.config && stable.config != config => {
                before.resolved
            }
            (Some(stable), _) if stable.config != config => self.world.stable.take(),
            _ => None,
        };
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::SetFinalizer(on) => {
                self.world.finalizer = on;
                self.done.push(format!("finalizer {on}"));
            }
            Action::CreateTask { component, resolved, .. } => {
                let config = config_name(&self.world.job, &resolved);
                let name = format!("{}-{}", component.as_str(), resolved.revision_number);
                self.done.push(format!("create {name}"));
                if !self.world.configs.contains(&config) {
                    self.world.configs.push(config.clone());
                }
                let (uid, created) = (name.clone(), self.world.now);
                let task = TaskView { name, uid, config, created, deleting: false, ended: None, stuck: None };
                match component {
                    Component::Delete => self.world.deletion = Some(task),
                    Component::Check | Component::Worker => self.world.checks.push(task),
                }
            }
            Action::DeletePod { name, uid, how } => {
                let how = match how {
                    Removal::Graceful => "",
                    Removal::Forced => " by force",
                    Removal::Dead { .. } => " as dead",
                };
                self.done.push(format!("delete {name}{how}"));
                self.world.pods.retain(|pod| pod.uid != uid);
                self.world.checks.retain(|check| check.uid != uid);
                if self.world.deletion.as_ref().is_some_and(|task| task.uid == uid) {
                    self.world.deletion = None;
                }
            }
            Action::DeleteConfig(name) => {
                self.world.configs.retain(|config| *config != name);
                self.done.push("delete config".into());
            }
            Action::TellNamespace(_) => self.done.push("tell namespace".into()),
            Action::Call(call) => self.call(call),
        }
    }

    fn call(&mut self, call: Call) {
        let (kind, key) = (call.kind(), call.key());
        self.done.push(format!("call {kind:?} {key}"));
        if !self.answers {
            return;
        }
        let outcome = match call {
            Call::Stop { number, .. } => {
                self.journal = (RunState::Stopped, number);
                Outcome::Done("stopped".into())
            }
            Call::Redeploy { resolved, .. } => {
                self.reign += 1;
                self.journal = (RunState::Running, resolved.revision_number);
                Outcome::Done("deployed anew".into())
            }
            Call::Checkpoint { .. } | Call::Savepoint { .. } => Outcome::Done("taken".into()),
        };
        let record = self.world.memory.calls.get_mut(&kind).unwrap();
        assert_eq!(record.key, key);
        record.outcome = Some(outcome);
    }

    /// The journal comes to an end by itself.
    pub fn end(&mut self, state: RunState) {
        self.journal.0 = state;
    }

    /// StatefulSet controller, kubelet and runtime.
    fn kubelet(&mut self) -> Moved {
        let mut moved = Moved::No;
        for check in self.world.checks.iter_mut().chain(&mut self.world.deletion).filter(|task| task.ended.is_none()) {
            check.ended = Some(self.preflight.clone());
            moved = Moved::Yes;
        }
        let Some(deployed) = self.world.deployed.clone() else { return moved };
        if deployed.replicas == 0 && !self.world.pods.is_empty() {
            self.world.pods.clear();
            moved = Moved::Yes;
        }
        if deployed.replicas == 1 && self.world.pods.is_empty() {
            self.pods_made += 1;
            let pod = pod(&format!("pod-{}", self.pods_made), &deployed.config, self.world.now);
            self.world.pods.push(pod);
            // A start claims, unless the journal is settled for its number.
            let settled = matches!(self.journal.0, RunState::Stopped | RunState::Finished | RunState::Failed);
            if !settled || deployed.number > self.journal.1 {
                self.journal = (RunState::Running, deployed.number);
                self.reign += 1;
            }
            moved = Moved::Yes;
        }
        moved
    }

    fn ask(&mut self) {
        let running = self.world.pods.first().filter(|pod| pod.running_since.is_some() && pod.deleting.is_none());
        self.world.control = match running {
            None => Control::NotAsked,
            Some(_) if !self.answers => Control::Unreachable("connection refused".into()),
            Some(_) => Control::Answered(Box::new(self.report())),
        };
    }

    pub fn report(&self) -> Report {
        let newest = Checkpoint {
            id: self.reign * 10,
            completed_at: self.checkpoints_at.unwrap_or(self.world.now),
            generation: self.reign,
            ..Default::default()
        };
        let older = Checkpoint { id: 1, completed_at: at(0), generation: 0, ..Default::default() };
        Report {
            number: self.journal.1,
            generation: self.reign,
            state: self.journal.0,
            journal: self.journal.0,
            journal_number: self.journal.1,
            job_id: "j".into(),
            reason: "the operator count failed".into(),
            checkpoints: if self.checkpoints { vec![newest, older] } else { vec![older] },
            ..Report::default()
        }
    }

    pub fn condition(&self, kind: &str) -> (String, String) {
        let found = self.world.status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    }

    pub fn state(&self) -> weir_api::status::JobState {
        self.world.status.state.unwrap()
    }

    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }
}

#[derive(PartialEq)]
enum Moved {
    Yes,
    No,
}

pub(super) fn quiet(plan: &Plan) -> bool {
    plan.deployment.is_none() && plan.actions.is_empty() && plan.notices.is_empty()
}

/// A runtime pod that runs.
pub(super) fn pod(uid: &str, config: &str, now: Timestamp) -> PodView {
    PodView {
        name: "q5-0".into(),
        uid: uid.into(),
        version: "1".into(),
        config: config.into(),
        created: now,
        deleting: None,
        node: Some("n1".into()),
        ip: Some("10.0.0.7".into()),
        phase: "Running".into(),
        reason: None,
        message: None,
        ready: true,
        unschedulable: None,
        restarts: 0,
        running_since: Some(now),
        waiting: None,
        terminated: None,
        last_terminated: None,
    }
}

pub(super) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Sim {
    /// The cluster works for a second, without a look.
    pub fn settle_pods(&mut self) {
        self.pass(1);
        let _ = self.kubelet();
    }
}
