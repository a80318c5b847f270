//! A storage directory that is full, or read-only, for a while.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::job::{Job, Place, Plan};
use crate::random::Random;

/// How soon checkpoints must fail, or complete again.
const SOON: Duration = Duration::from_secs(60);

/// A file system of a few megabytes, in memory; gone with its value.
struct Small {
    at: tempfile::TempDir,
}

fn run(command: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(command).args(arguments).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

impl Small {
    /// `None` where nothing can be mounted; says so where `./dev test` counts what was skipped.
    fn mount(test: &str, megabytes: u64) -> Option<Self> {
        let at = tempfile::Builder::new().prefix("weir-chaos-small-").tempdir().unwrap();
        let size = format!("size={megabytes}m");
        if let Err(reason) = run("mount", &["-t", "tmpfs", "-o", &size, "weir-chaos", at.path().to_str().unwrap()]) {
            println!("skipped: nothing can be mounted here: {reason}");
            if let Some(list) = std::env::var_os("WEIR_SKIPPED") {
                use std::io::Write;
                let mut list = fs::File::options().append(true).create(true).open(list).unwrap();
                writeln!(list, "{test}: nothing can be mounted here").unwrap();
            }
            return None;
        }
        Some(Self { at })
    }

    fn path(&self) -> &Path {
        self.at.path()
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.path().to_str().unwrap()]).unwrap();
    }

    /// Takes all the room there is, and returns the file that has it.
    fn fill(&self) -> PathBuf {
        let ballast = self.path().join("ballast");
        // Ends with the error that is wanted.
        let _ = std::io::copy(&mut std::io::repeat(1), &mut fs::File::create(&ballast).unwrap());
        ballast
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path = self.path().to_str().unwrap();
        if run("umount", &[path]).is_err() {
            let _ = run("umount", &["-l", path]);
        }
    }
}

fn failed(status: &Value) -> u64 {
    status["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

fn records(status: &Value) -> u64 {
    status["operators"].as_object().into_iter().flatten().filter_map(|(_, of)| of["records_in"].as_u64()).sum()
}

/// Takes the storage away by `breaking` it, three times, until `mend` gives it back.
fn check(test: &str, breaking: impl Fn(&Small) -> Option<PathBuf>, mend: impl Fn(&Small, Option<PathBuf>)) {
    let Some(small) = Small::mount(test, 48) else { return };
    let mut random = Random::shown(test);
    let fields = vec![
        ("checkpoint.timeout", "1s".into()),
        ("checkpoint.tolerableFailures", 2.into()),
        ("restart.budget", 0.into()),
    ];
    let plan = Plan { rows: 4, padding: 100, fields, ..Plan::seconds(30) };
    let mut job = Job::new(&plan, &Place::Directory(small.path().join("store")), &mut random);
    let mut running = job.start::<&str>("work", &[]);
    for _ in 0..3 {
        running.until_checkpoints(2, SOON);
        let before = running.status().unwrap();
        let broken = breaking(&small);
        // More than are tolerated: those that the storage is to blame for do not count.
        let during = running.until("failing checkpoints", SOON, |status| failed(status) >= failed(&before) + 3);
        let reading = running.until("reading on", SOON, |status| records(status) > records(&during));
        println!("{test}: {} completed, failed: {}", reading["completed"], reading["failed"]);
        assert_eq!(reading["restart_count"], 0, "{}\n{}", reading["restarts"], running.log());
        mend(&small, broken);
        let after = running.until_checkpoints(1, SOON);
        assert_eq!(after["restart_count"], 0, "{}\n{}", after["restarts"], running.log());
        job.judge_running();
    }
    running.kill();
    // At full speed a barrier may take longer than the short timeout that made failures quick to come.
    job.set("checkpoint", "timeout", "10m");
    job.finish("elsewhere");
    job.judge_finished();
    let heaps = job.store().heaps();
    println!("{heaps:?}");
}

#[test]
fn a_full_storage_fails_checkpoints_until_there_is_room_and_loses_nothing() {
    check("full storage", |small| Some(small.fill()), |_, ballast| fs::remove_file(ballast.unwrap()).unwrap());
}

#[test]
fn a_read_only_storage_fails_checkpoints_until_it_can_be_written_and_loses_nothing() {
    let read_only = |small: &Small| {
        small.remount("ro");
        None
    };
    check("read-only storage", read_only, |small, _| small.remount("rw"));
}
