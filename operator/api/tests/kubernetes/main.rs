//! What surrounds the resource on a cluster: the chart, its alerts and dashboard, and StreamJobs that must be refused.
//!
//! Helm and promtool do the work where they are the judges; both are installed on first use, see `tests/servers`.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod chart;
mod hostile;
mod monitoring;

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn every_example_for_a_cluster_is_taken() {
    let mut jobs = 0;
    for entry in std::fs::read_dir(repository("examples/kubernetes")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("kind: StreamJob") {
            jobs += 1;
            assert_eq!(hostile::refusal(&text), None, "{}", path.display());
            let object: serde_json::Value = serde_yaml::from_str(&text).unwrap();
            assert_eq!(hostile::api_server(&object, None), "", "{}", path.display());
        }
    }
    assert!(jobs > 0);
}

/// A file of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new("../..").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Where a script of `tests/servers` has put what it installs.
fn installed(server: &str) -> PathBuf {
    let script = repository("tests/servers").join(server);
    let run = |word: &str| Command::new(&script).arg(word).output().unwrap();
    let install = run("install");
    assert!(install.status.success(), "{server} install: {}", String::from_utf8_lossy(&install.stderr));
    PathBuf::from(String::from_utf8(run("path").stdout).unwrap().trim())
}

/// Runs a command to its end; `Err` holds everything it said if it failed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{out}{err}")) }
}
