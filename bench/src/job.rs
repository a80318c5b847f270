//! Runs a graph as a job in this process: the coordinator, the journal and a directory for storage, as `weir run` does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, anyhow};
use weir::OwnMemory;
use weir_cluster::{JobOutcome, ProcessMemory, RunOptions, run_job};
use weir_engine::batch::Batch;
use weir_engine::graph::Graph;
use weir_engine::record::Record;
use weir_engine::sink::{Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};
use weir_protocol::CheckpointId;
use weir_storage::{ObjectStore, StoreOptions};

/// How a job is run.
pub struct JobPlan {
    /// Subtasks per operator.
    pub slots: u32,
    /// Bytes of `worker.memory`.
    pub memory: u64,
    /// Checkpoint interval, as in a manifest.
    pub interval: &'static str,
    /// RocksDB or Memory.
    pub backend: &'static str,
    /// Worker threads of the runtime.
    pub threads: usize,
}

impl Default for JobPlan {
    fn default() -> Self {
        Self { slots: 1, memory: 2 << 30, interval: "10s", backend: "RocksDB", threads: 2 }
    }
}

/// Runs a bounded graph to its end, with storage in `dir`.
pub fn run(plan: &JobPlan, dir: &Path, graph: impl Fn(&Graph) + Send + Sync + 'static) -> Result<()> {
    let manifest = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {{name: bench}}\nspec:\n  job: bench\n  worker: {{slots: {}, memory: {}}}\n  \
         state: {{backend: {}}}\n  storage: {{uri: \"file://{}\"}}\n  checkpoint: {{interval: {}}}\n",
        plan.slots,
        plan.memory,
        plan.backend,
        dir.display(),
        plan.interval
    );
    let job = weir_api::yaml::from_str("bench.yaml", &manifest).map_err(|error| anyhow!("{error}"))?;
    let job = weir_api::resolve(&job, weir_api::Surface::CommandLine).map_err(|refused| anyhow!("{refused:?}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(plan.threads).enable_all().build()?;
    let dir = dir.to_owned();
    runtime.block_on(async move {
        let uri = format!("file://{}/objects", dir.display());
        let objects: Arc<dyn ObjectStore> =
            weir_storage::open(&uri, &StoreOptions::default()).await.context("open storage")?;
        let factory = Arc::new(move || {
            let builder = Graph::new();
            graph(&builder);
            builder.finish().map_err(|errors| format!("{errors:?}"))
        });
        let memory: Arc<dyn ProcessMemory> = Arc::new(OwnMemory);
        let options = RunOptions { memory: Some(memory), ..RunOptions::new(job, factory, objects, dir.join("work")) };
        let (_commands, requests) = tokio::sync::mpsc::channel(1);
        let (status, _watch) = tokio::sync::watch::channel(Default::default());
        match run_job(options, requests, status).await? {
            JobOutcome::Finished { .. } => Ok(()),
            other => Err(anyhow!("the job ended as {other:?}")),
        }
    })
}

/// A source that delivers records made from numbers, as often as asked: split `k` of `n` delivers numbers k, k + n, ...
pub struct Numbers<T, F> {
    /// How many records in all.
    pub records: u64,
    /// Number of splits.
    pub splits: u64,
    /// Makes record i.
    pub make: F,
    /// Marks the record type.
    pub marker: std::marker::PhantomData<fn() -> T>,
}

impl<T, F> Numbers<T, F> {
    /// Records `make(0)` to `make(records - 1)`.
    pub fn new(records: u64, splits: u64, make: F) -> Self {
        Self { records, splits, make, marker: std::marker::PhantomData }
    }
}

struct NumbersReader<T, F> {
    next: u64,
    step: u64,
    end: u64,
    make: F,
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record, F: Fn(u64) -> T + Clone + Send + Sync + 'static> Source for Numbers<T, F> {
    type Item = T;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok((0..self.splits).map(|split| SplitId(format!("numbers-{split}"))).collect())
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = T>>, ConnectorError> {
        let first = split.0.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let next = position.and_then(Position::as_u64).unwrap_or(first);
        Ok(Box::new(NumbersReader {
            next,
            step: self.splits,
            end: self.records,
            make: self.make.clone(),
            marker: self.marker,
        }))
    }

    fn is_bounded(&self) -> bool {
        true
    }
}

impl<T: Record, F: Fn(u64) -> T + Send> SplitReader for NumbersReader<T, F> {
    type Item = T;

    fn read(&mut self, max: usize, out: &mut Vec<T>) -> Result<Progress, ConnectorError> {
        let left = (self.end.saturating_sub(self.next)).div_ceil(self.step);
        let count = left.min(max as u64);
        let (next, step) = (self.next, self.step);
        out.extend((0..count).map(|i| (self.make)(next + i * step)));
        self.next += count * step;
        Ok(if self.next >= self.end { Progress::End } else { Progress::Ready })
    }

    fn position(&self) -> Position {
        self.next.into()
    }
}

/// A sink that folds all records into one order-independent checksum.
pub struct Checksum<T> {
    fold: fn(&[T]) -> u64,
    total: Arc<AtomicU64>,
}

impl<T> Checksum<T> {
    /// Sums `fold` over all batches into `total`.
    pub fn new(total: Arc<AtomicU64>, fold: fn(&[T]) -> u64) -> Self {
        Self { fold, total }
    }
}

impl<T: Record> Sink for Checksum<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(ChecksumWriter { fold: self.fold, total: self.total.clone() }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

struct ChecksumWriter<T> {
    fold: fn(&[T]) -> u64,
    total: Arc<AtomicU64>,
}

impl<T: Record> SinkWriter for ChecksumWriter<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        let sum = (self.fold)(&batch.records);
        let _ = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| Some(total.wrapping_add(sum)));
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}
