//! Pods and processes killed again and again: nothing lost, nothing doubled, and how long it takes.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// `kubectl delete pod --grace-period=0 --force`.
pub fn deleted_pods(cluster: &Cluster) {
    let job = Job::ledger(cluster, "deleted-pods", None);
    disturb(&job, &|_| job.kill_pod());
}

/// `kill -9` of the process in the pod, from the node.
pub fn killed_processes(cluster: &Cluster) {
    let job = Job::ledger(cluster, "killed-processes", None);
    disturb(&job, &|round| {
        let uid = job.pod()["metadata"]["uid"].as_str().expect("it has a pod").to_owned();
        let killed = cluster.inside(&["sh", "-c", KILL, "kill", &uid]);
        assert!(killed.ok, "round {round}: no process of pod {uid} to kill: {}", killed.err);
    });
}

/// A container's first process is `weir`; control groups are named after pods.
const KILL: &str = r#"
for process in /proc/[0-9]*; do
  if grep -qs "pod$1" "$process/cgroup" && [ "$(cat "$process/comm")" = weir ]; then kill -9 "${process#/proc/}" && exit 0; fi
done
exit 1"#;

fn disturb(job: &Job<'_>, fault: &dyn Fn(u32)) {
    let faults = std::env::var("WEIR_E2E_FAULTS").ok().and_then(|count| count.parse().ok()).unwrap_or(5_u32);
    job.apply();
    job.await_progress();
    let mut gaps: Vec<Duration> = Vec::new();
    for round in 0..faults {
        gaps.push(job.await_recovery(|| fault(round)));
    }
    job.await_progress();
    job.patch(&serde_json::json!({ "desiredState": "Suspended" }));
    job.await_state("Suspended");
    gaps.sort();
    println!(
        "  {faults} faults, fault to the next commit: p50 {:.1} s, p99 {:.1} s; restarts {}",
        quantile(&gaps, 50).as_secs_f64(),
        quantile(&gaps, 99).as_secs_f64(),
        job.status()["restartsByReason"]
    );
    // Suspended at its final checkpoint: everything up to the highest number is there.
    let verdict = job.judge();
    eventually(
        "the book is still",
        PATIENCE,
        || if job.judge() == verdict { Ok(()) } else { Err("it grows".to_owned()) },
    );
    assert_eq!((verdict.lost, verdict.doubled, verdict.miscounted), (0, 0, 0), "{verdict:?}");
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
