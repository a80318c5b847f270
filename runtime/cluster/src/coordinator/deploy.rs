//! One deployment: read what it starts from, check that the job fits it, restore, replay commits, run.
//!
//! The store is opened while commits are replayed; no subtask is put together before both are done, because a sink's writer may
//! rely on everything older being committed or gone. Storage that does not answer is waited for here, and not in the worker,
//! which has to hear of a cancellation.

use std::sync::Arc;

use weir_engine::graph::JobGraph;
use weir_engine::sink::SinkContext;
use weir_protocol::coordinator::{Deployment, Event};

use crate::commit::{CommitError, CommitLane, Committers, abort_unnamed};
use crate::fit;
use crate::io::Io;
use crate::message::{DeployFailure, PrepareOrder, WorkerHandle};
use crate::options::GraphFactory;
use crate::restore::{Restored, read_restored};
use crate::retry::{Backoff, chain};

/// Why a deployment did not come about.
#[derive(Debug)]
pub(super) enum DeployError {
    /// Trying again gives the same answer: the job fails for good.
    Fatal(String),
    /// The restart strategy decides.
    Failed(String),
}

impl From<DeployFailure> for DeployError {
    fn from(failure: DeployFailure) -> Self {
        match failure {
            DeployFailure::Refused(reason) => Self::Fatal(reason),
            DeployFailure::Storage(reason) | DeployFailure::Failed(reason) => Self::Failed(reason),
        }
    }
}

impl From<CommitError> for DeployError {
    fn from(error: CommitError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Makes a deployment; the answer is [`Event::Deployed`].
pub(super) async fn deploy(
    io: &Io,
    worker: &WorkerHandle,
    commits: &CommitLane,
    deployment: Deployment,
) -> Result<Event, DeployError> {
    let generation = deployment.generation;
    let job = &io.options.job;
    let graph = make_graph(&io.options.graph).await.map_err(DeployError::Fatal)?;
    let max = fit::check_job(&graph, job.parallelism, job.max_parallelism).map_err(|misfit| fatal(&misfit))?;
    let Restored { manifest, replay } = {
        let restored = read_restored(io, &deployment).await.map_err(|error| fatal(&error))?;
        if let Some(manifest) = &restored.manifest {
            fit::check_restore(&graph, max, manifest).map_err(|misfit| fatal(&misfit))?;
        }
        restored
    };
    let keep = Restored { manifest: manifest.clone(), replay: replay.clone() }.named_output();
    let committers = Committers::of(&graph);
    commits.install(committers.clone());
    let order =
        PrepareOrder { job_id: deployment.job_id.clone(), generation, restored: manifest.clone().map(Arc::new) };
    let replayed = async {
        for (checkpoint, handles) in replay {
            tracing::info!(%checkpoint, handles = handles.len(), "replaying commits");
            commits.replay(checkpoint, handles).await?;
        }
        Ok::<(), DeployError>(())
    };
    tokio::try_join!(prepare(io, worker, order), replayed)?;
    let context = SinkContext {
        job_id: deployment.job_id.to_string(),
        operator: String::new(),
        subtask: 0,
        parallelism: job.parallelism,
        generation: generation.0,
        restored_epoch: manifest.as_ref().map_or(0, |manifest| manifest.checkpoint.0),
    };
    abort_unnamed(committers, context, keep).await.map_err(DeployError::Failed)?;
    worker.start(generation).await?;
    let plan = fit::plan_of(&graph, job.parallelism, max);
    Ok(Event::Deployed { generation, plan, restored: manifest.map(Box::new) })
}

/// Has the state restored. An outage of the store is waited out; what was downloaded before it is not downloaded again.
async fn prepare(io: &Io, worker: &WorkerHandle, order: PrepareOrder) -> Result<(), DeployError> {
    let mut backoff = Backoff::new();
    loop {
        match worker.prepare(order.clone()).await {
            Err(DeployFailure::Storage(reason)) => {
                io.trouble.tell_why(&reason);
                tokio::time::sleep(backoff.next_wait()).await;
            }
            prepared => return prepared.map_err(DeployError::from),
        }
    }
}

/// Makes the graph off the coordinator's thread: it is user code and may look at files.
pub(crate) async fn make_graph(factory: &GraphFactory) -> Result<JobGraph, String> {
    let factory = Arc::clone(factory);
    let made = tokio::task::spawn_blocking(move || factory()).await;
    made.unwrap_or_else(|panic| Err(format!("making the job graph panicked: {panic}")))
}

fn fatal(error: &dyn std::error::Error) -> DeployError {
    DeployError::Fatal(chain(error))
}
