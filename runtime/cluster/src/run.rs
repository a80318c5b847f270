//! Runs a job: refuses what cannot run before anything is written, then hands over to the coordinator.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use weir_protocol::JobId;
use weir_protocol::journal::StartRequest;

use crate::command::JobCommand;
use crate::coordinator::{Shell, make_graph};
use crate::fit;
use crate::metrics::Metrics;
use crate::options::RunOptions;
use crate::outcome::{JobError, JobOutcome};
use crate::pulse::Pulse;
use crate::random::random_id;
use crate::restore_from::{RestoreFromError, resolve_restore_from};
use crate::retry::{Backoff, chain};
use crate::status::JobStatus;

/// How long a start waits for the storage to say what `restoreFrom` names. Nothing is claimed by then.
const RESOLVE_LIMIT: Duration = Duration::from_secs(60);

/// Runs a job until it has settled, is cancelled, or another process takes over.
///
/// Must be called on a runtime with more than one thread, I/O and time. Dropping the future is like a crash: everything ends where
/// it is, and the next run goes on from the latest completed checkpoint.
///
/// # Errors
/// When the job cannot start (nothing was written then), or has failed for good (the journal says so).
pub async fn run_job(
    options: RunOptions,
    commands: mpsc::Receiver<JobCommand>,
    status: watch::Sender<Arc<JobStatus>>,
) -> Result<JobOutcome, JobError> {
    check_job(&options).await?;
    let request = resolve_request(&options).await.map_err(JobError::RestoreFrom)?;
    let metrics = Metrics::register(&options.metrics).map_err(JobError::Metrics)?;
    let pulse = Pulse::start(options.restless).map_err(JobError::Thread)?;
    Shell::new(options, request, metrics, status, pulse).run(commands).await
}

/// [`start_request`], again while the storage does not answer.
async fn resolve_request(options: &RunOptions) -> Result<StartRequest, RestoreFromError> {
    let (began, mut backoff) = (Instant::now(), Backoff::new());
    loop {
        match start_request(options).await {
            Err(error) if error.can_retry() && began.elapsed() < RESOLVE_LIMIT => {
                tracing::warn!(error = %chain(&error), "what to restore from is not known yet, asking again");
                tokio::time::sleep(backoff.next_wait()).await;
            }
            resolved => return resolved,
        }
    }
}

/// What is asked of the journal: who starts which job, and from what.
pub(crate) async fn start_request(options: &RunOptions) -> Result<StartRequest, RestoreFromError> {
    Ok(StartRequest {
        owner: options.owner.clone(),
        fresh_job_id: JobId(random_id()),
        revision: options.revision,
        hash: options.job.revision(),
        restore_from: resolve_restore_from(options).await?,
    })
}

/// Checks a job without running it: its graph, its connectors, and whether its storage can carry it. Claims nothing; writes
/// nothing but the probe's own objects, which it removes.
///
/// # Errors
/// The first thing that would keep the job from running, and the way out.
pub async fn check_job(options: &RunOptions) -> Result<(), JobError> {
    let graph = make_graph(&options.graph).await.map_err(JobError::Graph)?;
    fit::check_job(&graph, options.job.parallelism, options.job.max_parallelism)?;
    let checks = graph.nodes.iter().filter_map(|node| Some((node.id.clone(), node.check.clone()?)));
    for (operator, check) in checks {
        let checked = tokio::task::spawn_blocking(move || check()).await;
        let checked = checked.map_err(|panic| JobError::Graph(format!("the check of {operator} panicked: {panic}")))?;
        checked.map_err(|source| JobError::Connector { operator, source })?;
    }
    if options.probe {
        weir_storage::probe(&*options.objects).await.map_err(JobError::Storage)?;
    }
    Ok(())
}
