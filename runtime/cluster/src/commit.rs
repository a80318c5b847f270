//! Commits sinks' output, one checkpoint after the other, and removes at a restore what no restored handle names.
//!
//! There is one lane per process, so that a replay at a restore and a commit of the deployment before never overlap. A
//! transient failure is repeated until it works: the checkpoint exists, so its output has to become visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use weir_engine::graph::JobGraph;
use weir_engine::sink::{Handle, SinkCommitter, SinkContext};
use weir_engine::source::ConnectorError;
use weir_protocol::coordinator::Event;
use weir_protocol::{CheckpointId, Generation, OperatorId, SinkHandle};

use crate::random::random_unit;
use crate::retry::{Backoff, chain};

/// What commits the output of each transactional sink of a job graph.
#[derive(Clone, Default)]
pub(crate) struct Committers(BTreeMap<OperatorId, Arc<dyn SinkCommitter>>);

impl Committers {
    /// Makes the committers of a graph's sinks.
    pub(crate) fn of(graph: &JobGraph) -> Self {
        let committers = graph.nodes.iter().filter_map(|node| {
            let committer = node.committer.as_ref()?()?;
            Some((node.id.clone(), Arc::from(committer)))
        });
        Self(committers.collect())
    }

    fn commit(&self, handle: &SinkHandle) -> Result<(), ConnectorError> {
        match self.0.get(&handle.operator) {
            Some(committer) => committer.commit(&handle.payload),
            None => {
                let message = format!("sink {} has output to be committed, but is not transactional", handle.operator);
                Err(ConnectorError::permanent(message))
            }
        }
    }
}

/// Why output could not be committed or removed; repeating does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("output of checkpoint {checkpoint} in sink {operator} cannot be committed: {reason}")]
pub(crate) struct CommitError {
    checkpoint: CheckpointId,
    operator: OperatorId,
    reason: String,
}

enum Work {
    /// The committers of the deployment that follows.
    Install(Committers),
    /// Told to the coordinator when done.
    Commit(Generation, CheckpointId, Vec<SinkHandle>),
    /// Answered when done.
    Replay(CheckpointId, Vec<SinkHandle>, oneshot::Sender<Result<(), CommitError>>),
}

/// Where commits are queued. The queue is bounded by the coordinator: a checkpoint at a time.
#[derive(Clone)]
pub(crate) struct CommitLane(mpsc::UnboundedSender<Work>);

impl CommitLane {
    /// A lane, and the future that works it off; it ends when the lane is dropped.
    pub(crate) fn new(events: mpsc::UnboundedSender<Event>) -> (Self, impl Future<Output = ()> + Send) {
        let (tx, rx) = mpsc::unbounded_channel();
        (Self(tx), work(rx, events))
    }

    pub(crate) fn install(&self, committers: Committers) {
        self.push(Work::Install(committers));
    }

    pub(crate) fn commit(&self, generation: Generation, checkpoint: CheckpointId, handles: Vec<SinkHandle>) {
        self.push(Work::Commit(generation, checkpoint, handles));
    }

    pub(crate) async fn replay(&self, checkpoint: CheckpointId, handles: Vec<SinkHandle>) -> Result<(), CommitError> {
        let (tx, rx) = oneshot::channel();
        self.push(Work::Replay(checkpoint, handles, tx));
        // The lane outlives whoever waits for it: both end with the run.
        rx.await.unwrap_or(Ok(()))
    }

    fn push(&self, work: Work) {
        // Only a run that is being left has no lane any more.
        let _ = self.0.send(work);
    }
}

async fn work(mut queue: mpsc::UnboundedReceiver<Work>, events: mpsc::UnboundedSender<Event>) {
    let mut committers = Arc::new(Committers::default());
    while let Some(work) = queue.recv().await {
        match work {
            Work::Install(next) => committers = Arc::new(next),
            Work::Commit(generation, checkpoint, handles) => {
                let event = match commit_all(&committers, checkpoint, handles).await {
                    Ok(()) => Event::Committed(checkpoint),
                    Err(error) => Event::Failed { generation, reason: error.to_string(), random: random_unit() },
                };
                if events.send(event).is_err() {
                    return;
                }
            }
            Work::Replay(checkpoint, handles, reply) => {
                // Whoever deployed may have been cancelled meanwhile; what is committed is committed.
                let _ = reply.send(commit_all(&committers, checkpoint, handles).await);
            }
        }
    }
}

/// Commits handles in order, from the first one not known to be committed.
async fn commit_all(
    committers: &Arc<Committers>,
    checkpoint: CheckpointId,
    handles: Vec<SinkHandle>,
) -> Result<(), CommitError> {
    let handles: Arc<[SinkHandle]> = handles.into();
    let mut next = 0;
    let mut backoff = Backoff::new();
    while next < handles.len() {
        let (committers, shared) = (Arc::clone(committers), Arc::clone(&handles));
        let blocking = tokio::task::spawn_blocking(move || {
            for (index, handle) in shared.iter().enumerate().skip(next) {
                if let Err(error) = committers.commit(handle) {
                    return (index, Some(error));
                }
            }
            (shared.len(), None)
        });
        let (done, error) = blocking
            .await
            .unwrap_or_else(|panic| (next, Some(ConnectorError::permanent(format!("the commit panicked: {panic}")))));
        if done > next {
            backoff.reset();
        }
        next = done;
        match error {
            None => {}
            Some(error) if error.transient => {
                tracing::warn!(%checkpoint, error = %chain(&error), "output is not committed yet, trying again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            Some(error) => {
                let operator = handles.get(next).map(|handle| handle.operator.clone()).unwrap_or_default();
                return Err(CommitError { checkpoint, operator, reason: chain(&error) });
            }
        }
    }
    Ok(())
}

/// At a restore: removes hidden output that no handle in `keep` names.
///
/// # Errors
/// The first sink that refuses, and why.
pub(crate) async fn abort_unnamed(
    committers: Committers,
    context: SinkContext,
    keep: Vec<SinkHandle>,
) -> Result<(), String> {
    let blocking = tokio::task::spawn_blocking(move || {
        for (operator, committer) in &committers.0 {
            let context = SinkContext { operator: operator.to_string(), ..context.clone() };
            let named = keep.iter().filter(|handle| handle.operator == *operator);
            let named: Vec<Handle> = named.map(|handle| handle.payload.clone()).collect();
            committer
                .abort_except(&context, &named)
                .map_err(|error| format!("sink {operator} cannot remove uncommitted output: {}", chain(&error)))?;
        }
        Ok(())
    });
    blocking.await.unwrap_or_else(|panic| Err(format!("removing uncommitted output panicked: {panic}")))
}

#[cfg(test)]
mod tests;
