//! A job with a directory of its own: input, manifest, storage, output. All of it is gone with its value, unless the test
//! fails: then it stays, and its place is shown.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_storage::StoreOptions;

use crate::input::Input;
use crate::oracle;
use crate::process::Running;
use crate::random::Random;
use crate::store::Store;

/// The job's name.
pub const NAME: &str = "ledger";
/// How long a job may take to finish once it is not slowed down any more.
pub const FINISH: Duration = Duration::from_secs(300);
/// Flags that take the brake off.
pub const FULL_SPEED: [&str; 4] = ["--set", "spec.args.rows=1000000", "--set", "spec.args.pause=1ms"];

/// A job's settings, apart from where things are.
#[derive(Clone)]
pub struct Plan {
    pub files: u64,
    pub lines: u64,
    /// Lines that each file delivers every 10 ms.
    pub rows: u64,
    pub parallelism: u64,
    pub backend: &'static str,
    pub interval: &'static str,
    pub padding: u64,
    /// Further fields of the manifest's spec, by JSON pointer.
    pub fields: Vec<(&'static str, Value)>,
}

impl Plan {
    /// Enough input for so many seconds.
    pub fn seconds(seconds: u64) -> Self {
        let (files, rows) = (4, 20);
        Self {
            files,
            lines: seconds * 100 * rows,
            rows,
            parallelism: 2,
            backend: "RocksDB",
            interval: "120ms",
            padding: 16,
            fields: Vec::new(),
        }
    }
}

/// Where a job keeps its checkpoints.
#[derive(Clone)]
pub enum Place {
    /// In its own directory.
    Own,
    /// There.
    Directory(PathBuf),
    /// In a bucket: URI, what the job is told to use, and how a test reaches it.
    Bucket { uri: String, endpoint: String, options: Box<StoreOptions> },
}

pub struct Job {
    directory: Option<TempDir>,
    pub input: Input,
    spec: Value,
    uri: String,
    options: StoreOptions,
    starts: Cell<u32>,
}

impl Job {
    pub fn new(plan: &Plan, place: &Place, random: &mut Random) -> Self {
        let directory = tempfile::Builder::new().prefix("weir-chaos-").tempdir().unwrap();
        let path = directory.path();
        let input = Input::write(&path.join("in"), random, plan.files, plan.lines);
        let (uri, endpoint, options) = match place {
            Place::Own => (format!("file://{}", path.join("store").display()), None, StoreOptions::default()),
            Place::Directory(store) => (format!("file://{}", store.display()), None, StoreOptions::default()),
            Place::Bucket { uri, endpoint, options } => (uri.clone(), Some(endpoint.clone()), (**options).clone()),
        };
        let mut spec = json!({
            "job": NAME,
            "args": {"input": path.join("in"), "output": path.join("out"), "rows": plan.rows, "pause": "10ms", "padding": plan.padding},
            "worker": {"slots": plan.parallelism, "memory": "256Mi"},
            "state": {"backend": plan.backend},
            "storage": {"uri": uri},
            "checkpoint": {"interval": plan.interval},
            "restart": {"initial": "10ms", "budget": 3},
        });
        if let Some(endpoint) = endpoint {
            spec["storage"]["endpoint"] = endpoint.into();
        }
        for (section, value) in &plan.fields {
            let (section, field) = section.split_once('.').unwrap();
            spec[section][field] = value.clone();
        }
        let job = Self { directory: Some(directory), input, spec, uri, options, starts: Cell::new(0) };
        job.write_manifest();
        job
    }

    fn write_manifest(&self) {
        let manifest = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": NAME}, "spec": self.spec});
        fs::write(self.manifest(), serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    }

    /// Changes a field of the manifest.
    pub fn set(&mut self, section: &str, field: &str, value: impl Into<Value>) {
        self.spec[section][field] = value.into();
        self.write_manifest();
    }

    /// The same job with its storage in another directory.
    pub fn move_storage(&mut self, to: &Path) {
        self.uri = format!("file://{}", to.display());
        self.set("storage", "uri", self.uri.clone());
    }

    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("gone with the job only").path()
    }

    pub fn manifest(&self) -> PathBuf {
        self.path().join("job.json")
    }

    pub fn output(&self) -> PathBuf {
        self.path().join("out")
    }

    pub fn work(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn uri(&self) -> String {
        format!("{}/local/{NAME}", self.uri)
    }

    pub fn store(&self) -> Store {
        Store::open(&self.uri, NAME, &self.options)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir-chaos-job"));
        command.arg(name).current_dir(self.path());
        if let Some(credentials) = &self.options.credentials {
            command.env("AWS_ACCESS_KEY_ID", &credentials.access_key);
            command.env("AWS_SECRET_ACCESS_KEY", credentials.secret_key.expose());
        }
        command
    }

    /// Starts a process of the job with this work directory.
    pub fn start<S: AsRef<str>>(&self, work: &str, flags: &[S]) -> Running {
        let start = self.starts.replace(self.starts.get() + 1);
        let (work, report) = (self.work(work), self.path().join(format!("report-{start}.json")));
        let mut command = self.command("run");
        command
            .arg(self.manifest())
            .args(["--metrics-addr", "off", "--work-dir"])
            .arg(&work)
            .arg("--report")
            .arg(&report);
        command.args(flags.iter().map(S::as_ref));
        Running::start(command, work, self.path().join(format!("log-{}", start % 4)), report)
    }

    /// Runs to the end at full speed.
    pub fn finish(&self, work: &str) -> Running {
        let mut running = self.start(work, &FULL_SPEED);
        running.finish(FINISH);
        running
    }

    /// Judges the finished job and its bucket.
    pub fn judge_finished(&self) {
        let verdict = oracle::judge_finished(&self.input, &self.output());
        println!("{verdict}");
        assert!(verdict.is_exact(), "{verdict}");
        self.verify();
    }

    pub fn judge_running(&self) {
        let verdict = oracle::judge_running(&self.input, &self.output());
        assert!(verdict.is_exact(), "{verdict}");
    }

    /// `weir inspect verify`: every object of every retained checkpoint is there and has the right checksum.
    pub fn verify(&self) {
        let mut command = self.command("inspect");
        let output = command.arg("verify").arg(self.manifest()).stdin(Stdio::null()).output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(directory) = self.directory.take()
        {
            println!("what the test left is in {}", directory.keep().display());
        }
    }
}
