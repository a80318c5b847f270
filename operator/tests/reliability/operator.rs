//! The operator as it is shipped: a process of its own, which can be killed, stopped and continued.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// How an operator is started.
#[derive(Clone)]
pub struct Launch {
    /// Its kubeconfig.
    pub kubeconfig: PathBuf,
    /// Its own namespace, and the one whose jobs it runs.
    pub namespace: String,
    /// Further namespaces' jobs too.
    pub watches_all: bool,
    /// Its name in the election. A container that is started again keeps its pod's name.
    pub identity: String,
    /// The runtime image of jobs that name none.
    pub image: String,
    /// Where its metrics are.
    pub http: String,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A running operator; killed when it is dropped.
pub struct Operator {
    child: Child,
}

impl Operator {
    /// Starts one that says a lot.
    pub fn start(launch: &Launch) -> Self {
        Self::start_with(launch, "info,weir_operator=debug")
    }

    /// Starts one that says what it says by default.
    pub fn start_as_shipped(launch: &Launch) -> Self {
        Self::start_with(launch, "info")
    }

    fn start_with(launch: &Launch, filter: &str) -> Self {
        let watched = if launch.watches_all { "" } else { &launch.namespace };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&launch.log).unwrap();
        // The kernel kills it when whoever started it is gone: a test that is killed leaves nothing behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary());
        command.args(["--namespace", &launch.namespace, "--watch-namespace", watched, "--identity", &launch.identity]);
        command.args(["--runtime-image", &launch.image, "--http-address", &launch.http]);
        command.env_clear().env("KUBECONFIG", &launch.kubeconfig).env("RUST_LOG", filter);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for name in ["WEIR_TEST_RUN", "PATH", "MALLOC_CONF"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        Self { child: command.spawn().unwrap() }
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// A value of `/proc/PID/status`, in KiB.
    pub fn status_kib(&self, key: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time so far, in hundredths of a second.
    pub fn cpu_ticks(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_weir-operator"))
}
