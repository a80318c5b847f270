//! One deployment in a worker: its store, its subtasks, and what both have to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;
use weir_api::ResolvedJob;
use weir_api::spec::{CheckpointMode, StateBackend};
use weir_engine::build::{BuildPlan, RestoredFlow, build};
use weir_engine::deploy::{DeployEnv, Deployment};
use weir_engine::element::{AlignmentMode, Barrier as FlowBarrier};
use weir_engine::graph::{JobGraph, NodeKind};
use weir_engine::task::{SubtaskAck, TaskEvent};
use weir_protocol::coordinator::{Barrier, OperatorReport, TaskAck, TaskId};
use weir_protocol::{
    CheckpointId, Generation, JobId, Manifest, ManifestKind, MaxParallelism, OperatorId, SubtaskIndex, WorkerIndex,
};
use weir_state::{BackendKind, MemoryBudget, RestoreChain, RocksTuning, StoreConfig, WorkerStore};

use super::acks::Acks;
use super::failure;
use crate::message::{DeployFailure, PrepareOrder, Report};
use crate::options::RunOptions;

/// The one worker there is.
pub(super) const WORKER: WorkerIndex = WorkerIndex(0);

/// Folder of the state store below the work directory.
const STATE_DIR: &str = "state";

/// Of a worker's memory: the part for keyed state, in percent. The rest is for channels, uploads, connectors and user code.
const STATE_MEMORY_PERCENT: u64 = 70;

/// Of a worker's memory: the part for records in channels, as a divisor.
const CHANNEL_MEMORY_DIVISOR: u64 = 16;

/// Budget of one channel in bytes, at least and at most.
const CHANNEL_BYTES: (u64, u64) = (64 << 10, 1 << 20);

/// Files of runs and bases are cut at a quarter of the memory for keyed state, at least and at most this many bytes: their writer holds
/// the hashes of all keys of a file.
const MAX_FILE_BYTES: (u64, u64) = (8 << 20, 256 << 20);

/// A prepared or running deployment.
pub(super) struct Current {
    pub generation: Generation,
    pub store: Arc<WorkerStore>,
    pub acks: Acks,
    pub running: Option<Running>,
    /// Sealed layers that make up an epoch.
    pub stateful_subtasks: usize,
    job_id: JobId,
    restored: Option<Arc<Manifest>>,
}

/// Subtasks that run.
pub(super) struct Running {
    pub events: mpsc::UnboundedReceiver<TaskEvent>,
    pub deployment: Deployment,
    pub started: Instant,
    pub sources: BTreeSet<OperatorId>,
    /// Operators of each chain, by its head.
    chains: BTreeMap<OperatorId, Vec<OperatorId>>,
}

impl Current {
    /// Opens the store with the state of the checkpoint.
    pub(super) async fn prepare(options: &RunOptions, order: PrepareOrder) -> Result<Self, DeployFailure> {
        let PrepareOrder { job_id, generation, restored } = order;
        let config = store_config(options, generation)?;
        let chain = restored.as_ref().map(|manifest| RestoreChain {
            states: manifest.states.clone(),
            chain: manifest.chain.clone(),
            epoch: manifest.checkpoint,
        });
        let opened = tokio::task::spawn_blocking(move || WorkerStore::open(config, chain)).await;
        let store = opened
            .map_err(|panic| DeployFailure::Failed(format!("opening the state store panicked: {panic}")))?
            .map_err(|error| failure::of_store(&error))?;
        let acks = Acks::default();
        Ok(Self { generation, store, acks, running: None, stateful_subtasks: 0, job_id, restored })
    }

    /// Puts the subtasks together and runs them.
    pub(super) async fn start(&mut self, options: &RunOptions) -> Result<(), DeployFailure> {
        let parallelism = options.job.parallelism;
        let (factory, job, clock) = (Arc::clone(&options.graph), options.job.clone(), Arc::clone(&options.clock));
        let (store, job_id, generation) = (Arc::clone(&self.store), self.job_id.clone(), self.generation);
        let restored = restored_flow(self.restored.as_deref(), options.defects.forget_watermarks);
        let built = tokio::task::spawn_blocking(move || {
            let graph = factory().map_err(DeployFailure::Failed)?;
            let plan = BuildPlan {
                parallelism,
                max_parallelism: max_parallelism(&job)?,
                job_id: &job_id,
                generation,
                store: &store,
                restored: &restored,
                channel_bytes: channel_bytes(&graph, &job),
                now: clock.now_ms(),
            };
            let (tasks, metrics) = build(&graph, &plan).map_err(|error| failure::of_build(&error))?;
            Ok((graph, tasks, metrics))
        });
        let built = built.await;
        let (graph, tasks, metrics) =
            built.map_err(|panic| DeployFailure::Failed(format!("putting the job together panicked: {panic}")))??;
        for state in self.store.unclaimed_states() {
            tracing::warn!(operator = %state.operator, state = state.name, "the checkpoint holds a state that the job no longer declares");
        }
        let (tx, events) = mpsc::unbounded_channel();
        let env = DeployEnv {
            events: tx,
            clock: Arc::clone(&options.clock),
            store: Arc::clone(&self.store),
            alignment: alignment(options.job.checkpoint.mode),
            restored: self.restored.as_ref().map_or(CheckpointId(0), |manifest| manifest.checkpoint),
            flow: options.flow.clone().unwrap_or_else(tokio::runtime::Handle::current),
        };
        self.acks = Acks::new(stateful_tasks(&graph, parallelism));
        self.stateful_subtasks = graph.stateful_subtasks(parallelism);
        let (sources, chains) = (sources_of(&graph), chains_of(&graph, parallelism));
        let deployment = Deployment::start(tasks, metrics, &env);
        self.running = Some(Running { events, deployment, started: Instant::now(), sources, chains });
        Ok(())
    }

    /// Lets sources emit a barrier.
    pub(super) fn inject(&self, barrier: &Barrier) {
        if let Some(running) = &self.running {
            running.deployment.inject(FlowBarrier {
                checkpoint: barrier.checkpoint,
                generation: barrier.generation,
                triggered_at_us: u64::try_from(barrier.triggered_at.0).unwrap_or(0).saturating_mul(1000),
                is_final: barrier.kind == ManifestKind::Final,
            });
        }
    }

    /// The checkpoint's journal entry exists.
    pub(super) fn completed(&self, checkpoint: CheckpointId) {
        if let Some(running) = &self.running {
            running.deployment.completed(checkpoint);
        }
    }

    /// A subtask's acknowledgement in the coordinator's words, or that it waits for the store.
    pub(super) fn take_ack(&mut self, ack: SubtaskAck) -> Report {
        let operators = self.running.as_ref().map(|running| running.reports(&ack)).unwrap_or_default();
        let SubtaskAck { checkpoint, operator, subtask, splits, watermarks: _, sinks, timeline } = ack;
        let task = TaskId { operator, subtask: SubtaskIndex(subtask) };
        let generation = self.generation;
        let sealed = Report::Sealed(generation, checkpoint, task.clone());
        let ack = TaskAck { generation, checkpoint, task, operators, splits, sinks, timeline };
        self.acks.take(ack).map_or(sealed, Report::TaskAck)
    }

    /// Ends all subtasks, then the store's threads.
    pub(super) async fn end(self) {
        if let Some(running) = self.running {
            running.deployment.cancel().await;
        }
        let store = self.store;
        // Waits for threads of its own, which stop at once unless they are in the middle of a blocking call.
        if tokio::task::spawn_blocking(move || store.shutdown()).await.is_err() {
            tracing::error!("ending the state store panicked");
        }
    }
}

impl Running {
    /// What each operator of a subtask's chain has to say. Counters are read after the barrier, so that they may already count a
    /// few records behind it; they are shown to people and never decide anything.
    fn reports(&self, ack: &SubtaskAck) -> Vec<OperatorReport> {
        let watermarks: BTreeMap<&OperatorId, Option<i64>> =
            ack.watermarks.iter().map(|(operator, watermark)| (operator, *watermark)).collect();
        let chain = self.chains.get(&ack.operator).map(Vec::as_slice).unwrap_or_default();
        let report = |operator: &OperatorId| {
            let counters = self.deployment.metrics.get(&(operator.clone(), ack.subtask));
            let read = |counter: fn(&weir_engine::stage::OperatorMetrics) -> &std::sync::atomic::AtomicU64| {
                counters.map_or(0, |counters| counter(counters).load(std::sync::atomic::Ordering::Relaxed))
            };
            OperatorReport {
                operator: operator.clone(),
                watermark: watermarks.get(operator).copied().flatten(),
                records_in: read(|counters| &counters.records_in),
                records_out: read(|counters| &counters.records_out),
            }
        };
        chain.iter().map(report).collect()
    }
}

fn store_config(options: &RunOptions, generation: Generation) -> Result<StoreConfig, DeployFailure> {
    let job = &options.job;
    let runtime = tokio::runtime::Handle::current();
    let objects = Arc::clone(&options.objects);
    let dir = options.work_dir.join(STATE_DIR);
    let memory = usize::try_from(job.memory_bytes / 100 * STATE_MEMORY_PERCENT).unwrap_or(usize::MAX);
    Ok(StoreConfig {
        backend: match job.backend {
            StateBackend::RocksDb => BackendKind::RocksDb,
            StateBackend::Memory => BackendKind::Memory,
        },
        memory: MemoryBudget::split(memory),
        tuning: RocksTuning::for_memory(memory),
        max_file_bytes: (memory as u64 / 4).clamp(MAX_FILE_BYTES.0, MAX_FILE_BYTES.1),
        worker: WORKER,
        defects: options.defects.state,
        ..StoreConfig::new(dir, objects, runtime, max_parallelism(job)?, generation)
    })
}

fn max_parallelism(job: &ResolvedJob) -> Result<MaxParallelism, DeployFailure> {
    MaxParallelism::new(job.max_parallelism).map_err(|error| DeployFailure::Refused(error.to_string()))
}

fn alignment(mode: CheckpointMode) -> AlignmentMode {
    match mode {
        CheckpointMode::ExactlyOnce => AlignmentMode::ExactlyOnce,
        CheckpointMode::AtLeastOnce => AlignmentMode::AtLeastOnce,
    }
}

/// A channel's share of the memory for all channels.
fn channel_bytes(graph: &JobGraph, job: &ResolvedJob) -> usize {
    let channels: u64 = graph
        .heads(job.parallelism)
        .into_iter()
        .map(|head| {
            let to = u64::from(graph.parallelism_of(head, job.parallelism));
            let from = graph.nodes[head.0]
                .inputs
                .iter()
                .map(|edge| u64::from(graph.parallelism_of(edge.from, job.parallelism)));
            to * from.sum::<u64>()
        })
        .sum();
    let share = job.memory_bytes / CHANNEL_MEMORY_DIVISOR / channels.max(1);
    usize::try_from(share.clamp(CHANNEL_BYTES.0, CHANNEL_BYTES.1)).unwrap_or(usize::MAX)
}

/// What a manifest says about the dataflow.
fn restored_flow(manifest: Option<&Manifest>, forget_watermarks: bool) -> RestoredFlow {
    let Some(manifest) = manifest else { return RestoredFlow::default() };
    let mut splits: BTreeMap<_, _> =
        manifest.splits.iter().map(|split| ((split.operator.clone(), split.split.clone()), split.clone())).collect();
    let mut watermarks: BTreeMap<_, _> =
        manifest.operators.iter().map(|snapshot| (snapshot.operator.clone(), snapshot.watermarks.clone())).collect();
    if forget_watermarks {
        watermarks.clear();
        splits.values_mut().for_each(|split| split.watermark = None);
    }
    RestoredFlow { splits, watermarks, epoch: manifest.checkpoint.0 }
}

fn sources_of(graph: &JobGraph) -> BTreeSet<OperatorId> {
    let sources = graph.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Source(_)));
    sources.map(|node| node.id.clone()).collect()
}

fn chains_of(graph: &JobGraph, parallelism: u32) -> BTreeMap<OperatorId, Vec<OperatorId>> {
    let id = |node: weir_engine::graph::NodeId| graph.nodes[node.0].id.clone();
    let chain = |head| graph.chain_of(head, parallelism).into_iter().map(id).collect();
    graph.heads(parallelism).into_iter().map(|head| (id(head), chain(head))).collect()
}

fn stateful_tasks(graph: &JobGraph, parallelism: u32) -> BTreeSet<TaskId> {
    let stateful = |head: &weir_engine::graph::NodeId| {
        graph.chain_of(*head, parallelism).into_iter().any(|node| graph.nodes[node.0].stateful)
    };
    let heads = graph.heads(parallelism).into_iter().filter(stateful);
    let tasks = heads.flat_map(|head| {
        let subtasks = graph.parallelism_of(head, parallelism);
        (0..subtasks).map(move |subtask| (head, subtask))
    });
    tasks.map(|(head, subtask)| TaskId::new(graph.nodes[head.0].id.clone(), subtask)).collect()
}
