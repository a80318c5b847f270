//! A place for pods of one job: storage, certificates, and the `weir worker` processes themselves.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use weir::api::{ResolvedJob, Surface, resolve};
use weir_control::termination::LastWords;
use weir_control::{Authority, ClientIdentity, ControlClient, v1};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The owner of the jobs here.
pub(crate) const UID: &str = "0b5e-77";

pub(crate) struct Scene {
    directory: tempfile::TempDir,
    pub authority: Authority,
    runtime: tokio::runtime::Runtime,
}

/// A process that has ended. The code of one that was killed is minus the signal.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A `weir worker`, killed when the test gives up.
pub(crate) struct Pod {
    child: Child,
    pub control: String,
    http: String,
    termination: PathBuf,
    log: PathBuf,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self {
            directory: tempfile::tempdir().unwrap(),
            authority: Authority::new(SystemTime::now()).unwrap(),
            runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap(),
        };
        let (now, authority) = (SystemTime::now(), &scene.authority);
        scene.identity("job", &authority.issue_job(UID, 1, now).unwrap());
        scene.identity("other-job", &authority.issue_job("0b5e-78", 1, now).unwrap());
        scene.identity("operator", &authority.issue_operator(1, now).unwrap());
        let stranger = Authority::new(now).unwrap().issue_operator(1, now).unwrap();
        scene.identity("stranger", &stranger);
        scene
    }

    fn identity(&self, name: &str, issued: &weir_control::identity::Issued) {
        let folder = self.at(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), &issued.certificate).unwrap();
        fs::write(folder.join("tls.key"), &issued.key).unwrap();
        fs::write(folder.join("ca.crt"), &issued.authority).unwrap();
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A job that never ends unless `events` says so, with its storage and output here.
    pub(crate) fn job(&self, number: u64, events: u64, slots: u32) -> ResolvedJob {
        let rate = if events == 0 { serde_json::json!(1_000) } else { Value::Null };
        let mut args = serde_json::json!({"events": events, "sink": "files", "output": self.at("out")});
        if !rate.is_null() {
            args["rate"] = rate;
        }
        let manifest = serde_json::json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob",
            "metadata": {"name": "bids"},
            "spec": {
                "job": "nexmark-bids-per-auction",
                "args": args,
                "worker": {"slots": slots, "memory": "256Mi"},
                "storage": {"uri": format!("file://{}", self.at("storage").display())},
                "checkpoint": {"interval": "100ms"},
            },
        });
        let manifest = serde_json::from_value(manifest).unwrap();
        let job = resolve(&manifest, Surface::CommandLine).unwrap();
        ResolvedJob { revision_number: number, namespace: "team-a".to_owned(), owner: UID.to_owned(), ..job }
    }

    /// The same job on an S3 service.
    pub(crate) fn on_s3(job: ResolvedJob, uri: &str, endpoint: &str) -> ResolvedJob {
        let mut job = job;
        let storage = job.storage.as_mut().unwrap();
        storage.uri = uri.parse().unwrap();
        storage.endpoint = Some(endpoint.to_owned());
        storage.region = Some("us-east-1".to_owned());
        job
    }

    /// Writes a resolved job, as a ConfigMap would hold it.
    pub(crate) fn config_map(&self, job: &ResolvedJob) -> PathBuf {
        let file = self.at(&format!("job-{}.json", job.revision_number));
        fs::write(&file, serde_json::to_vec(job).unwrap()).unwrap();
        file
    }

    /// Starts a pod's container: `pod` names its local directory, which survives its restarts.
    pub(crate) fn start(&self, pod: &str, job: &ResolvedJob) -> Pod {
        let (control, http) = (free_address(), free_address());
        let (termination, log) = (self.at(&format!("{pod}.termination")), self.at(&format!("{pod}.log")));
        let _ = fs::remove_file(&termination);
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("worker").arg("--job").arg(self.config_map(job)).arg("--tls").arg(self.at("job"));
        command.args(["--control-address", &control, "--http-address", &http]);
        command.arg("--local-dir").arg(self.at(pod)).arg("--termination-log").arg(&termination);
        command.env("AWS_ACCESS_KEY_ID", "weir").env("AWS_SECRET_ACCESS_KEY", "weir-secret");
        command.env("POD_NAME", "bids-0").env("POD_UID", pod).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        let output = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        Pod { child: command.spawn().unwrap(), control, http, termination, log }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// A client with the operator's certificate, as soon as the pod serves.
    pub(crate) fn client(&self, pod: &mut Pod) -> ControlClient {
        let identity = ClientIdentity::from_directory(&self.at("operator")).unwrap();
        let started = Instant::now();
        loop {
            match self.block_on(ControlClient::connect(&pod.control, &identity, UID)) {
                Ok(client) => return client,
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}\n{}", pod.told()),
            }
            assert!(pod.child.try_wait().unwrap().is_none(), "it ended\n{}", pod.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the pod's status is as it should be, and returns it.
    pub(crate) fn wait_for(
        &self,
        pod: &mut Pod,
        what: &str,
        holds: impl Fn(&v1::StatusResponse) -> bool,
    ) -> v1::StatusResponse {
        let client = self.client(pod);
        let started = Instant::now();
        loop {
            let status = self.block_on(client.status()).unwrap();
            if holds(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "not {what} in time: {status:?}\n{}", pod.told());
            assert!(pod.child.try_wait().unwrap().is_none(), "it ended before it was {what}\n{}", pod.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn wait_for_state(&self, pod: &mut Pod, state: v1::JobState) -> v1::StatusResponse {
        self.wait_for(pod, state.as_str_name(), |status| status.state() == state)
    }

    /// Waits until this process has completed so many checkpoints.
    pub(crate) fn wait_for_checkpoints(&self, pod: &mut Pod, count: u64) -> v1::StatusResponse {
        self.wait_for(pod, "checkpointed", |status| status.completed >= count)
    }

    /// Calls the binary and waits for it.
    pub(crate) fn call(&self, args: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.env("AWS_ACCESS_KEY_ID", "weir").env("AWS_SECRET_ACCESS_KEY", "weir-secret");
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        let status = output.status;
        Ended {
            code: status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `weir ctl` as `identity`.
    pub(crate) fn ctl(&self, ask: &str, pod: &Pod, identity: &str, more: &[&str]) -> Ended {
        let tls = self.at(identity);
        let args = ["ctl", ask, "--to", &pod.control, "--tls", tls.to_str().unwrap(), "--uid", UID];
        self.call(&[&args[..], more].concat())
    }

    /// Lines of all committed files.
    pub(crate) fn committed(&self) -> Vec<String> {
        let files = fs::read_dir(self.at("out")).into_iter().flatten().map(|entry| entry.unwrap());
        let visible = files.filter(|file| !file.file_name().to_string_lossy().starts_with('.'));
        let texts = visible.map(|file| fs::read_to_string(file.path()).unwrap());
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Every bid of `events` events was counted once: a state that was lost or restored twice repeats or skips a count.
    pub(crate) fn assert_exact(&self, events: usize) {
        let mut lines = self.committed();
        let count = lines.len();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!((lines.len(), count), (events * 46 / 50, events * 46 / 50), "distinct lines, lines");
    }

    /// Files below the job's place.
    pub(crate) fn stored(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        collect(&self.at("storage").join("team-a"), &mut found);
        found.sort();
        found
    }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// An address that nobody serves at now.
pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Pod {
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -s {name}");
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap();
            }
            assert!(started.elapsed() < PATIENCE, "it does not end\n{}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until something holds; says with which code it ended if it ends before.
    pub(crate) fn await_file(&mut self, holds: impl Fn() -> bool) -> Option<i32> {
        let started = Instant::now();
        while !holds() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status.code().unwrap_or(-1));
            }
            assert!(started.elapsed() < PATIENCE, "not in time\n{}", self.told());
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.wait()
    }

    /// Its termination message.
    pub(crate) fn last_words(&self) -> LastWords {
        let text = fs::read_to_string(&self.termination).unwrap_or_else(|error| panic!("{error}\n{}", self.told()));
        LastWords::read(&text).unwrap_or_else(|| panic!("{text}"))
    }

    /// What it logged, over all its starts.
    pub(crate) fn told(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The status line and the body of a page.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: weir\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
