//! Requests by hand to a running `weir run`, over a socket in its work directory.
//!
//! One JSON object per line and direction: a [`Request`], and then one [`Answer`]. The socket's path may be longer than
//! the kernel takes, so both sides reach it through their open directory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use weir_cluster::status::JobStatus;
use weir_cluster::{JobCommand, Reply};

/// Name of the socket.
const SOCKET: &str = "control.sock";
/// Only the user who runs the job may speak to it.
const MODE: u32 = 0o600;
/// Bytes of a request, at most.
const MOST_BYTES: u64 = 4096;
/// Requests that are served at once.
const MOST_CALLERS: usize = 16;

/// What can be asked of a running job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Request {
    /// Where it stands.
    Status,
    /// A checkpoint now.
    Checkpoint,
    /// A savepoint.
    Savepoint {
        /// Its name.
        name: String,
    },
    /// A final checkpoint, then the end.
    Stop {
        /// Also keep it as a savepoint of this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        savepoint: Option<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// What was asked for.
    Ok(Value),
    /// Why not.
    Error(String),
}

/// Why a job cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The socket cannot be made.
    #[error("cannot listen for requests in {directory}")]
    Listen {
        /// The work directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Nobody is there.
    #[error("no process runs this job in {directory}: start it with `weir run`, or name its directory with --work-dir")]
    Nobody {
        /// The work directory.
        directory: PathBuf,
    },
    /// The connection failed.
    #[error("cannot speak to the process in {directory}")]
    Call {
        /// The work directory.
        directory: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("the process in {directory} ended before it answered")]
    Gone {
        /// The work directory.
        directory: PathBuf,
    },
    /// The job said no.
    #[error("{0}")]
    Refused(String),
}

/// The socket's path by way of its directory, which must stay open meanwhile.
fn short_path(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

/// Serves requests until it is dropped.
pub(crate) struct Server {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Begins to serve in `directory`, which the caller has locked: a socket that is there was left behind.
pub(crate) fn serve(
    directory: &Path,
    commands: mpsc::Sender<JobCommand>,
    status: watch::Receiver<Arc<JobStatus>>,
) -> Result<Server, ControlError> {
    let failed = |source| ControlError::Listen { directory: directory.to_owned(), source };
    let open = File::open(directory).map_err(failed)?;
    let path = short_path(&open);
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(failed)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
    let task = tokio::spawn(accept(listener, commands, status));
    Ok(Server { path: directory.join(SOCKET), task })
}

async fn accept(listener: UnixListener, commands: mpsc::Sender<JobCommand>, status: watch::Receiver<Arc<JobStatus>>) {
    let mut callers = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = callers.join_next() => {}
            accepted = listener.accept(), if callers.len() < MOST_CALLERS => match accepted {
                Ok((stream, _)) => _ = callers.spawn(answer_caller(stream, commands.clone(), status.clone())),
                Err(error) => {
                    tracing::warn!(%error, "requests are not taken any more");
                    return;
                }
            },
        }
    }
}

/// One request, one answer. A caller that goes away is nobody's concern.
async fn answer_caller(
    mut stream: tokio::net::UnixStream,
    commands: mpsc::Sender<JobCommand>,
    status: watch::Receiver<Arc<JobStatus>>,
) {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    let read = tokio::io::BufReader::new(reader).take(MOST_BYTES).read_line(&mut line).await;
    let answer = match read.map(|_| serde_json::from_str::<Request>(&line)) {
        Ok(Ok(request)) => carry_out(request, &commands, &status).await,
        Ok(Err(error)) => Answer::Error(format!("not a request: {error}")),
        Err(_) => return,
    };
    let mut bytes = serde_json::to_vec(&answer).unwrap_or_default();
    bytes.push(b'\n');
    let _ = writer.write_all(&bytes).await;
}

async fn carry_out(
    request: Request,
    commands: &mpsc::Sender<JobCommand>,
    status: &watch::Receiver<Arc<JobStatus>>,
) -> Answer {
    match request {
        Request::Status => {
            let now = status.borrow().clone();
            to_answer(Ok(&*now))
        }
        Request::Checkpoint => ask(commands, |reply| JobCommand::Checkpoint { reply }).await,
        Request::Savepoint { name } => ask(commands, |reply| JobCommand::Savepoint { name, reply }).await,
        Request::Stop { savepoint } => {
            ask(commands, |reply| JobCommand::Stop { savepoint, timeout: None, reply }).await
        }
    }
}

async fn ask<T: Serialize>(
    commands: &mpsc::Sender<JobCommand>,
    command: impl FnOnce(Reply<T>) -> JobCommand,
) -> Answer {
    let (reply, answered) = oneshot::channel();
    let ended = || Err("the job has ended".to_owned());
    if commands.send(command(reply)).await.is_err() {
        return to_answer::<T>(ended());
    }
    to_answer(answered.await.unwrap_or_else(|_| ended()))
}

fn to_answer<T: Serialize>(result: Result<T, String>) -> Answer {
    match result.and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string())) {
        Ok(value) => Answer::Ok(value),
        Err(reason) => Answer::Error(reason),
    }
}

/// Asks the process that runs in `directory`, and waits for its answer for as long as it takes.
pub(crate) fn call(directory: &Path, request: &Request) -> Result<Value, ControlError> {
    let nobody = || ControlError::Nobody { directory: directory.to_owned() };
    let failed = |source| ControlError::Call { directory: directory.to_owned(), source };
    let open = File::open(directory).map_err(|_| nobody())?;
    let mut stream = match UnixStream::connect(short_path(&open)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Err(nobody());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    let mut answer = String::new();
    let read = BufReader::new(stream).read_line(&mut answer).map_err(failed)?;
    if read == 0 {
        return Err(ControlError::Gone { directory: directory.to_owned() });
    }
    match serde_json::from_str(&answer).map_err(|error| failed(error.into()))? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(reason) => Err(ControlError::Refused(reason)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weir_cluster::StopSummary;
    use weir_protocol::CheckpointId;

    use super::*;

    /// Asks a job whose commands are answered by `job`.
    async fn check(request: Request, job: impl Fn(JobCommand) + Send + 'static, expected: Result<Value, &str>) {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("d".repeat(200));
        std::fs::create_dir(&directory).unwrap();
        let (commands, mut taken) = mpsc::channel(1);
        let (_sender, status) = watch::channel(Arc::new(JobStatus::default()));
        let server = serve(&directory, commands, status).unwrap();
        let running = tokio::spawn(async move {
            while let Some(command) = taken.recv().await {
                job(command);
            }
        });
        let (at, asked) = (directory.clone(), request.clone());
        let answer = tokio::task::spawn_blocking(move || call(&at, &asked)).await.unwrap();
        let answer = answer.map_err(|error| error.to_string());
        assert_eq!(answer.as_ref().map_err(String::as_str), expected.as_ref().map_err(|reason| *reason), "{request:?}");
        drop(server);
        running.abort();
        assert!(!directory.join(SOCKET).exists(), "the socket stays behind");
    }

    #[tokio::test]
    async fn requests_reach_the_job_and_answers_come_back() {
        let stop = |command| match command {
            JobCommand::Stop { savepoint, timeout: _, reply } => {
                assert_eq!(savepoint.as_deref(), Some("end"));
                reply.send(Ok(StopSummary { checkpoint: Some(CheckpointId(7)), with_final_checkpoint: true })).unwrap();
            }
            other => panic!("{other:?}"),
        };
        let request = Request::Stop { savepoint: Some("end".to_owned()) };
        check(request, stop, Ok(json!({"checkpoint": 7, "with_final_checkpoint": true}))).await;
        let refuse = |command| match command {
            JobCommand::Savepoint { reply, .. } => reply.send(Err("savepoint x exists already".to_owned())).unwrap(),
            other => panic!("{other:?}"),
        };
        check(Request::Savepoint { name: "x".to_owned() }, refuse, Err("savepoint x exists already")).await;
        check(Request::Checkpoint, drop, Err("the job has ended")).await;
    }

    #[tokio::test]
    async fn the_status_is_answered_without_the_job() {
        let expected = serde_json::to_value(JobStatus::default()).unwrap();
        check(Request::Status, |command| panic!("{command:?}"), Ok(expected)).await;
    }

    #[test]
    fn a_directory_without_a_process_is_told_apart_from_a_failure() {
        let directory = tempfile::tempdir().unwrap();
        for missing in [directory.path().to_owned(), directory.path().join("none")] {
            let error = call(&missing, &Request::Status).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "no process runs this job in {}: start it with `weir run`, or name its directory with --work-dir",
                    missing.display()
                )
            );
        }
    }
}
