//! One run of one job: everything it is given, and again while the storage does not answer.
//!
//! An outage of the storage at the start is waited out like one that comes later: the process stays, and says so in its
//! status. What the user has to change ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use weir_api::ResolvedJob;
use weir_cluster::status::{JobStatus, StorageStatus};
use weir_cluster::{
    GraphFactory, JobCommand, JobError, JobOutcome, PreviewError, ProcessMemory, Remedy, RunOptions, preview, run_job,
};
use weir_protocol::Millis;
use weir_protocol::journal::{Owner, RevisionRule, StartRefusal};
use weir_storage::ProbeError;

use crate::cli::{Refusal, chain};
use crate::jobs::Jobs;
use crate::manifest::place_of;
use crate::memory::OwnMemory;
use crate::run;

/// Requests that wait for the job's attention.
const COMMANDS: usize = 16;
/// Wait after the first start that the storage did not answer; doubles up to [`MAX_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Longest wait between two starts.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Makes runs.
#[derive(Clone)]
pub(crate) struct Starter {
    pub jobs: Jobs,
    /// Where the jobs' local files are.
    pub work_dir: PathBuf,
    /// The pod, by which its own journal entries are known; empty outside Kubernetes.
    pub pod_uid: String,
}

/// A run as it begins.
pub(crate) struct Begun {
    pub commands: mpsc::Sender<JobCommand>,
    pub status: watch::Receiver<Arc<JobStatus>>,
    pub metrics: Registry,
    pub waits: Option<StorageStatus>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The journal says that the job is over.
    Settled,
    /// Left on request.
    Cancelled,
    /// Another process reigns; `for_good` if this pod may not try again.
    Fenced { why: String, for_good: bool },
    /// The user must change something.
    Refused(String),
    /// It did not work, and may next time.
    Failed(String),
}

/// Why a run did not come about.
enum StartError {
    Options(Refusal),
    Preview(PreviewError),
    Run(JobError),
}

impl Starter {
    /// What a run of `job` is given.
    ///
    /// # Errors
    /// When the place it names can never be opened.
    pub(crate) async fn options(&self, job: &ResolvedJob) -> Result<RunOptions, Refusal> {
        let place = place_of(job).map_err(Refusal::bad_input)?;
        let (jobs, graph, args) = (self.jobs.clone(), job.job.clone(), job.args.clone());
        let factory: GraphFactory = Arc::new(move || jobs.build(&graph, &args).map_err(|error| chain(&error)));
        let options = run::options(job.clone(), factory, &place, &self.work_dir).await?;
        let owner = Owner(job.owner.clone());
        let (revision, process) = (RevisionRule::Numbered(job.revision_number), self.pod_uid.clone());
        Ok(RunOptions { owner, revision, process, ..options })
    }

    /// Runs `job` until it ends. `show` is told of every attempt.
    pub(crate) async fn run(self, job: Arc<ResolvedJob>, show: impl Fn(Begun)) -> Ended {
        let flow = match run::threads("weir-flow", job.slots as usize) {
            Ok(runtime) => FlowThreads(Some(runtime)),
            Err(refusal) => return Ended::Failed(refusal.to_string()),
        };
        let (mut waits, mut wait) = (None, FIRST_WAIT);
        loop {
            let (commands, taken) = mpsc::channel(COMMANDS);
            let (shown, status) = watch::channel(Arc::new(JobStatus::default()));
            let metrics = run::registry();
            show(Begun { commands, status, metrics: metrics.clone(), waits: waits.clone() });
            let why = match self.attempt(&job, &flow, metrics, taken, shown).await {
                Ok(outcome) => return of_outcome(outcome, &self.pod_uid),
                Err(error) => match of_error(&error) {
                    Some(ended) => return ended,
                    None => text(&error),
                },
            };
            tracing::warn!(error = why, "the job cannot start yet, trying again");
            waits = Some(note(waits, why));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    async fn attempt(
        &self,
        job: &ResolvedJob,
        flow: &FlowThreads,
        metrics: Registry,
        commands: mpsc::Receiver<JobCommand>,
        status: watch::Sender<Arc<JobStatus>>,
    ) -> Result<JobOutcome, StartError> {
        let options = self.options(job).await.map_err(StartError::Options)?;
        let flow = flow.0.as_ref().map(|runtime| runtime.handle().clone());
        let memory: Arc<dyn ProcessMemory> = Arc::new(OwnMemory);
        let options = RunOptions { metrics, flow, memory: Some(memory), ..options };
        // What would be refused after the claim is refused before it, and leaves no trace in the journal.
        preview(&options).await.map_err(StartError::Preview)?;
        run_job(options, commands, status).await.map_err(StartError::Run)
    }
}

/// Threads for subtasks. May be dropped anywhere; what blocks in them is left behind.
struct FlowThreads(Option<Runtime>);

impl Drop for FlowThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn of_outcome(outcome: JobOutcome, process: &str) -> Ended {
    match outcome {
        JobOutcome::Stopped { .. } | JobOutcome::Finished { .. } | JobOutcome::Settled(_) => Ended::Settled,
        JobOutcome::Cancelled => Ended::Cancelled,
        JobOutcome::Fenced { by } => {
            // A call of the container before this one, or of an earlier run, came late: nobody else has the job.
            let own = !process.is_empty() && by.attempt.as_ref().is_some_and(|attempt| attempt.is_of(process));
            let who = if own { "an earlier process of this pod" } else { "another process" };
            Ended::Fenced { why: format!("{who} has taken the job over: {by}"), for_good: !own }
        }
    }
}

/// How the process ends because of `error`; `None` if the storage may answer later.
fn of_error(error: &StartError) -> Option<Ended> {
    let refused = || Some(Ended::Refused(text(error)));
    let failed = || Some(Ended::Failed(text(error)));
    let by = |remedy| match remedy {
        Remedy::Wait => None,
        Remedy::Restart => failed(),
        Remedy::Change => refused(),
    };
    match error {
        StartError::Options(_) => refused(),
        StartError::Preview(PreviewError::Refused(StartRefusal::Superseded { .. }))
        | StartError::Run(JobError::Refused(StartRefusal::Superseded { .. })) => {
            Some(Ended::Fenced { why: text(error), for_good: false })
        }
        StartError::Preview(error) => by(error.remedy()),
        StartError::Run(error) => match error {
            JobError::Storage(
                ProbeError::Unreachable { .. }
                | ProbeError::Denied { .. }
                | ProbeError::NoBucket { .. }
                | ProbeError::ReadOnly { .. }
                | ProbeError::Full { .. }
                | ProbeError::Other { .. },
            ) => None,
            JobError::Storage(ProbeError::NoConditionalCreate { .. } | ProbeError::Inconsistent { .. }) => refused(),
            JobError::RestoreFrom(error) => by(error.remedy()),
            JobError::Journal(error) => by(error.remedy()),
            JobError::Connector { source, .. } if source.transient => None,
            JobError::Graph(_) | JobError::Connector { .. } | JobError::Misfit(_) | JobError::Refused(_) => refused(),
            // The journal says so: whoever starts next serves the status.
            JobError::Failed { .. } => Some(Ended::Settled),
            JobError::Unreadable { .. } | JobError::Thread(_) | JobError::Metrics(_) => failed(),
        },
    }
}

fn text(error: &StartError) -> String {
    match error {
        StartError::Options(refusal) => refusal.to_string(),
        StartError::Preview(error) => chain(error),
        StartError::Run(error) => chain(error),
    }
}

fn note(before: Option<StorageStatus>, message: String) -> StorageStatus {
    let before = before.unwrap_or_default();
    let now = Millis(Timestamp::now().as_millisecond());
    StorageStatus { trouble_since: before.trouble_since.or(Some(now)), message, failures: before.failures + 1 }
}

#[cfg(test)]
mod tests {
    use weir_cluster::journal::JournalError;
    use weir_engine::source::ConnectorError;
    use weir_protocol::CheckpointId;
    use weir_protocol::journal::{AttemptId, FencedBy};
    use weir_storage::{Operation, Retry, StoreError, StoreErrorKind};

    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let connector = |source| StartError::Run(JobError::Connector { operator: "in".into(), source });
        assert_eq!(of_error(&connector(ConnectorError::transient("later"))), None);
        let refused = of_error(&connector(ConnectorError::permanent("no such folder")));
        assert_eq!(refused, Some(Ended::Refused("operator in: no such folder".to_owned())));
        let superseded = StartError::Run(JobError::Refused(StartRefusal::Superseded { found: 4, requested: 2 }));
        assert!(matches!(of_error(&superseded), Some(Ended::Fenced { for_good: false, .. })));
        let failed = StartError::Run(JobError::Failed { reason: "x".to_owned() });
        assert_eq!(of_error(&failed), Some(Ended::Settled));
    }

    #[test]
    fn what_the_store_says_is_waited_for_tried_anew_or_the_user_s_to_change() {
        let journal = |kind| {
            let error = StoreError::new(Operation::List, "journal/", "s3://weir", kind, "no");
            StartError::Preview(PreviewError::Journal(JournalError::Store(error)))
        };
        for kind in [StoreErrorKind::Denied, StoreErrorKind::NoBucket, StoreErrorKind::Unreachable] {
            assert_eq!(of_error(&journal(kind)), None, "{kind:?} may be mended outside");
        }
        let manifest = |remedy| {
            let (checkpoint, key, reason) = (CheckpointId(7), "m".to_owned(), "why".to_owned());
            StartError::Preview(PreviewError::Manifest { checkpoint, key, reason, retry: Retry::No, remedy })
        };
        assert_eq!(of_error(&manifest(Remedy::Wait)), None);
        let retired = of_error(&manifest(Remedy::Restart));
        assert!(matches!(retired, Some(Ended::Failed(_))), "{retired:?}");
        let damaged = of_error(&manifest(Remedy::Change));
        assert!(matches!(damaged, Some(Ended::Refused(_))), "{damaged:?}");
    }

    #[test]
    fn a_pod_is_fenced_for_good_by_others_and_not_by_its_own_dead_container() {
        let fenced = |attempt: &str, process: &str| {
            let attempt = Some(AttemptId(attempt.to_owned()));
            let by = FencedBy { sequence: None, generation: None, owner: None, attempt };
            match of_outcome(JobOutcome::Fenced { by }, process) {
                Ended::Fenced { for_good, .. } => for_good,
                other => panic!("{other:?}"),
            }
        };
        assert!(!fenced("pod-1.c0ffee-1", "pod-1"));
        assert!(fenced("pod-2.c0ffee-1", "pod-1"));
        assert!(fenced("c0ffee-1", "pod-1") && fenced("c0ffee-1", ""));
    }
}
