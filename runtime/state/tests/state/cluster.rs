//! Workers with subtasks on one object store: the engine's part in miniature.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use weir_protocol::{
    CheckpointId, Generation, KeyGroup, MaxParallelism, OperatorId, RunRef, StateInfo, SubtaskIndex, WorkerIndex,
    key_group, key_groups_of, manifest::merge_chains, subtask_of,
};
use weir_state::{
    Backend, BackendKind, BroadcastHandle, Defects, EpochResult, ListHandle, MapHandle, MemoryBudget, RestoreChain,
    StateDescriptor, StateError, StoreConfig, TimerHandle, ValueHandle, WorkerStore, hash_key,
};
use weir_storage::MemoryStore;

pub const MAX: u32 = 16;

pub fn runtime() -> tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let build = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    RUNTIME.get_or_init(build).handle().clone()
}

/// The defect that `WEIR_DEFECT` plants in every test, to see which turn red.
pub fn planted() -> Defects {
    let none = Defects::default();
    match std::env::var("WEIR_DEFECT").unwrap_or_default().as_str() {
        "" => none,
        "clean-survives-hand-over" => Defects { clean_survives_hand_over: true, ..none },
        "base-from-live-state" => Defects { base_from_live_state: true, ..none },
        "range-end-off-by-one" => Defects { range_end_off_by_one: true, ..none },
        other => panic!("WEIR_DEFECT={other} is not a defect of the state engine"),
    }
}

/// How a cluster is set up.
#[derive(Clone)]
pub struct Setup {
    pub backend: BackendKind,
    pub memory: MemoryBudget,
    pub defects: Defects,
    pub base_max_runs: usize,
    pub base_min_bytes: u64,
    pub base_parts: usize,
    pub base_part_bytes: u64,
    pub max_file_bytes: u64,
    pub verify_bytes: u64,
    pub objects: MemoryStore,
    pub dir: PathBuf,
}

impl Setup {
    pub fn new(backend: BackendKind, dir: &std::path::Path) -> Self {
        Self {
            backend,
            memory: MemoryBudget::default(),
            defects: planted(),
            base_max_runs: 256,
            base_min_bytes: 1 << 20,
            base_parts: 4,
            base_part_bytes: 4 << 20,
            max_file_bytes: 256 << 20,
            verify_bytes: 1 << 30,
            objects: MemoryStore::new(),
            dir: dir.to_owned(),
        }
    }

    pub fn config(&self, worker: u32, generation: u64) -> StoreConfig {
        let dir = self.dir.join(format!("worker{worker}"));
        let max = MaxParallelism::new(MAX).unwrap();
        let mut config = StoreConfig::new(dir, Arc::new(self.objects.clone()), runtime(), max, Generation(generation));
        config.worker = WorkerIndex(worker);
        config.backend = self.backend;
        config.memory = self.memory;
        config.defects = self.defects;
        config.base_max_runs = self.base_max_runs;
        config.base_min_bytes = self.base_min_bytes;
        config.base_parts = self.base_parts;
        config.base_part_bytes = self.base_part_bytes;
        config.max_file_bytes = self.max_file_bytes;
        config.verify_bytes = self.verify_bytes;
        config
    }
}

/// A subtask with one state of every kind.
pub struct Subtask {
    pub backend: Backend<String>,
    pub value: ValueHandle<u64>,
    pub text: ValueHandle<String>,
    pub map: MapHandle<i64, String>,
    pub list: ListHandle<u32>,
    pub timers: TimerHandle,
    pub rules: BroadcastHandle<u16, String>,
}

pub struct Worker {
    pub store: Arc<WorkerStore>,
    pub subtasks: Vec<Subtask>,
}

impl Worker {
    /// Ends the process as a kill would, apart from its threads.
    pub fn kill(self) {
        drop(self.subtasks);
        self.store.shutdown();
    }
}

pub struct Cluster {
    pub workers: Vec<Worker>,
    pub parallelism: u32,
    operator: OperatorId,
}

/// Pauses until the condition holds; fails the test after a long time.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

impl Cluster {
    /// Deploys `parallelism` subtasks over `workers` workers.
    pub fn deploy(
        setup: &Setup,
        generation: u64,
        workers: u32,
        parallelism: u32,
        restore: Option<RestoreChain>,
    ) -> Result<Self, StateError> {
        let operator = OperatorId::from("operator");
        let max = MaxParallelism::new(MAX).unwrap();
        let open = |worker: u32| {
            let store = WorkerStore::open(setup.config(worker, generation), restore.clone())?;
            let own = (0..parallelism).filter(|subtask| subtask % workers == worker);
            let subtasks = own.map(|subtask| {
                let groups = key_groups_of(SubtaskIndex(subtask), max, parallelism);
                let mut backend: Backend<String> = store.backend(&operator, subtask, groups);
                Ok(Subtask {
                    value: backend.value("value".into())?,
                    text: backend.value("text".into())?,
                    map: backend.map("map".into())?,
                    list: backend.list("list".into())?,
                    timers: backend.timers("timers")?,
                    rules: backend.broadcast(StateDescriptor::new("rules"))?,
                    backend,
                })
            });
            let subtasks = subtasks.collect::<Result<Vec<_>, StateError>>()?;
            Ok(Worker { store, subtasks })
        };
        let workers = (0..workers).map(open).collect::<Result<Vec<_>, StateError>>()?;
        Ok(Self { workers, parallelism, operator })
    }

    /// The subtask that owns `key`, and the key's hash.
    pub fn subtask(&mut self, key: &str) -> (&mut Subtask, u64) {
        let max = MaxParallelism::new(MAX).unwrap();
        let hash = hash_key(key, &mut Vec::new());
        let group: KeyGroup = key_group(hash, max);
        let subtask = subtask_of(group, max, self.parallelism);
        let workers = self.workers.len() as u32;
        let worker = &mut self.workers[(subtask % workers) as usize];
        (&mut worker.subtasks[(subtask / workers) as usize], hash)
    }

    pub fn all(&mut self) -> impl Iterator<Item = &mut Subtask> {
        self.workers.iter_mut().flat_map(|worker| &mut worker.subtasks)
    }

    /// Begins an epoch on all workers; the results come later.
    pub fn begin(&self, epoch: u64) -> Vec<Receiver<Result<EpochResult, StateError>>> {
        let begin = |worker: &Worker| {
            let (tx, rx) = channel();
            let done = Box::new(move |result| drop(tx.send(result)));
            worker.store.begin_epoch(CheckpointId(epoch), worker.subtasks.len(), done);
            rx
        };
        self.workers.iter().map(begin).collect()
    }

    /// Seals and submits the subtasks for which `which` says so.
    pub fn seal(&mut self, epoch: u64, mut which: impl FnMut(u32) -> bool) {
        let workers = self.workers.len() as u32;
        for (w, worker) in self.workers.iter_mut().enumerate() {
            for (s, subtask) in worker.subtasks.iter_mut().enumerate() {
                if which(w as u32 + s as u32 * workers) {
                    let sealed = subtask.backend.seal(CheckpointId(epoch));
                    worker.store.submit(CheckpointId(epoch), sealed);
                }
            }
        }
    }

    /// The checkpoint that the workers' results make.
    pub fn collect(
        epoch: u64,
        results: Vec<Receiver<Result<EpochResult, StateError>>>,
    ) -> Result<RestoreChain, StateError> {
        let results: Vec<EpochResult> = results
            .into_iter()
            .map(|rx| rx.recv_timeout(Duration::from_secs(60)).expect("the epoch ends"))
            .collect::<Result<_, _>>()?;
        let chains: Vec<&[RunRef]> = results.iter().map(|result| result.chain.as_slice()).collect();
        let states: BTreeMap<_, StateInfo> =
            results.iter().flat_map(|result| result.states.clone()).map(|state| (state.id, state)).collect();
        Ok(RestoreChain {
            chain: merge_chains(chains),
            states: states.into_values().collect(),
            epoch: CheckpointId(epoch),
        })
    }

    /// A whole checkpoint.
    pub fn checkpoint(&mut self, epoch: u64) -> Result<RestoreChain, StateError> {
        let results = self.begin(epoch);
        self.seal(epoch, |_| true);
        Self::collect(epoch, results)
    }

    pub fn acknowledge(&self, epoch: u64) {
        self.workers.iter().for_each(|worker| worker.store.acknowledge(CheckpointId(epoch)));
    }

    pub fn abort(&self, epoch: u64) {
        self.workers.iter().for_each(|worker| worker.store.abort_epoch(CheckpointId(epoch)));
    }

    pub fn maintain(&mut self) {
        self.all().for_each(|subtask| {
            subtask.backend.maintain();
        });
    }

    /// The name the operator's states carry.
    pub fn operator(&self) -> &OperatorId {
        &self.operator
    }

    /// Ends all processes as a kill would, apart from their threads.
    pub fn kill(self) {
        self.workers.into_iter().for_each(Worker::kill);
    }
}
