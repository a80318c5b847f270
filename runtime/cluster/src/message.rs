//! What coordinator and worker say to each other. Both run in one process for now, but know nothing else of each other.
//!
//! Every message carries the generation, by itself or in what it carries; a worker refuses older ones. Preparing and starting are
//! calls with an answer, because a deployment starts nowhere before it is prepared everywhere; everything else is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use weir_protocol::coordinator::{Barrier, DeclineCause, StoreAck, TaskAck, TaskId};
use weir_protocol::{CheckpointId, Generation, JobId, Manifest, OperatorId, WorkerIndex};
use weir_state::StoreStats;

/// Coordinator to worker.
#[derive(Debug)]
pub(crate) enum Order {
    /// Open the store and restore the state; nothing runs yet.
    Prepare(Box<PrepareOrder>, oneshot::Sender<Result<(), DeployFailure>>),
    /// Commits are replayed: put the subtasks together and run them.
    Start(Generation, oneshot::Sender<Result<(), DeployFailure>>),
    /// End all subtasks of this and older generations.
    Cancel(Generation),
    /// Begin the epoch in the store, then let sources emit the barrier.
    Trigger(Barrier),
    /// The checkpoint is given up.
    Abort(Generation, CheckpointId),
    /// The checkpoint's journal entry exists.
    Acknowledge(Generation, CheckpointId),
}

/// What a worker restores.
#[derive(Debug, Clone)]
pub(crate) struct PrepareOrder {
    pub job_id: JobId,
    pub generation: Generation,
    /// The checkpoint to restore; names of objects are relative to the job's root.
    pub restored: Option<Arc<Manifest>>,
}

/// Why a deployment did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeployFailure {
    /// Trying again gives the same answer until the user changes something.
    Refused(String),
    /// The storage did not answer: no failure of the job, to be tried again.
    Storage(String),
    /// It may work next time.
    Failed(String),
}

/// Worker to coordinator.
#[derive(Debug)]
pub(crate) enum Report {
    TaskAck(TaskAck),
    /// A subtask's acknowledgement waits for the store.
    Sealed(Generation, CheckpointId, TaskId),
    StoreAck(StoreAck),
    Declined(Generation, CheckpointId, DeclineCause),
    InputEnded(Generation, TaskId),
    /// A subtask failed.
    Failed(Generation, TaskFailure),
    Disowned(Generation, WorkerIndex, Vec<String>),
    Sample(Box<WorkerSample>),
}

/// The failure of a subtask, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskFailure {
    pub operator: OperatorId,
    /// A short name for metrics.
    pub kind: &'static str,
    /// Operator, record, source position and causes.
    pub reason: String,
}

/// How far a worker is, since its deployment.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerSample {
    pub generation: Generation,
    pub operators: BTreeMap<(OperatorId, u32), OperatorSample>,
    pub loads: BTreeMap<(OperatorId, u32), LoadSample>,
    /// Records and bytes read by all sources.
    pub source_records: u64,
    pub source_bytes: u64,
    pub store: StoreStats,
}

/// Counters of one operator instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OperatorSample {
    pub records_in: u64,
    pub records_out: u64,
    pub bytes_in: u64,
    pub late: u64,
    pub dead: u64,
    /// Milliseconds since the Unix epoch.
    pub watermark: Option<i64>,
}

/// Nanoseconds of one subtask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LoadSample {
    pub idle_ns: u64,
    pub blocked_ns: u64,
    pub aligning_ns: u64,
    /// Since the deployment.
    pub total_ns: u64,
}

/// A worker, as the coordinator sees it.
#[derive(Debug, Clone)]
pub(crate) struct WorkerHandle {
    orders: mpsc::UnboundedSender<Order>,
}

impl WorkerHandle {
    pub(crate) fn new(orders: mpsc::UnboundedSender<Order>) -> Self {
        Self { orders }
    }

    /// Tells the worker something that needs no answer.
    pub(crate) fn tell(&self, order: Order) {
        // A worker that is gone reports that itself; here there is nobody left to tell.
        let _ = self.orders.send(order);
    }

    pub(crate) async fn prepare(&self, order: PrepareOrder) -> Result<(), DeployFailure> {
        let (tx, rx) = oneshot::channel();
        self.tell(Order::Prepare(Box::new(order), tx));
        answered(rx).await
    }

    pub(crate) async fn start(&self, generation: Generation) -> Result<(), DeployFailure> {
        let (tx, rx) = oneshot::channel();
        self.tell(Order::Start(generation, tx));
        answered(rx).await
    }
}

async fn answered(rx: oneshot::Receiver<Result<(), DeployFailure>>) -> Result<(), DeployFailure> {
    rx.await.unwrap_or_else(|_| Err(DeployFailure::Failed("the worker is gone".to_owned())))
}
