//! A running deployment: all subtasks of a job in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use weir_protocol::OperatorId;
use weir_state::WorkerStore;

use crate::build::{BuiltTask, MetricsTable, TaskBody};
use crate::element::{AlignmentMode, Barrier};
use crate::error::{FailureKind, TaskError};
use crate::task::{TaskControl, TaskEnv, TaskEvent, TaskLoad, run_operator_task};
use crate::time::Clock;

/// Where a deployment's subtasks get their surroundings from.
pub struct DeployEnv {
    /// Reports of all subtasks.
    pub events: mpsc::UnboundedSender<TaskEvent>,
    /// Processing time.
    pub clock: Arc<dyn Clock>,
    /// Keyed state.
    pub store: Arc<WorkerStore>,
    /// Barrier alignment.
    pub alignment: AlignmentMode,
    /// The checkpoint that the deployment starts from, 0 if none.
    pub restored: weir_protocol::CheckpointId,
    /// Where subtasks run. What they leave to others (preparing output, reports) runs on the runtime that starts them.
    pub flow: tokio::runtime::Handle,
}

/// All subtasks of a job, running.
pub struct Deployment {
    sources: Vec<mpsc::UnboundedSender<TaskControl>>,
    others: Vec<mpsc::UnboundedSender<TaskControl>>,
    supervisor: JoinHandle<()>,
    aborts: Vec<tokio::task::AbortHandle>,
    subtasks: usize,
    /// Counters of every operator instance.
    pub metrics: MetricsTable,
    /// Where each subtask's time goes, by head of chain and subtask.
    pub loads: BTreeMap<(OperatorId, u32), Arc<TaskLoad>>,
}

impl Deployment {
    /// Starts all subtasks on `env.flow`, and what works behind them on the current tokio runtime.
    pub fn start(tasks: Vec<BuiltTask>, metrics: MetricsTable, env: &DeployEnv) -> Self {
        let (mut sources, mut others, mut aborts, mut loads) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        let subtasks = tasks.len();
        let mut set: JoinSet<((OperatorId, u32), Result<(), TaskError>)> = JoinSet::new();
        let mut lanes = JoinSet::new();
        let mut names = BTreeMap::new();
        for BuiltTask { operator, subtask, watermark, body } in tasks {
            let (tx, rx) = mpsc::unbounded_channel();
            let (task_env, lane) = TaskEnv::new(
                operator.clone(),
                subtask,
                rx,
                env.events.clone(),
                env.clock.clone(),
                env.store.clone(),
                env.alignment,
                env.restored,
                watermark,
            );
            loads.insert((operator.clone(), subtask), task_env.load.clone());
            lanes.spawn(lane);
            let name = (operator, subtask);
            let abort = match body {
                TaskBody::Source(source) => {
                    sources.push(tx);
                    let name = name.clone();
                    set.spawn_on(async move { (name, source.run(task_env).await) }, &env.flow)
                }
                TaskBody::Operator(head) => {
                    others.push(tx);
                    let name = name.clone();
                    set.spawn_on(async move { (name, run_operator_task(head, task_env).await) }, &env.flow)
                }
            };
            names.insert(abort.id(), name);
            aborts.push(abort);
        }
        let supervisor = tokio::spawn(supervise(set, lanes, names, env.events.clone()));
        Self { sources, others, supervisor, aborts, subtasks, metrics, loads }
    }

    /// Number of subtasks; each acknowledges every checkpoint.
    pub fn subtasks(&self) -> usize {
        self.subtasks
    }

    /// Number of source subtasks; each reports the end of its bounded input once.
    pub fn source_subtasks(&self) -> usize {
        self.sources.len()
    }

    /// Lets all sources emit a barrier.
    pub fn inject(&self, barrier: Barrier) {
        for source in &self.sources {
            let _ = source.send(TaskControl::Barrier(barrier));
        }
    }

    /// Tells all subtasks that a checkpoint is in the journal.
    pub fn completed(&self, checkpoint: weir_protocol::CheckpointId) {
        for task in self.sources.iter().chain(&self.others) {
            let _ = task.send(TaskControl::Completed(checkpoint));
        }
    }

    /// Ends all subtasks and waits until none of them runs any more.
    pub async fn cancel(self) {
        let Self { sources, others, supervisor, aborts, subtasks: _, metrics: _, loads: _ } = self;
        drop((sources, others));
        for abort in aborts {
            abort.abort();
        }
        let _ = supervisor.await;
    }
}

/// Waits for the subtasks and reports those that failed or panicked.
async fn supervise(
    mut set: JoinSet<((OperatorId, u32), Result<(), TaskError>)>,
    mut lanes: JoinSet<()>,
    names: BTreeMap<tokio::task::Id, (OperatorId, u32)>,
    events: mpsc::UnboundedSender<TaskEvent>,
) {
    while let Some(ended) = set.join_next().await {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((_, Err(error))) => {
                let _ = events.send(TaskEvent::Failed(error));
            }
            Err(join) if join.is_panic() => {
                let (operator, subtask) = names.get(&join.id()).cloned().unwrap_or_default();
                let message = format!("panicked: {}", panic_text(&*join.into_panic()));
                let failure = TaskError {
                    operator,
                    subtask,
                    kind: FailureKind::UserCode,
                    message,
                    record: None,
                    position: None,
                    source: None,
                };
                let _ = events.send(TaskEvent::Failed(failure));
            }
            Err(_) => {}
        }
    }
    lanes.shutdown().await;
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no message)")
}
