//! The control API's calls. Looks at the [`Face`], hands requests to the run or to the supervisor, and waits.
//!
//! Who may call was settled in the handshake. What is refused here is what came too late: a call that carries an older
//! revision than the one the process was told to run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use weir_api::ResolvedJob;
use weir_cluster::{CheckpointSummary, JobCommand, JobState, PreviewError, Reply, SavepointSummary, preview};
use weir_control::{Control, Refusal, v1};
use weir_protocol::layout;

use super::answer::{self, About};
use super::face::Face;
use super::local;
use super::once::Once;
use super::start::Starter;
use crate::cli::chain;

/// What only the supervisor can do.
#[derive(Debug)]
pub(crate) enum Ask {
    /// End the process.
    Cancel,
    /// Run another job.
    Redeploy(Redeploy),
}

/// A job to run instead.
#[derive(Debug)]
pub(crate) struct Redeploy {
    pub job: Arc<ResolvedJob>,
    pub timeout: Option<Duration>,
    pub reply: oneshot::Sender<Result<v1::RedeployResponse, Refusal>>,
}

/// The control API of this process.
pub(crate) struct Api {
    pub faces: watch::Receiver<Arc<Face>>,
    pub asks: mpsc::Sender<Ask>,
    pub starter: Starter,
    pub about: About,
    pub checkpoints: Once<v1::TriggerCheckpointResponse>,
    pub savepoints: Once<v1::TriggerSavepointResponse>,
}

#[async_trait]
impl Control for Api {
    async fn status(&self) -> Result<v1::StatusResponse, Refusal> {
        let face = self.face();
        let about = About {
            checkpoint_nonce: self.checkpoints.done(),
            savepoint_nonce: self.savepoints.done(),
            ..self.about.clone()
        };
        Ok(answer::status(&face.status(), &face.told, &face.runs, about))
    }

    async fn trigger_checkpoint(
        &self,
        request: v1::TriggerCheckpointRequest,
    ) -> Result<v1::TriggerCheckpointResponse, Refusal> {
        let face = self.face_for(request.revision)?;
        let taken = async move {
            let summary: CheckpointSummary = ask_run(&face, |reply| JobCommand::Checkpoint { reply }).await?;
            Ok(v1::TriggerCheckpointResponse { checkpoint: Some(answer::checkpoint(&summary)) })
        };
        self.checkpoints.ask(request.nonce, taken).await
    }

    async fn trigger_savepoint(
        &self,
        request: v1::TriggerSavepointRequest,
    ) -> Result<v1::TriggerSavepointResponse, Refusal> {
        let face = self.face_for(request.revision)?;
        check_name(&request.name)?;
        let name = request.name;
        let taken = async move {
            let SavepointSummary { name, uri, checkpoint } =
                ask_run(&face, |reply| JobCommand::Savepoint { name, reply }).await?;
            Ok(v1::TriggerSavepointResponse { name, uri, checkpoint: checkpoint.0 })
        };
        self.savepoints.ask(request.nonce, taken).await
    }

    async fn stop(&self, request: v1::StopRequest) -> Result<v1::StopResponse, Refusal> {
        let face = self.face_for(request.revision)?;
        if face.is_redeploying() {
            return Err(Refusal::Unavailable("another revision is being deployed: ask again".to_owned()));
        }
        let savepoint = (!request.savepoint.is_empty()).then_some(request.savepoint);
        savepoint.as_deref().map_or(Ok(()), check_name)?;
        if let Some(settled) = settled(&face) {
            return self.check_savepoint(&face, savepoint.as_deref()).await.map(|()| settled);
        }
        let (timeout, wanted) = (limit(request.timeout_ms), savepoint.clone());
        match ask_run(&face, |reply| JobCommand::Stop { savepoint, timeout, reply }).await {
            Ok(stopped) => Ok(v1::StopResponse {
                state: v1::JobState::Stopped.into(),
                checkpoint: stopped.checkpoint.map(|id| id.0),
                with_final_checkpoint: stopped.with_final_checkpoint,
            }),
            // It may have got to an end of its own meanwhile.
            Err(refused) => {
                let settled = settled(&face).ok_or(refused)?;
                self.check_savepoint(&face, wanted.as_deref()).await.map(|()| settled)
            }
        }
    }

    async fn cancel(&self, request: v1::CancelRequest) -> Result<v1::CancelResponse, Refusal> {
        self.face_for(request.revision)?;
        self.ask(Ask::Cancel).await?;
        Ok(v1::CancelResponse {})
    }

    async fn redeploy(&self, request: v1::RedeployRequest) -> Result<v1::RedeployResponse, Refusal> {
        let job = local::parse(&request.job, "the given job").map_err(|error| Refusal::Invalid(chain(&error)))?;
        let face = self.face_for(job.revision_number)?;
        if job.revision_number == face.told.revision_number && job.revision() != face.told.revision() {
            return Err(Refusal::Precondition(format!(
                "another job runs as revision {} already: give this one a higher number",
                job.revision_number
            )));
        }
        check_fits_process(&face.told, &job)?;
        if job.revision_number > face.told.revision_number {
            self.check_can_run(&job).await?;
        }
        let (reply, answered) = oneshot::channel();
        let redeploy = Redeploy { job: Arc::new(job), timeout: limit(request.timeout_ms), reply };
        self.ask(Ask::Redeploy(redeploy)).await?;
        answered.await.unwrap_or_else(|_| Err(Refusal::Unavailable("the process is ending".to_owned())))
    }
}

impl Api {
    fn face(&self) -> Arc<Face> {
        self.faces.borrow().clone()
    }

    /// What runs, unless the call is for an older revision.
    fn face_for(&self, revision: u64) -> Result<Arc<Face>, Refusal> {
        let face = self.face();
        let told = face.told.revision_number;
        if revision != 0 && revision < told {
            return Err(Refusal::Precondition(format!(
                "this process runs revision {told}, the call is for revision {revision}"
            )));
        }
        Ok(face)
    }

    async fn ask(&self, ask: Ask) -> Result<(), Refusal> {
        self.asks.send(ask).await.map_err(|_| Refusal::Unavailable("the process is ending".to_owned()))
    }

    /// A settled job takes no savepoint any more: one that is asked for must be there.
    async fn check_savepoint(&self, face: &Face, savepoint: Option<&str>) -> Result<(), Refusal> {
        let Some(name) = savepoint else { return Ok(()) };
        let options = self.starter.options(&face.told).await;
        let options = options.map_err(|refusal| Refusal::Unavailable(refusal.to_string()))?;
        match options.objects.get(&layout::savepoint_manifest_key(name)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(Refusal::Precondition(format!(
                "the job is {} already, and there is no savepoint {name}: start it again to take one",
                face.status().state.name()
            ))),
            Err(error) => Err(Refusal::Unavailable(chain(&error))),
        }
    }

    /// What would be refused after the job that runs is stopped, is refused before.
    async fn check_can_run(&self, job: &ResolvedJob) -> Result<(), Refusal> {
        let options = self.starter.options(job).await.map_err(|refusal| Refusal::Invalid(refusal.to_string()))?;
        match preview(&options).await {
            Ok(_) => Ok(()),
            // The deployment waits for the storage as any start does.
            Err(error) if error.can_retry() => Ok(()),
            Err(error @ PreviewError::Manifest { .. }) => Err(Refusal::Failed(chain(&error))),
            Err(error) => Err(Refusal::Invalid(chain(&error))),
        }
    }
}

/// Fields that are the process's own: another value takes another process.
fn check_fits_process(told: &ResolvedJob, job: &ResolvedJob) -> Result<(), Refusal> {
    let fields = [
        ("name", told.name != job.name),
        ("namespace", told.namespace != job.namespace),
        ("owner", told.owner != job.owner),
        ("storage", told.storage != job.storage),
        ("image", told.image != job.image),
        ("workers", told.workers != job.workers),
        ("memoryBytes", told.memory_bytes != job.memory_bytes),
    ];
    match fields.into_iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((field, _)) => {
            Err(Refusal::Invalid(format!("{field} differs from what this process was started with: start another one")))
        }
    }
}

/// The answer to a stop of a job that has settled.
fn settled(face: &Face) -> Option<v1::StopResponse> {
    let status = face.status();
    let state = match status.state {
        JobState::Stopped => v1::JobState::Stopped,
        JobState::Finished => v1::JobState::Finished,
        JobState::Failed { .. } => v1::JobState::Failed,
        JobState::Starting
        | JobState::Deploying
        | JobState::Running
        | JobState::Ending
        | JobState::Restarting { .. }
        | JobState::Left { .. } => return None,
    };
    let newest = status.checkpoints.first();
    Some(v1::StopResponse {
        state: state.into(),
        checkpoint: newest.map(|checkpoint| checkpoint.id.0),
        with_final_checkpoint: newest.is_some_and(|newest| newest.kind == weir_protocol::ManifestKind::Final),
    })
}

fn limit(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let form = &weir_api::form::SAVEPOINT;
    let refused = |hint| Refusal::Invalid(format!("found savepoint name {name:?}; allowed: {}; {hint}", form.allowed));
    form.check(name).map_err(refused)
}

/// Asks the run and waits for its answer for as long as it takes.
async fn ask_run<T>(face: &Face, command: impl FnOnce(Reply<T>) -> JobCommand) -> Result<T, Refusal> {
    let (reply, answered) = oneshot::channel();
    let ended = || {
        let state = face.status().state;
        match state {
            JobState::Stopped | JobState::Finished | JobState::Failed { .. } | JobState::Left { .. } => {
                Refusal::Precondition(format!("the job is {}", state.name()))
            }
            JobState::Starting
            | JobState::Deploying
            | JobState::Running
            | JobState::Ending
            | JobState::Restarting { .. } => Refusal::Unavailable("the job is being started: ask again".to_owned()),
        }
    };
    face.commands.send(command(reply)).await.map_err(|_| ended())?;
    answered.await.map_err(|_| ended())?.map_err(Refusal::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::tests::job;

    #[test]
    fn only_what_a_process_can_change_is_redeployed() {
        let told = job();
        let slots = ResolvedJob { slots: 2, parallelism: 2, cpu_millis: 2_000, revision_number: 9, ..job() };
        assert_eq!(check_fits_process(&told, &slots), Ok(()));
        let memory = ResolvedJob { memory_bytes: 1 << 20, ..job() };
        let refused = check_fits_process(&told, &memory).unwrap_err();
        assert_eq!(
            refused,
            Refusal::Invalid(
                "memoryBytes differs from what this process was started with: start another one".to_owned()
            )
        );
    }
}
