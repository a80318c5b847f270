//! A store in memory, workers that answer at once, and the checks that hold in every test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::coordinator::*;
use crate::ids::{CheckpointId, Generation, JobId, Millis, OperatorId, Sequence, StateId, SubtaskIndex, WorkerIndex};
use crate::journal::machine::{CreateOutcome, ReadOutcome};
use crate::journal::{
    Attempts, EntryKind, Head, JobStatus, JournalAction, JournalEntry, Owner, RevisionRule, StartRequest,
};
use crate::key_group::{KeyGroupRange, MaxParallelism};
use crate::manifest::{Manifest, RunKind, RunRef, SinkHandle, SplitPosition, StateInfo, StateKind};
use crate::object::ObjectRef;
use crate::timeline::SubtaskTimeline;
use crate::{defects::Defects, layout};

/// Actions that a test answers itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hold {
    pub deploy: bool,
    pub acks: bool,
    pub manifest: bool,
    pub creates: bool,
    pub commits: bool,
    pub copies: bool,
    pub loads: bool,
    pub lists: bool,
}

/// What stands outside the coordinator.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    pub journal: BTreeMap<Sequence, Vec<u8>>,
    pub objects: BTreeMap<String, Vec<u8>>,
    /// Checkpoints whose output is committed.
    pub committed: BTreeSet<CheckpointId>,
    /// Every record of output committed, as (epoch, subtask).
    pub output: BTreeSet<(CheckpointId, u32)>,
}

pub struct Sim {
    pub coordinator: Coordinator,
    pub config: CoordinatorConfig,
    pub request: StartRequest,
    pub defects: Defects,
    pub outside: Outside,
    pub now: i64,
    pub hold: Hold,
    /// Actions not answered yet, because a test holds them.
    pub held: Vec<Action>,
    /// All actions since the last [`Sim::take`].
    pub log: Vec<Action>,
    pub processes: u32,
    /// The workers' chain.
    pub chain: Vec<RunRef>,
}

pub const TASKS: u32 = 2;

pub fn task(subtask: u32) -> TaskId {
    TaskId::new("source", subtask)
}

pub fn config() -> CoordinatorConfig {
    let defaults = CoordinatorConfig::default();
    CoordinatorConfig { interval_ms: Some(100), timeout_ms: 1_000, retained: 2, manifests_together: 1, ..defaults }
}

impl Sim {
    pub fn new(config: CoordinatorConfig) -> Self {
        let request = StartRequest {
            owner: Owner::local(),
            fresh_job_id: JobId::from("job"),
            revision: RevisionRule::Numbered(1),
            hash: "h".into(),
            restore_from: None,
        };
        let coordinator = Coordinator::new(config.clone(), request.clone(), Attempts::new("p0"));
        Self {
            coordinator,
            config,
            request,
            defects: Defects::default(),
            outside: Outside::default(),
            now: 0,
            hold: Hold::default(),
            held: Vec::new(),
            log: Vec::new(),
            processes: 0,
            chain: Vec::new(),
        }
    }

    /// A simulation whose job runs, with the actions of the start forgotten.
    pub fn running(config: CoordinatorConfig) -> Self {
        let mut sim = Self::new(config);
        sim.send(Event::Start);
        assert_eq!(sim.coordinator.status(), Status::Running);
        sim.take();
        sim
    }

    /// The process is replaced by a new one; what it held is lost.
    pub fn restart(&mut self) {
        self.restart_holding(Hold::default());
    }

    /// The same, with some actions held from the start.
    pub fn restart_holding(&mut self, hold: Hold) {
        self.processes += 1;
        self.coordinator =
            Coordinator::new(self.config.clone(), self.request.clone(), Attempts::new(format!("p{}", self.processes)))
                .with_defects(self.defects);
        self.held.clear();
        self.hold = hold;
        self.send(Event::Start);
    }

    pub fn plant(&mut self, defects: Defects) {
        self.defects = defects;
        self.coordinator = self.coordinator.clone().with_defects(defects);
    }

    /// Sends an event and answers everything that is not held.
    pub fn send(&mut self, event: Event) {
        let mut queue = VecDeque::from(self.handle(event));
        while let Some(action) = queue.pop_front() {
            if self.is_held(&action) {
                self.held.push(action);
                continue;
            }
            for answer in self.answer(action) {
                queue.extend(self.handle(answer));
            }
        }
    }

    /// Answers what a test held back.
    pub fn release(&mut self) {
        self.hold = Hold::default();
        for action in std::mem::take(&mut self.held) {
            for answer in self.answer(action) {
                self.send(answer);
            }
        }
    }

    /// Lets time pass, waking the coordinator whenever it asks for it.
    pub fn advance(&mut self, millis: i64) {
        let end = self.now + millis;
        while self.now < end {
            let wakeup = self.coordinator.next_wakeup(Millis(self.now));
            assert!(wakeup.0 > self.now, "a wake-up in the past");
            self.now = wakeup.0.min(end);
            self.send(Event::Tick);
        }
    }

    pub fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.log)
    }

    pub fn head(&self) -> Head {
        let (sequence, bytes) = self.outside.journal.last_key_value().expect("the journal has an entry");
        JournalEntry::decode(*sequence, bytes).expect("entries are intact").head
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        let name = |(sequence, bytes): (&Sequence, &Vec<u8>)| {
            JournalEntry::decode(*sequence, bytes).expect("entries are intact").kind.name()
        };
        self.outside.journal.iter().map(name).collect()
    }

    pub fn generation(&self) -> Generation {
        self.coordinator.generation().expect("it reigns")
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let actions = self.coordinator.handle(event, Millis(self.now));
        for action in &actions {
            self.check(action);
        }
        self.log.extend(actions.iter().cloned());
        actions
    }

    /// What must hold whenever such an action is asked for.
    fn check(&self, action: &Action) {
        match action {
            Action::Commit { checkpoint, .. } => {
                assert!(self.head().checkpoint(*checkpoint).is_some(), "commit of {checkpoint} before its entry");
            }
            Action::DeleteObjects(keys) => {
                let head = self.head();
                for entry in &head.checkpoints {
                    assert!(!keys.contains(&entry.manifest.key), "{} is retained", entry.manifest.key);
                    let Some(bytes) = self.outside.objects.get(&entry.manifest.key) else { continue };
                    let named =
                        Manifest::decode(&entry.manifest.key, bytes).expect("manifests are intact").object_keys();
                    let lost: Vec<_> = keys.iter().filter(|key| named.contains(*key)).collect();
                    assert!(lost.is_empty(), "{lost:?} are named by checkpoint {}", entry.id);
                }
            }
            Action::PutManifest { key, bytes, .. } => {
                let written = self.outside.objects.get(key);
                assert!(written.is_none_or(|written| written == bytes), "{key} is written with two contents");
            }
            _ => {}
        }
    }

    fn is_held(&self, action: &Action) -> bool {
        let Hold { deploy, acks, manifest, creates, commits, copies, loads, lists } = self.hold;
        match action {
            Action::Deploy(_) => deploy,
            Action::Trigger(_) => acks,
            Action::PutManifest { .. } => manifest,
            Action::Journal(JournalAction::Create { .. }) => creates,
            Action::Journal(JournalAction::List) => lists,
            Action::Commit { .. } => commits,
            Action::CopySavepoint { .. } => copies,
            Action::LoadManifest(_) => loads,
            _ => false,
        }
    }

    /// Does what an action asks for, and returns the answers.
    pub fn answer(&mut self, action: Action) -> Vec<Event> {
        match action {
            Action::Journal(action) => vec![self.answer_journal(action)],
            Action::Deploy(deployment) => vec![self.deploy(&deployment)],
            Action::Trigger(barrier) => self.acks(barrier),
            Action::PutManifest { checkpoint, key, bytes, .. } => {
                self.outside.objects.insert(key, bytes);
                vec![Event::ManifestStored(checkpoint, true)]
            }
            Action::Commit { checkpoint, handles } => {
                self.commit(checkpoint, &handles);
                vec![Event::Committed(checkpoint)]
            }
            Action::CopySavepoint { name, .. } => vec![Event::SavepointCopied(name, Ok(()))],
            Action::LoadManifest(entry) => {
                let manifest = self.outside.objects.get(&entry.manifest.key);
                let manifest = manifest.and_then(|bytes| Manifest::decode(&entry.manifest.key, bytes).ok());
                vec![Event::ManifestLoaded(entry.id, manifest.map(|manifest| manifest.object_keys()))]
            }
            Action::ListObjects => vec![Event::ObjectsListed(self.outside.objects.keys().cloned().collect())],
            Action::DeleteObjects(keys) => {
                self.outside.objects.retain(|key, _| !keys.contains(key));
                vec![Event::ObjectsDeleted(keys, true)]
            }
            _ => Vec::new(),
        }
    }

    fn answer_journal(&mut self, action: JournalAction) -> Event {
        match action {
            JournalAction::List => {
                Event::JournalListed(Some(self.outside.journal.keys().rev().take(2).copied().collect()))
            }
            JournalAction::Read { sequence } => {
                let found = self.outside.journal.get(&sequence).cloned();
                Event::JournalRead(sequence, found.map_or(ReadOutcome::Absent, ReadOutcome::Found))
            }
            JournalAction::Create { sequence, bytes } => {
                let outcome = if self.land(sequence, &bytes) { CreateOutcome::Done } else { CreateOutcome::Exists };
                Event::JournalCreated(sequence, outcome)
            }
            JournalAction::Delete { sequence } => {
                self.outside.journal.remove(&sequence);
                Event::JournalDeleted(sequence, true)
            }
            other => panic!("not a call: {other:?}"),
        }
    }

    /// Creates a journal entry if absent.
    pub fn land(&mut self, sequence: Sequence, bytes: &Arc<[u8]>) -> bool {
        let absent = !self.outside.journal.contains_key(&sequence);
        self.outside.journal.entry(sequence).or_insert_with(|| bytes.to_vec());
        absent
    }

    pub fn commit(&mut self, checkpoint: CheckpointId, handles: &[SinkHandle]) {
        self.outside.committed.insert(checkpoint);
        self.outside.output.extend(handles.iter().map(|handle| (handle.epoch, handle.subtask.0)));
    }

    /// Restores, replays commits, and says that everything runs.
    pub fn deploy(&mut self, deployment: &Deployment) -> Event {
        let read = |entry: &crate::journal::CheckpointEntry, outside: &Outside| {
            Manifest::decode(&entry.manifest.key, &outside.objects[&entry.manifest.key]).expect("it is intact")
        };
        for entry in &deployment.replay {
            let manifest = read(entry, &self.outside);
            self.commit(entry.id, &manifest.sinks);
        }
        let restored = deployment.checkpoint.as_ref().map(|entry| Box::new(read(entry, &self.outside)));
        self.chain = restored.as_ref().map(|manifest| manifest.chain.clone()).unwrap_or_default();
        for run in &self.chain {
            assert!(self.outside.objects.contains_key(&run.object.key), "{} is gone", run.object.key);
        }
        Event::Deployed { generation: deployment.generation, plan: plan(), restored }
    }

    /// Everybody's acknowledgement of a checkpoint.
    pub fn acks(&mut self, barrier: Barrier) -> Vec<Event> {
        let tasks = (0..TASKS).map(|subtask| Event::TaskAck(self.task_ack(barrier, subtask)));
        let mut events: Vec<Event> = tasks.collect();
        events.push(Event::StoreAck(self.store_ack(barrier)));
        events
    }

    pub fn task_ack(&self, barrier: Barrier, subtask: u32) -> TaskAck {
        let operator = OperatorId::from("source");
        TaskAck {
            generation: barrier.generation,
            checkpoint: barrier.checkpoint,
            task: task(subtask),
            operators: vec![OperatorReport {
                operator: operator.clone(),
                watermark: Some(5),
                records_in: 10,
                records_out: 9,
            }],
            splits: vec![SplitPosition {
                operator: operator.clone(),
                split: format!("s-{subtask}"),
                position: Some(barrier.checkpoint.0.into()),
                watermark: None,
                finished: false,
            }],
            sinks: vec![SinkHandle {
                operator: operator.clone(),
                subtask: SubtaskIndex(subtask),
                epoch: barrier.checkpoint,
                payload: serde_json::Value::Null,
            }],
            timeline: SubtaskTimeline { operator, subtask: SubtaskIndex(subtask), ..SubtaskTimeline::default() },
        }
    }

    /// Uploads a run and acknowledges the chain with it.
    pub fn store_ack(&mut self, barrier: Barrier) -> StoreAck {
        let prefix = layout::runs_prefix(barrier.generation, WorkerIndex(0));
        let key = format!("{prefix}r{}.sst", barrier.checkpoint);
        self.outside.objects.insert(key.clone(), b"run".to_vec());
        self.chain.push(RunRef {
            object: ObjectRef::of(key, b"run"),
            kind: RunKind::Run,
            epoch: barrier.checkpoint,
            worker: WorkerIndex(0),
            key_groups: KeyGroupRange::new(0, 128),
            entries: 1,
            file_bytes: 3,
        });
        StoreAck {
            generation: barrier.generation,
            checkpoint: barrier.checkpoint,
            worker: WorkerIndex(0),
            chain: self.chain.clone(),
            states: vec![StateInfo {
                id: StateId(1),
                operator: OperatorId::from("count"),
                name: "count".into(),
                kind: StateKind::Value,
                key_type: "u64".into(),
                value_type: "u64".into(),
                user_key_type: None,
                version: 1,
            }],
            bytes_uploaded: 3,
        }
    }

    /// Another process claims the journal, as if from elsewhere.
    pub fn usurp(&mut self) {
        let (kind, mut head) = crate::journal::start::resolve_redeploy(&self.head());
        head.reserved_ids = CheckpointId(head.reserved_ids.0 + 4);
        self.append_elsewhere(kind, head);
    }

    /// Another process, which reigns, appends an entry.
    pub fn append_elsewhere(&mut self, kind: EntryKind, head: Head) {
        let sequence = self.outside.journal.last_key_value().expect("there is an entry").0.next();
        let attempt = Attempts::new("usurper").draw();
        let entry = JournalEntry { format: JournalEntry::FORMAT, sequence, attempt, written_at: Millis(0), kind, head };
        self.outside.journal.insert(sequence, entry.encode());
    }
}

pub fn plan() -> Plan {
    Plan {
        max_parallelism: MaxParallelism::new(128).expect("128 is allowed"),
        parallelism: TASKS,
        operators: vec![OperatorPlan { operator: OperatorId::from("source"), parallelism: TASKS, stateful: true }],
        tasks: (0..TASKS).map(task).collect(),
        bounded_sources: (0..TASKS).map(task).collect(),
        stores: BTreeSet::from([WorkerIndex(0)]),
    }
}

/// A short name for each action that matters to most tests.
pub fn names(actions: &[Action]) -> Vec<String> {
    let name = |action: &Action| match action {
        Action::Journal(JournalAction::Create { bytes, sequence }) => {
            let entry = JournalEntry::decode(*sequence, bytes).expect("entries are intact");
            Some(match entry.kind {
                EntryKind::Checkpoint { checkpoint } => format!("append {checkpoint}"),
                other => format!("append {}", other.name()),
            })
        }
        Action::Journal(_) | Action::Completed(_) | Action::LoadManifest(_) | Action::ListObjects => None,
        Action::Deploy(deployment) => Some(format!("deploy {}", deployment.generation)),
        Action::Cancel { .. } => Some("cancel".into()),
        Action::Trigger(barrier) => Some(format!("trigger {}", barrier.checkpoint)),
        Action::Abort { checkpoint, .. } => Some(format!("abort {checkpoint}")),
        Action::PutManifest { checkpoint, .. } => Some(format!("manifest {checkpoint}")),
        Action::Commit { checkpoint, .. } => Some(format!("commit {checkpoint}")),
        Action::Acknowledge { checkpoint } => Some(format!("acknowledge {checkpoint}")),
        Action::EndTasks => Some("end tasks".into()),
        Action::CopySavepoint { name, .. } => Some(format!("copy {name}")),
        Action::DeleteObjects(keys) => Some(format!("delete {}", keys.join(" "))),
        Action::Answer { request, result } => Some(format!("answer {} {}", request.0, result.is_ok())),
        Action::Settled(status) => Some(format!("settled {status}")),
        Action::Refused(_) => Some("refused".into()),
        Action::Leave(_) => Some("leave".into()),
    };
    actions.iter().filter_map(name).collect()
}

/// The barrier among held or logged actions.
pub fn barrier(actions: &[Action]) -> Barrier {
    let barrier = |action: &Action| if let Action::Trigger(barrier) = action { Some(*barrier) } else { None };
    actions.iter().rev().find_map(barrier).expect("a checkpoint was triggered")
}

pub fn settled(sim: &Sim) -> Option<JobStatus> {
    match sim.coordinator.status() {
        Status::Settled(status) => Some(status),
        _ => None,
    }
}
