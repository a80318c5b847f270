//! Pods and processes killed again and again: nothing lost, nothing doubled, and how long it takes.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::job::Job;

/// `kubectl delete pod --grace-period=0 --force`.
pub fn deleted_pods(cluster: &Cluster) {
    let job = Job::ledger(cluster, "deleted-pods", None);
    disturb(&job, &|_| job.kill_pod());
    job.clean_up();
}

/// `kill -9` of the process in the pod, from the node.
pub fn killed_processes(cluster: &Cluster) {
    let job = Job::ledger(cluster, "killed-processes", None);
    disturb(&job, &|round| {
        let killed = cluster.inside(&["kill", "-9", &job.process()]);
        assert!(killed.ok, "round {round}: {}", killed.err);
    });
    job.clean_up();
}

/// Memory that something else takes in the container's control group, until the kernel kills the worker for it.
pub fn starved_processes(cluster: &Cluster) {
    let job = Job::ledger(cluster, "starved-processes", None);
    let faults = disturb(&job, &|round| {
        let process = job.process();
        let starved = cluster.inside(&["sh", "-c", STARVE, "starve", &process]);
        assert!(starved.ok, "round {round}: process {process} was not killed: {}{}", starved.out, starved.err);
    });
    let status = job.status();
    assert_eq!(status["restartsByReason"], serde_json::json!({ "out_of_memory": faults }), "{status}");
    let failure = &status["lastFailure"];
    assert_eq!((&failure["reason"], &failure["exitCode"]), (&"out_of_memory".into(), &137.into()), "{status}");
    let events = job
        .kubectl(&["get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.message}{.note}{\"\\n\"}{end}"])
        .out;
    assert!(events.lines().any(|event| event.starts_with("Restarted out_of_memory")), "{events}");
    job.clean_up();
}

/// The worker is the first that the kernel kills when its group is full, and `tail` fills it; it would hold twice what the group may.
/// Ends when the worker has: its process is gone or a corpse.
const STARVE: &str = r#"
process=/proc/$1
group=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:memory://p' "$process/cgroup")
[ -d "$group" ] || group=/sys/fs/cgroup$(sed -n 's/^0:://p' "$process/cgroup")
echo 1000 >"$process/oom_score_adj" || exit 1
sh -c 'echo $$ >"$1/cgroup.procs" && head -c 512M /dev/zero | tail -c 512M >/dev/null' fill "$group"
tries=0
while grep -q '^State:.[^ZX]' "$process/status" 2>/dev/null; do
  [ $((tries += 1)) -lt 50 ] || exit 1
  sleep 0.1
done"#;

/// Disturbs it again and again, each time as soon as output is committed after the last; returns how often.
fn disturb(job: &Job<'_>, fault: &dyn Fn(u32)) -> u32 {
    let faults = u32::try_from(crate::number("WEIR_E2E_FAULTS", 5)).expect("not that many");
    job.apply();
    job.await_progress();
    let mut gaps: Vec<Duration> = Vec::new();
    for round in 0..faults {
        gaps.push(job.await_recovery(|| fault(round)));
    }
    job.await_progress();
    gaps.sort();
    println!(
        "  {faults} faults, fault to the next commit: p50 {:.1} s, p99 {:.1} s, longest {:.1} s; restarts {}",
        quantile(&gaps, 50).as_secs_f64(),
        quantile(&gaps, 99).as_secs_f64(),
        quantile(&gaps, 100).as_secs_f64(),
        job.status()["restartsByReason"]
    );
    job.assert_nothing_lost_or_doubled();
    faults
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}
