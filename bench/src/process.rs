//! A job as a process of its own: `weir run`, looked at and stopped from outside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cgroup::Cgroup;

/// The job's name, and so its place in the storage.
pub const NAME: &str = "bench";
/// Bytes of a log that a failure shows.
const LOG_SHOWN: usize = 2000;
/// How long a job may take to end once it was asked to.
const END: Duration = Duration::from_secs(600);
/// Linux: ticks per second in `/proc`.
const TICKS: f64 = 100.0;

/// Which binary has the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    /// The stock one.
    Weir,
    /// `bench/job`.
    BenchJob,
}

/// A job with a directory of its own; both are gone with the value.
pub struct Job {
    dir: TempDir,
    binary: Binary,
    /// `spec` of its manifest.
    pub spec: Value,
    /// Credentials and the like.
    pub environment: Vec<(&'static str, String)>,
}

impl Job {
    /// This graph of this binary, without state and storage yet: storage is a directory.
    ///
    /// # Errors
    /// When there is no room.
    pub fn new(binary: Binary, graph: &str, args: Value) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("weir-bench-").tempdir()?;
        let storage = format!("file://{}", dir.path().join("store").display());
        let spec = json!({
            "job": graph, "args": args, "worker": {"slots": 1, "memory": "1Gi"}, "storage": {"uri": storage},
            "checkpoint": {"interval": "10s"}, "restart": {"budget": 0},
        });
        Ok(Self { dir, binary, spec, environment: Vec::new() })
    }

    /// Sets a field of the spec.
    pub fn set(&mut self, section: &str, field: &str, value: impl Into<Value>) {
        self.spec[section][field] = value.into();
    }

    /// Something below the job's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn start(&self) -> Result<Running> {
        self.start_in(None)
    }

    /// Starts it in a cgroup.
    ///
    /// # Errors
    /// As [`Job::start`].
    pub fn start_in(&self, cgroup: Option<&Cgroup>) -> Result<Running> {
        let manifest = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": NAME}, "spec": self.spec});
        fs::write(self.path("job.json"), serde_json::to_vec_pretty(&manifest)?)?;
        let name = if self.binary == Binary::Weir { "weir" } else { "weir-bench-job" };
        let program = std::env::current_exe()?.with_file_name(name);
        ensure!(program.exists(), "there is no {}: `./dev bench` builds it", program.display());
        let report = self.path("report.json");
        let _ = fs::remove_file(&report);
        let mut command = Command::new(program);
        command.arg("run").arg(self.path("job.json")).args(["--metrics-addr", "off", "--work-dir"]);
        command.arg(self.path("work")).arg("--report").arg(&report).current_dir(self.dir.path());
        self.environment.iter().for_each(|(name, value)| _ = command.env(name, value));
        if let Some(cgroup) = cgroup {
            command = cgroup.enter(&command);
        }
        let log = self.path("log");
        command.stdin(Stdio::null()).stdout(File::create(self.path("stdout"))?).stderr(File::create(&log)?);
        let (started, child) = (Instant::now(), command.spawn().context("cannot start the job")?);
        Ok(Running { child, started, log, report })
    }

    /// Runs it to the end of its input.
    ///
    /// # Errors
    /// When it does not finish.
    pub fn finish(&self, limit: Duration) -> Result<Ended> {
        let ended = self.start()?.wait(limit)?;
        ensure!(ended.report["outcome"] == "finished", "the job ended as {}", ended.report["outcome"]);
        Ok(ended)
    }
}

/// What is known of a process that has ended.
pub struct Ended {
    /// Seconds from its start.
    pub wall_s: f64,
    /// CPU seconds of all its threads, by the kernel's account.
    pub cpu_s: f64,
    /// What it says of itself.
    pub report: Value,
}

/// A process that runs; killed with the value.
pub struct Running {
    child: Child,
    /// When it was started.
    pub started: Instant,
    log: PathBuf,
    report: PathBuf,
}

impl Running {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// A field of `/proc/PID/status` in bytes; 0 if there is none.
    pub fn status_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        kib.map_or(0, |kib| kib * 1024)
    }

    /// CPU seconds so far, also of a process that has ended and was not waited for.
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        (ticks(11) + ticks(12)) / TICKS
    }

    /// Fails if the process has ended.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the job ended with {status}: {}", self.log_end()),
        }
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When the process ends before, or the time is over.
    pub fn until<T>(&mut self, what: &str, limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = ready()? {
                return Ok(found);
            }
            self.check_alive()?;
            ensure!(Instant::now() < deadline, "not {what} after {limit:?}: {}", self.log_end());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks for a final checkpoint and waits for the end.
    ///
    /// # Errors
    /// When it does not end as asked.
    pub fn stop(self) -> Result<Ended> {
        kill_process(self.pid(), Signal::TERM)?;
        self.wait(END)
    }

    /// `kill -9`; returns when.
    ///
    /// # Errors
    /// When it has ended by itself.
    pub fn kill(mut self) -> Result<Instant> {
        self.check_alive()?;
        let at = Instant::now();
        self.child.kill()?;
        self.child.wait()?;
        Ok(at)
    }

    /// Waits for a good end.
    ///
    /// # Errors
    /// When it ends badly, or not in time.
    pub fn wait(mut self, limit: Duration) -> Result<Ended> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let deadline = Instant::now() + limit;
        while waitid(WaitId::Pid(self.pid()), options)?.is_none() {
            ensure!(Instant::now() < deadline, "the job runs after {limit:?}: {}", self.log_end());
            std::thread::sleep(Duration::from_millis(2));
        }
        // The kernel keeps the account until the process is waited for.
        let (wall_s, cpu_s) = (self.started.elapsed().as_secs_f64(), self.cpu_seconds());
        let status = self.child.wait()?;
        ensure!(status.success(), "the job ended with {status}: {}", self.log_end());
        let report = serde_json::from_slice(&fs::read(&self.report).context("the job wrote no report")?)?;
        Ok(Ended { wall_s, cpu_s, report })
    }

    fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_SHOWN)..]).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A memory quantity as manifests have it.
pub fn quantity(bytes: u64) -> Value {
    format!("{}Mi", bytes.div_ceil(1 << 20)).into()
}

/// All visible files below a directory.
///
/// # Errors
/// When it cannot be read.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
