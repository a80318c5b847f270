//! A memory cgroup for one process, version 1 or 2, whichever the machine has. Needs root.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A cgroup; removed with the value, once the processes in it have ended.
pub struct Cgroup {
    path: PathBuf,
    version: Version,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Cgroup {
    /// A cgroup whose processes may use so many bytes, page cache included.
    ///
    /// # Errors
    /// When this process may not make one.
    pub fn with_memory(bytes: u64) -> Result<Self> {
        let (root, version) = root()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!("weir-bench-{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make the cgroup {}: root?", path.display()))?;
        let cgroup = Self { path, version };
        let limit = cgroup.file("memory.limit_in_bytes", "memory.max");
        fs::write(&limit, bytes.to_string()).with_context(|| format!("cannot write {}", limit.display()))?;
        Ok(cgroup)
    }

    /// The same command within the cgroup.
    pub fn enter(&self, command: &Command) -> Command {
        let mut entered = Command::new("sh");
        entered.arg("-c").arg("echo $$ > \"$0\" && exec \"$@\"").arg(self.path.join("cgroup.procs"));
        entered.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            let value = value.map(OsString::from).unwrap_or_default();
            entered.env(name, value);
        }
        if let Some(dir) = command.get_current_dir() {
            entered.current_dir(dir);
        }
        entered
    }

    /// Processes that were killed for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.number("memory.oom_control", "memory.events", "oom_kill")
    }

    fn file(&self, one: &str, two: &str) -> PathBuf {
        self.path.join(if self.version == Version::One { one } else { two })
    }

    fn number(&self, one: &str, two: &str, field: &str) -> u64 {
        let text = fs::read_to_string(self.file(one, two)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to see that the last process has gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("the cgroup {} could not be removed", self.path.display());
    }
}

fn root() -> Result<(PathBuf, Version)> {
    let one = Path::new("/sys/fs/cgroup/memory");
    if one.join("memory.limit_in_bytes").exists() {
        return Ok((one.to_owned(), Version::One));
    }
    let two = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(two.join("cgroup.subtree_control")).unwrap_or_default();
    if controllers.split_whitespace().any(|name| name == "memory") {
        return Ok((two.to_owned(), Version::Two));
    }
    bail!("this machine has no memory cgroups at /sys/fs/cgroup")
}
