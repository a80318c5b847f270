//! `weir worker`: what a runtime pod runs. Coordinator and worker of one job, its control API, metrics and probes.
//!
//! The process outlives what it runs. A failing task, an outage of the storage, a job that has stopped or finished: none of
//! these ends it, because a process that answers says more than one that is restarted. It ends when it is asked to, when
//! another process has taken the job over, and when nothing but a change by the user could make the job run; the exit
//! code and the termination message say which.
//!
//! `/livez` and `/readyz` say that the process answers, and nothing about storage or job.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use weir_cluster::{JobState, JobStatus};
use weir_control::termination::LastWords;
use weir_control::{ServerIdentity, serve};

use crate::cli::{Exit, Refusal};
use crate::jobs::Jobs;
use crate::run::{self, Address, Console, LogFormat, Shown, Signals};

mod answer;
mod control;
mod face;
pub(crate) mod local;
mod once;
pub(crate) mod start;
mod supervisor;

use answer::About;
use control::Api;
use face::Face;
use local::LocalDir;
use start::Starter;
use supervisor::{Leaving, Supervisor};

/// Threads for the coordinator, the control API and everything else behind the stream: a call that blocks one of them does not
/// keep the other from answering.
const CONTROL_THREADS: usize = 2;
/// How long blocking work may hold up the end of the process.
const SHUTDOWN: Duration = Duration::from_millis(500);
/// Requests that wait for the supervisor.
const ASKS: usize = 16;
/// The checkpoint before leaving may take this part of the grace period.
const PARTING_SHARE: u32 = 2;
/// How long a run may take to end once it was told to, at most.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// And which part of the grace period, so that the last words are written before it is over.
const LEAVE_SHARE: u32 = 4;
/// Where Kubernetes says which pod this is.
const POD_NAME: &str = "POD_NAME";
const POD_UID: &str = "POD_UID";

/// How a worker is run.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerFlags {
    /// The resolved job, as JSON
    #[arg(long, value_name = "FILE")]
    pub job: PathBuf,
    /// Directory with tls.crt, tls.key and ca.crt: the job's identity
    #[arg(long, value_name = "DIR")]
    pub tls: PathBuf,
    /// Where the control API is served
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("0.0.0.0:{}", weir_control::PORT))]
    pub control_address: String,
    /// Where /metrics, /livez and /readyz are served; off for nowhere
    #[arg(long, value_name = "HOST:PORT", default_value_t = format!("0.0.0.0:{}", weir_control::HTTP_PORT))]
    pub http_address: String,
    /// Directory for local files, a cache of the storage
    #[arg(long, value_name = "DIR", default_value = "/var/lib/weir")]
    pub local_dir: PathBuf,
    /// Where the process says how it ended, as JSON
    #[arg(long, value_name = "FILE")]
    pub termination_log: Option<PathBuf>,
    /// Time from SIGTERM to SIGKILL; a checkpoint is taken within half of it
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub grace: weir_api::Duration,
    /// Form of the log on standard error; RUST_LOG says what is logged
    #[arg(long, value_enum, default_value_t)]
    pub log: LogFormat,
}

/// Runs the worker of `flags`.
pub(crate) fn run(flags: &WorkerFlags, jobs: Jobs) -> Result<Exit, Refusal> {
    let (ended, checkpoint) = match serve_job(flags, jobs) {
        Ok(ended) => ended,
        Err(refusal) => (Err(refusal), None),
    };
    if let Some(file) = &flags.termination_log
        && let Err(error) = last_words(&ended, checkpoint).write(file)
    {
        tracing::warn!(%error, file = %file.display(), "the termination message cannot be written");
    }
    ended.map(|leaving| exit_of(&leaving))
}

type Last = (Result<Leaving, Refusal>, Option<u64>);

fn serve_job(flags: &WorkerFlags, jobs: Jobs) -> Result<Last, Refusal> {
    let console = Console::new();
    run::init_log(flags.log, &console);
    let given = local::read(&flags.job).map_err(Refusal::bad_input)?;
    let identity = ServerIdentity::from_directory(&flags.tls).map_err(Refusal::bad_input)?;
    let http_address: Address = flags.http_address.parse().map_err(|why: String| Refusal::bad_input(why))?;
    let _lock = run::take_work_dir(&flags.local_dir).map_err(Refusal::failed)?;
    let pod = |name: &str| std::env::var(name).unwrap_or_default();
    let local = LocalDir::new(&flags.local_dir, &pod(POD_UID));
    if local.is_fenced() {
        let why = "another process has taken the job over from this pod; only another pod may take it back";
        return Ok((Ok(Leaving::Fenced(why.to_owned())), None));
    }
    let job = Arc::new(local.newest(given));
    let about = About { pod: pod(POD_NAME), pod_uid: pod(POD_UID), ..About::default() };
    let runtime = run::threads("weir", CONTROL_THREADS)?;
    let ended = runtime.block_on(async {
        let signals = Signals::new().map_err(Refusal::failed)?;
        let (faces, shown) = watch::channel(Arc::new(supervisor::first_face(&job)));
        let (asked, asks) = mpsc::channel(ASKS);
        let starter = Starter { jobs, work_dir: flags.local_dir.clone(), pod_uid: pod(POD_UID) };
        let served = Pages(shown.clone());
        let http = run::serve_http(&http_address, Arc::new(served)).await.map_err(Refusal::failed)?;
        let listener = TcpListener::bind(&flags.control_address).await;
        let listener = listener.map_err(|source| bind_error(&flags.control_address, source))?;
        let api = Api {
            faces: shown.clone(),
            asks: asked,
            starter: starter.clone(),
            about,
            checkpoints: once::Once::default(),
            savepoints: once::Once::default(),
        };
        let control = serve(listener, &identity, Arc::new(api)).map_err(Refusal::bad_input)?;
        let at = http.as_ref().map_or_else(|| "off".to_owned(), |server| server.address.to_string());
        tracing::info!(control = %control.address, http = at, pod = pod(POD_NAME), "serving");
        let patience = flags.grace.as_std() / PARTING_SHARE;
        let leave_limit = LEAVE_LIMIT.min(flags.grace.as_std() / LEAVE_SHARE);
        let supervisor = Supervisor { starter, local, faces: Arc::new(faces), asks, signals, patience, leave_limit };
        let leaving = supervisor.supervise(job).await;
        let checkpoint = shown.borrow().status().checkpoints.first().map(|newest| newest.id.0);
        control.shutdown().await;
        Ok::<_, Refusal>((Ok(leaving), checkpoint))
    });
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}

/// The address cannot be served at. Another process may be leaving it: trying again may help.
fn bind_error(address: &str, source: std::io::Error) -> Refusal {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot serve the control API at {address}")]
    struct BindError {
        address: String,
        #[source]
        source: std::io::Error,
    }
    Refusal::failed(BindError { address: address.to_owned(), source })
}

fn exit_of(leaving: &Leaving) -> Exit {
    let (exit, why) = match leaving {
        Leaving::Terminated(what) => (Exit::Done, format!("asked to go: {what}")),
        Leaving::Cancelled => (Exit::Done, "cancelled".to_owned()),
        Leaving::Fenced(why) => (Exit::Fenced, why.clone()),
        Leaving::Refused(why) => (Exit::BadInput, why.clone()),
        Leaving::Failed(why) => (Exit::Failed, why.clone()),
    };
    match exit {
        Exit::Done => tracing::info!("{why}"),
        Exit::Failed | Exit::BadInput | Exit::Fenced | Exit::Signal(_) => tracing::error!("{why}"),
    }
    exit
}

fn last_words(ended: &Result<Leaving, Refusal>, checkpoint: Option<u64>) -> LastWords {
    let (code, kind, message) = match ended {
        Ok(Leaving::Terminated(what)) => (Exit::Done, "terminated", what.clone()),
        Ok(Leaving::Cancelled) => (Exit::Done, "cancelled", "left at once, on request".to_owned()),
        Ok(Leaving::Fenced(why)) => (Exit::Fenced, "fenced", why.clone()),
        Ok(Leaving::Refused(why)) => (Exit::BadInput, "refused", why.clone()),
        Ok(Leaving::Failed(why)) => (Exit::Failed, "failed", why.clone()),
        Err(refusal) => {
            let kind = if refusal.exit() == Exit::BadInput { "refused" } else { "failed" };
            (refusal.exit(), kind, refusal.to_string())
        }
    };
    LastWords { code: code.code(), kind: kind.to_owned(), message, checkpoint }
}

/// What is served over HTTP: always of the run that is under way.
struct Pages(watch::Receiver<Arc<Face>>);

impl Shown for Pages {
    fn metrics(&self) -> Registry {
        self.0.borrow().metrics.clone()
    }

    fn status(&self) -> Arc<JobStatus> {
        Arc::new(self.0.borrow().status())
    }

    fn is_ready(&self, _: &JobState) -> bool {
        true
    }

    /// The port is open to everybody, and a status tells of records and failures: the control API has it.
    fn shows_status(&self) -> bool {
        false
    }
}

/// The job as the manifest's reader resolves it: for what is tested without a cluster.
#[cfg(test)]
pub(crate) mod tests {
    use weir_api::ResolvedJob;

    use super::*;

    /// A small job on the command line's terms.
    pub(crate) fn job() -> ResolvedJob {
        let manifest = "
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: small}
spec: {job: nexmark-q0}
";
        weir_api::yaml::read("small.yaml", manifest, weir_api::Surface::CommandLine).unwrap().1
    }

    #[test]
    fn last_words_say_how_with_the_exit_code_s_number() {
        for (ended, code, kind) in [
            (Ok(Leaving::Terminated("left with checkpoint 7".to_owned())), 0, "terminated"),
            (Ok(Leaving::Cancelled), 0, "cancelled"),
            (Ok(Leaving::Failed("x".to_owned())), weir_control::exit_code::FAILED, "failed"),
            (Ok(Leaving::Refused("x".to_owned())), weir_control::exit_code::REFUSED, "refused"),
            (Ok(Leaving::Fenced("x".to_owned())), weir_control::exit_code::FENCED, "fenced"),
            (Err(Refusal::bad_input("no job")), weir_control::exit_code::REFUSED, "refused"),
            (Err(Refusal::failed("no port")), weir_control::exit_code::FAILED, "failed"),
        ] {
            let words = last_words(&ended, Some(7));
            assert_eq!((words.code, words.kind.as_str(), words.checkpoint), (code, kind, Some(7)));
        }
    }
}
