//! A `weir run` as a process: started, asked, stopped, killed, waited for. Gone with its value.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Between two looks at something that is waited for. Each is a request to the job.
const LOOK: Duration = Duration::from_millis(3);
/// The same for a moment that is short, and is to be hit.
const KEEN: Duration = Duration::from_micros(300);
/// How long an answer over the socket may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a log that a failing test shows.
const LOG_SHOWN: usize = 6000;

pub struct Running {
    child: Child,
    work: PathBuf,
    log: PathBuf,
    pub report: PathBuf,
}

impl Running {
    pub fn start(mut command: Command, work: PathBuf, log: PathBuf, report: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Self { child, work, log, report }
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {pid:?}: {error}"));
    }

    /// `kill -9`. The process must not have ended by itself.
    pub fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the process ended with {status} before it could be killed\n{}", self.log());
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end; returns the exit code.
    pub fn wait(&mut self, limit: Duration) -> i32 {
        let status = self.wait_status(limit);
        status.code().unwrap_or_else(|| panic!("the process ended with {status}\n{}", self.log()))
    }

    fn wait_status(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(code) = self.ended() {
                return code;
            }
            if Instant::now() > deadline {
                let status = self.status().map(|status| status.to_string());
                panic!("the process runs after {limit:?}: {status:?}\n{}", self.log());
            }
            sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the job has finished all input and committed all output.
    pub fn finish(&mut self, limit: Duration) {
        let ended = self.wait_status(limit);
        let report = std::fs::read_to_string(&self.report).unwrap_or_else(|error| format!("no report: {error}"));
        assert!(ended.success(), "the process ended with {ended}\n{report}\n{}", self.log());
        assert_eq!(self.report()["outcome"], "finished", "{report}\n{}", self.log());
    }

    pub fn report(&self) -> Value {
        serde_json::from_slice(&std::fs::read(&self.report).unwrap()).unwrap()
    }

    pub fn ask(&self, request: &Value) -> Result<Value, String> {
        call(&self.work, request).map_err(|error| error.to_string())?
    }

    /// Where the job stands; `None` before it listens and after it ended.
    pub fn status(&self) -> Option<Value> {
        call(&self.work, &json!({"request": "status"})).ok()?.ok()
    }

    pub fn phase(status: Option<&Value>) -> String {
        status.and_then(|status| status["state"]["phase"].as_str()).unwrap_or("none").to_owned()
    }

    /// Waits until `enough` says so of a status.
    pub fn until(&mut self, what: &str, limit: Duration, enough: impl FnMut(&Value) -> bool) -> Value {
        self.look_until(what, limit, LOOK, enough)
    }

    /// The same, so that the moment is met that `enough` describes.
    pub fn until_just(&mut self, what: &str, limit: Duration, enough: impl FnMut(&Value) -> bool) -> Value {
        self.look_until(what, limit, KEEN, enough)
    }

    fn look_until(
        &mut self,
        what: &str,
        limit: Duration,
        pause: Duration,
        mut enough: impl FnMut(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + limit;
        loop {
            let status = self.status();
            if let Some(status) = status.clone().filter(|status| enough(status)) {
                return status;
            }
            if let Some(code) = self.ended() {
                panic!("the process ended with {code} before {what}\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "not {what} after {limit:?}: {status:?}\n{}", self.log());
            sleep(pause);
        }
    }

    pub fn until_running(&mut self) -> Value {
        self.until("running", PATIENCE, |status| Self::phase(Some(status)) == "running")
    }

    /// Waits for the end of `more` further checkpoints of this process.
    pub fn until_checkpoints(&mut self, more: u64, limit: Duration) -> Value {
        let before = self.until_running()["completed"].as_u64().unwrap();
        self.until("further checkpoints", limit, |status| status["completed"].as_u64().unwrap() >= before + more)
    }

    /// The end of what the process logged.
    pub fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_SHOWN);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn call(work: &Path, request: &Value) -> std::io::Result<Result<Value, String>> {
    let mut stream = UnixStream::connect(work.join("control.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{request}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let mut answer: Value = serde_json::from_str(&line)?;
    Ok(match answer["error"].as_str() {
        Some(reason) => Err(reason.to_owned()),
        None => Ok(answer["ok"].take()),
    })
}
