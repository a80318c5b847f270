//! A job in one process whose input and clock the test holds, with checkpoints, crashes and restores.
//!
//! Nothing here waits for time to pass: input is there once it was pushed, the clock goes on when told to, and a test looks
//! only after everything that was pushed has been read and a barrier has come through behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use weir_engine::batch::Batch;
use weir_engine::build::{BuildPlan, MetricsTable, RestoredFlow, build};
use weir_engine::deploy::{DeployEnv, Deployment};
use weir_engine::element::{AlignmentMode, Barrier};
use weir_engine::graph::Graph;
use weir_engine::record::Record;
use weir_engine::sink::{Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};
use weir_engine::stage::OperatorMetrics;
use weir_engine::task::TaskEvent;
use weir_engine::time::Clock;
use weir_protocol::{CheckpointId, Generation, JobId, MaxParallelism, OperatorId};
use weir_state::{BackendKind, RestoreChain, StoreConfig, WorkerStore};

/// (key, time, value)
pub type Rec = (u64, i64, u64);

/// How long to wait for what must come; no outcome depends on it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the clock stands at first: somewhere in the present, as expiries are absolute.
pub const START_MS: i64 = 1_700_000_000_000;

/// A clock that goes on when told to.
#[derive(Clone)]
pub struct HandClock(Arc<AtomicU64>);

impl Clock for HandClock {
    fn now_us(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl HandClock {
    /// Moves it without anybody being told.
    pub fn pass(&self, millis: u64) {
        self.0.fetch_add(millis * 1000, Ordering::SeqCst);
    }
}

/// One split as the test writes it.
#[derive(Default)]
struct Tape {
    records: Vec<Rec>,
    ends: bool,
    /// How far it was read.
    read: usize,
    told_end: bool,
    /// Reads that found nothing since the test last looked.
    empty_reads: u64,
}

/// A source whose splits are written while the job runs.
#[derive(Clone)]
pub struct Script {
    bounded: bool,
    tapes: Arc<Mutex<Vec<Arc<Mutex<Tape>>>>>,
}

impl Script {
    fn new(bounded: bool, splits: usize) -> Self {
        let script = Self { bounded, tapes: Arc::default() };
        (0..splits).for_each(|_| script.add_split());
        script
    }

    pub fn bounded(splits: usize) -> Self {
        Self::new(true, splits)
    }

    pub fn unbounded(splits: usize) -> Self {
        Self::new(false, splits)
    }

    /// One more split, for the next deployment to discover.
    pub fn add_split(&self) {
        self.tapes.lock().unwrap().push(Arc::default());
    }

    fn tape(&self, split: usize) -> Arc<Mutex<Tape>> {
        self.tapes.lock().unwrap()[split].clone()
    }

    pub fn push(&self, split: usize, records: &[Rec]) {
        self.tape(split).lock().unwrap().records.extend_from_slice(records);
    }

    pub fn end(&self, split: usize) {
        self.tape(split).lock().unwrap().ends = true;
    }

    fn split_id(index: usize) -> SplitId {
        SplitId(format!("split-{index}"))
    }

    fn look_again(&self) {
        self.tapes.lock().unwrap().iter().for_each(|tape| tape.lock().unwrap().empty_reads = 0);
    }

    /// True once all that was written has been read, and each live split was asked in vain, from a turn of the loop that
    /// began after [`Script::look_again`].
    fn is_read(&self) -> bool {
        self.tapes.lock().unwrap().iter().all(|tape| {
            let tape = tape.lock().unwrap();
            tape.read == tape.records.len() && if tape.ends { tape.told_end } else { tape.empty_reads >= 2 }
        })
    }

    /// Subtasks that have reported their end by now.
    fn ended_subtasks(&self, parallelism: u32) -> usize {
        let tapes = self.tapes.lock().unwrap();
        let ended = |subtask: &u32| {
            let mut own =
                tapes.iter().enumerate().filter(|(index, _)| Self::split_id(*index).subtask(parallelism) == *subtask);
            own.all(|(_, tape)| tape.lock().unwrap().ends)
        };
        if self.bounded { (0..parallelism).filter(ended).count() } else { 0 }
    }
}

impl Source for Script {
    type Item = Rec;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok((0..self.tapes.lock().unwrap().len()).map(Self::split_id).collect())
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = Rec>>, ConnectorError> {
        let index: usize = split.0.trim_start_matches("split-").parse().unwrap();
        let tape = self.tape(index);
        tape.lock().unwrap().read = position.map_or(0, |position| position.as_u64().unwrap() as usize);
        Ok(Box::new(TapeReader(tape)))
    }

    fn is_bounded(&self) -> bool {
        self.bounded
    }
}

struct TapeReader(Arc<Mutex<Tape>>);

impl SplitReader for TapeReader {
    type Item = Rec;

    fn read(&mut self, max: usize, out: &mut Vec<Rec>) -> Result<Progress, ConnectorError> {
        let mut tape = self.0.lock().unwrap();
        let end = (tape.read + max).min(tape.records.len());
        if tape.read < end {
            out.extend_from_slice(&tape.records[tape.read..end]);
            tape.read = end;
            return Ok(Progress::Ready);
        }
        tape.empty_reads += 1;
        tape.told_end |= tape.ends;
        // Not a time to wait for: the clock stands still.
        Ok(if tape.ends { Progress::End } else { Progress::Ready })
    }

    fn position(&self) -> Position {
        self.0.lock().unwrap().read.into()
    }
}

/// Keeps all that reaches it, over crashes too.
#[derive(Clone)]
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T: Record + Ord> Seen<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// All that has come, sorted.
    pub fn all(&self) -> Vec<T> {
        let mut all = self.0.lock().unwrap().clone();
        all.sort();
        all
    }
}

impl<T: Record> Sink for Seen<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

impl<T: Record> SinkWriter for Seen<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        self.0.lock().unwrap().append(&mut batch.records);
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}

/// What a checkpoint consists of.
#[derive(Clone, Default)]
struct Checkpoint {
    flow: RestoredFlow,
    chain: Option<RestoreChain>,
}

/// A job: its graph, its input and its latest checkpoint.
pub struct Job {
    parallelism: u32,
    build: Box<dyn Fn(&Graph)>,
    scripts: Vec<Script>,
    clock: HandClock,
    objects: Arc<weir_storage::MemoryStore>,
    dir: tempfile::TempDir,
    generation: u64,
    latest: Checkpoint,
    /// For the store's uploads; subtasks run on one thread of their own, in the same order each time.
    uploads: tokio::runtime::Runtime,
}

impl Job {
    pub fn new(parallelism: u32, scripts: &[&Script], build: impl Fn(&Graph) + 'static) -> Self {
        let uploads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self {
            parallelism,
            build: Box::new(build),
            scripts: scripts.iter().map(|script| (*script).clone()).collect(),
            clock: HandClock(Arc::new(AtomicU64::new(START_MS as u64 * 1000))),
            objects: Arc::new(weir_storage::MemoryStore::new()),
            dir: tempfile::tempdir().unwrap(),
            generation: 0,
            latest: Checkpoint::default(),
            uploads,
        }
    }

    pub fn clock(&self) -> HandClock {
        self.clock.clone()
    }

    /// Starts it from its latest checkpoint. No subtask has run when this returns.
    pub fn start(&mut self) -> Running<'_> {
        self.generation += 1;
        let generation = Generation(self.generation);
        let max_parallelism = MaxParallelism::new(16).unwrap();
        let dir = self.dir.path().join(self.generation.to_string());
        let mut config =
            StoreConfig::new(dir, self.objects.clone(), self.uploads.handle().clone(), max_parallelism, generation);
        config.backend = BackendKind::Memory;
        let store = WorkerStore::open(config, self.latest.chain.clone()).unwrap();
        let graph = Graph::new();
        (self.build)(&graph);
        let graph = graph.finish().map_err(|errors| format!("{errors:?}")).unwrap();
        let plan = BuildPlan {
            parallelism: self.parallelism,
            max_parallelism,
            job_id: &JobId("test".into()),
            generation,
            store: &store,
            restored: &self.latest.flow,
            channel_bytes: 64 << 10,
            now: self.clock.now_ms(),
        };
        let (tasks, metrics) = build(&graph, &plan).map_err(|error| error.to_string()).unwrap();
        let stateful = graph.stateful_subtasks(self.parallelism);
        let (events, reports) = tokio::sync::mpsc::unbounded_channel();
        let restored = CheckpointId(self.latest.flow.epoch);
        let subtasks = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let env = DeployEnv {
            events,
            clock: Arc::new(self.clock.clone()),
            store: store.clone(),
            alignment: AlignmentMode::ExactlyOnce,
            restored,
            flow: subtasks.handle().clone(),
        };
        let deployment = subtasks.block_on(async { Deployment::start(tasks, metrics.clone(), &env) });
        Running {
            job: self,
            subtasks,
            deployment,
            metrics,
            reports,
            store,
            stateful,
            epoch: restored,
            ended: BTreeSet::new(),
        }
    }
}

/// A job that runs.
pub struct Running<'a> {
    job: &'a mut Job,
    subtasks: tokio::runtime::Runtime,
    deployment: Deployment,
    metrics: MetricsTable,
    reports: tokio::sync::mpsc::UnboundedReceiver<TaskEvent>,
    store: Arc<WorkerStore>,
    stateful: usize,
    epoch: CheckpointId,
    ended: BTreeSet<(OperatorId, u32)>,
}

impl Running<'_> {
    /// Moves the clock.
    pub fn pass(&self, millis: u64) {
        self.job.clock.pass(millis);
        // Those that sleep look at the clock again when they are told something.
        self.deployment.completed(CheckpointId(0));
    }

    /// Lets everything that was pushed be read, and all that follows from it happen; then takes a checkpoint.
    pub fn settle(&mut self) {
        self.job.scripts.iter().for_each(Script::look_again);
        let expected: usize = self.job.scripts.iter().map(|script| script.ended_subtasks(self.job.parallelism)).sum();
        let Self { job, subtasks, reports, ended, .. } = self;
        subtasks.block_on(async {
            let deadline = std::time::Instant::now() + PATIENCE;
            while !(job.scripts.iter().all(Script::is_read) && ended.len() == expected) {
                assert!(std::time::Instant::now() < deadline, "input is not read: {} of {expected} ended", ended.len());
                while let Ok(event) = reports.try_recv() {
                    match event {
                        TaskEvent::SourceEnded { operator, subtask } => assert!(ended.insert((operator, subtask))),
                        TaskEvent::Failed(error) => panic!("{error}"),
                        TaskEvent::Ack(ack) => panic!("unasked: {ack:?}"),
                    }
                }
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        });
        self.checkpoint();
    }

    /// Takes a checkpoint at once, of whatever has been read so far.
    pub fn checkpoint(&mut self) {
        self.epoch = self.epoch.next();
        let epoch = self.epoch;
        let (done, mut result) = tokio::sync::mpsc::unbounded_channel();
        self.store.begin_epoch(epoch, self.stateful, Box::new(move |outcome| done.send(outcome).unwrap()));
        let generation = Generation(self.job.generation);
        self.deployment.inject(Barrier { checkpoint: epoch, generation, triggered_at_us: 0, is_final: false });
        let (mut splits, mut watermarks) = (BTreeMap::new(), BTreeMap::<OperatorId, Vec<Option<i64>>>::new());
        let Self { subtasks, deployment, reports, ended, .. } = self;
        let result = subtasks.block_on(async {
            let mut acks = 0;
            while acks < deployment.subtasks() {
                match tokio::time::timeout(PATIENCE, reports.recv()).await.expect("an answer").unwrap() {
                    TaskEvent::Ack(ack) => {
                        assert_eq!(ack.checkpoint, epoch);
                        splits.extend(
                            ack.splits.into_iter().map(|split| ((split.operator.clone(), split.split.clone()), split)),
                        );
                        for (operator, watermark) in ack.watermarks {
                            let all = watermarks.entry(operator).or_default();
                            all.resize(all.len().max(ack.subtask as usize + 1), None);
                            all[ack.subtask as usize] = watermark;
                        }
                        acks += 1;
                    }
                    TaskEvent::SourceEnded { operator, subtask } => assert!(ended.insert((operator, subtask))),
                    TaskEvent::Failed(error) => panic!("{error}"),
                }
            }
            tokio::time::timeout(PATIENCE, result.recv()).await.expect("an answer").unwrap().unwrap()
        });
        self.store.acknowledge(epoch);
        self.deployment.completed(epoch);
        // So that nobody is woken by that later on.
        self.subtasks.block_on(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
        let chain = RestoreChain { states: result.states, chain: result.chain, epoch };
        let flow = RestoredFlow { splits, watermarks, epoch: epoch.0 };
        self.job.latest = Checkpoint { flow, chain: Some(chain) };
    }

    /// Ends the job where it stands; what came after its latest checkpoint is forgotten.
    pub fn crash(self) {
        let Self { subtasks, deployment, store, .. } = self;
        subtasks.block_on(deployment.cancel());
        store.shutdown();
    }

    fn metrics(&self, operator: &str) -> impl Iterator<Item = &OperatorMetrics> {
        self.metrics.iter().filter(move |((id, _), _)| id.as_str() == operator).map(|(_, metrics)| &**metrics)
    }

    /// Late records of an operator in this deployment.
    pub fn late(&self, operator: &str) -> u64 {
        self.metrics(operator).map(|metrics| metrics.records_late.load(Ordering::Relaxed)).sum()
    }

    /// The lowest watermark of an operator's subtasks.
    pub fn watermark(&self, operator: &str) -> i64 {
        self.metrics(operator).map(|metrics| metrics.watermark.load(Ordering::Relaxed)).min().unwrap()
    }
}
