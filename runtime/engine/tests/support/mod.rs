//! Runs small graphs in one process, without a coordinator: sources from vectors, sinks into vectors.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use weir_engine::batch::Batch;
use weir_engine::build::{BuildPlan, RestoredFlow, build};
use weir_engine::deploy::{DeployEnv, Deployment};
use weir_engine::element::{AlignmentMode, Barrier};
use weir_engine::graph::Graph;
use weir_engine::record::Record;
use weir_engine::sink::{Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};
use weir_engine::task::TaskEvent;
use weir_engine::time::{Clock, SystemClock};
use weir_protocol::{CheckpointId, Generation, JobId, MaxParallelism};
use weir_state::{BackendKind, StoreConfig, WorkerStore};

/// A bounded source: one split per vector.
pub struct VecSource<T> {
    pub splits: Vec<Vec<T>>,
    /// Records per read, so that barriers and watermarks fall between records.
    pub step: usize,
}

struct VecReader<T> {
    records: Vec<T>,
    next: usize,
    step: usize,
}

impl<T: Record> Source for VecSource<T> {
    type Item = T;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok((0..self.splits.len()).map(|index| SplitId(format!("split-{index}"))).collect())
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = T>>, ConnectorError> {
        let index: usize = split.0.trim_start_matches("split-").parse().expect("made by discover");
        let next = position.map_or(0, |position| position.as_u64().expect("made by position") as usize);
        Ok(Box::new(VecReader { records: self.splits[index].clone(), next, step: self.step }))
    }

    fn is_bounded(&self) -> bool {
        true
    }
}

impl<T: Record> SplitReader for VecReader<T> {
    type Item = T;

    fn read(&mut self, max: usize, out: &mut Vec<T>) -> Result<Progress, ConnectorError> {
        let end = (self.next + max.min(self.step)).min(self.records.len());
        out.extend_from_slice(&self.records[self.next..end]);
        self.next = end;
        Ok(if end == self.records.len() { Progress::End } else { Progress::Ready })
    }

    fn position(&self) -> Position {
        self.next.into()
    }
}

/// Keeps everything that reaches it.
#[derive(Clone)]
pub struct VecSink<T>(pub Arc<Mutex<Vec<T>>>);

impl<T> VecSink<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }
}

impl<T: Record> Sink for VecSink<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

impl<T: Record> SinkWriter for VecSink<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        self.0.lock().expect("no panic while locked").append(&mut batch.records);
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}

/// How a graph is run.
pub struct Run {
    pub parallelism: u32,
    /// Barriers are injected all the time, so that state is sealed and handed over while the graph runs.
    pub barriers: bool,
    pub backend: BackendKind,
}

impl Default for Run {
    fn default() -> Self {
        Self { parallelism: 1, barriers: true, backend: BackendKind::Memory }
    }
}

/// Runs a graph to the end of its input; `Err` is the first failure of a subtask.
pub fn run(how: &Run, graph: Graph) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(drive(how, graph))
}

async fn drive(how: &Run, graph: Graph) -> Result<(), String> {
    let dir = tempfile::tempdir().expect("a directory");
    let max_parallelism = MaxParallelism::new(16).expect("allowed");
    let objects = Arc::new(weir_storage::MemoryStore::new());
    let mut config =
        StoreConfig::new(dir.path(), objects, tokio::runtime::Handle::current(), max_parallelism, Generation(1));
    config.backend = how.backend;
    let store = tokio::task::spawn_blocking(move || WorkerStore::open(config, None))
        .await
        .expect("no panic")
        .expect("the store opens");
    let graph = graph.finish().map_err(|errors| format!("{errors:?}"))?;
    let job_id = JobId("test".into());
    let plan = BuildPlan {
        parallelism: how.parallelism,
        max_parallelism,
        job_id: &job_id,
        generation: Generation(1),
        store: &store,
        restored: &RestoredFlow::default(),
        channel_bytes: 64 << 10,
        now: SystemClock.now_ms(),
    };
    let (tasks, metrics) = build(&graph, &plan).map_err(|error| error.to_string())?;
    let stateful = graph.stateful_subtasks(how.parallelism);
    let (events, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let env = DeployEnv {
        events,
        clock: Arc::new(SystemClock),
        store: store.clone(),
        alignment: AlignmentMode::ExactlyOnce,
        restored: CheckpointId(0),
        flow: tokio::runtime::Handle::current(),
    };
    let deployment = Deployment::start(tasks, metrics, &env);
    let mut ended = BTreeSet::new();
    let mut epoch = CheckpointId(0);
    let mut acks = deployment.subtasks();
    let mut last = false;
    let outcome = loop {
        if acks == deployment.subtasks() {
            if last {
                break Ok(());
            }
            last = ended.len() == deployment.source_subtasks();
            if how.barriers || last {
                (acks, epoch) = (0, epoch.next());
                store.begin_epoch(epoch, stateful, Box::new(|_| ()));
                deployment.inject(Barrier {
                    checkpoint: epoch,
                    generation: Generation(1),
                    triggered_at_us: 0,
                    is_final: false,
                });
            }
        }
        match reports.recv().await.expect("the deployment runs") {
            TaskEvent::Ack(ack) => {
                assert_eq!(ack.checkpoint, epoch);
                acks += 1;
            }
            TaskEvent::SourceEnded { operator, subtask } => assert!(ended.insert((operator, subtask))),
            TaskEvent::Failed(error) => break Err(error.to_string()),
        }
    };
    deployment.cancel().await;
    tokio::task::spawn_blocking(move || store.shutdown()).await.expect("no panic");
    outcome
}
