//! A current directory of its own, and the binary in it.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Set in the child that has a file system of its own: where it is mounted.
const MOUNTED: &str = "WEIR_TEST_TMPFS";

pub(crate) struct Scene {
    directory: tempfile::TempDir,
}

/// A process that has ended. The code of one that was killed is minus the signal.
#[derive(Debug)]
pub(crate) struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A process that is killed when the test gives up.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -s {name}");
    }

    pub(crate) fn wait(mut self) -> Ended {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let mut errors = self.0.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            errors.read_to_string(&mut stderr).unwrap();
            stderr
        });
        self.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let status = self.0.wait().unwrap();
        let code = status.code().or_else(|| status.signal().map(|signal| -signal)).unwrap();
        Ended { code, stdout, stderr: reader.join().unwrap() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// Writes `<name>.yaml`.
    pub(crate) fn manifest(&self, name: &str, spec: serde_json::Value) {
        let manifest = serde_json::json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": name}, "spec": spec
        });
        fs::write(self.at(&format!("{name}.yaml")), manifest.to_string()).unwrap();
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(args).current_dir(self.path()).env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    pub(crate) fn call(&self, args: &[&str]) -> Ended {
        self.start(args).wait()
    }

    /// Waits until the running process has completed so many checkpoints.
    pub(crate) fn wait_for_checkpoints(&self, manifest: &str, count: u64) {
        self.wait_for(manifest, |status| status["completed"].as_u64().is_some_and(|completed| completed >= count));
    }

    /// Waits until the running process is in this phase.
    pub(crate) fn wait_for_phase(&self, manifest: &str, phase: &str) {
        self.wait_for(manifest, |status| status["state"]["phase"] == phase);
    }

    fn wait_for(&self, manifest: &str, holds: impl Fn(&serde_json::Value) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.call(&["status", manifest, "--json"]);
            if status.code == 0 && holds(&status.json()) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "not in time: {status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A small file system, if this is the child that has one; else runs that child, in a mount namespace of its own, which takes root
/// or user namespaces.
pub(crate) fn on_a_file_system_of_its_own(test: &str) -> Option<PathBuf> {
    if let Some(mounted) = std::env::var_os(MOUNTED) {
        return Some(mounted.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    let child = unshare.arg(folder.path()).arg(std::env::current_exe().unwrap()).arg(test).env(MOUNTED, folder.path());
    let output = child.output().expect("unshare of util-linux is needed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test} in its own mount namespace:\n{said}");
    None
}

pub(crate) fn remount(folder: &Path, mode: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(folder).status().unwrap();
    assert!(status.success(), "remount,{mode}");
}
