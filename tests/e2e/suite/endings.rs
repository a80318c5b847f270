//! What goes: a namespace with jobs in it, with and without a bucket that answers, and the chart.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, SYSTEM};
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// How long a namespace may take to go, with its bucket and without.
const GOES: Duration = Duration::from_secs(60);
const GOES_WITHOUT_BUCKET: Duration = Duration::from_secs(120);

/// Jobs of both policies in it; `Delete` becomes `Retain`, because nothing can be started in a namespace that ends.
pub fn namespace(cluster: &Cluster) {
    let (retained, deleted) = jobs(cluster, "ending");
    go(cluster, "ending", GOES);
    assert!(retained.stored() > 0 && deleted.stored() > 0, "the checkpoints of a namespace that ends are kept");
    // Said where it outlives the namespace's own events.
    let events = cluster.must(&["get", "events", "-n", "default", "-o", "json"]);
    assert!(events.contains("CheckpointsKept") && events.contains("ending"), "{events}");
}

/// The same with a bucket that takes connections and never answers.
pub fn namespace_without_bucket(cluster: &Cluster) {
    jobs(cluster, "ending-frozen");
    let frozen = cluster.freeze("minio");
    go(cluster, "ending-frozen", GOES_WITHOUT_BUCKET);
    drop(frozen);
}

fn jobs<'a>(cluster: &'a Cluster, namespace: &'static str) -> (Job<'a>, Job<'a>) {
    let first = Job::ledger(cluster, namespace, None);
    let mut second = first.beside("deleted");
    second.set("deletionPolicy", json!("Delete"));
    for job in [&first, &second] {
        job.apply();
    }
    for job in [&first, &second] {
        job.await_checkpoint_above(1);
    }
    (first, second)
}

fn go(cluster: &Cluster, namespace: &str, limit: Duration) {
    let started = Instant::now();
    let timeout = format!("--timeout={}s", limit.as_secs());
    cluster.must(&["delete", "namespace", namespace, "--wait=true", &timeout]);
    println!("  gone after {:.1} s", started.elapsed().as_secs_f64());
}

/// Without the chart a job runs on, recovers, and can be deleted; one whose checkpoints are to be deleted with it waits for an operator, and
/// goes once there is one. A job that was there all the time is taken up as if nothing had been.
pub fn uninstalled(cluster: &Cluster) {
    let job = Job::ledger(cluster, "uninstalled", None);
    let kept = job.beside("kept");
    let mut waits = job.beside("waits");
    waits.set("deletionPolicy", json!("Delete"));
    for job in [&job, &kept, &waits] {
        job.apply();
    }
    for job in [&job, &kept, &waits] {
        job.await_state("Running");
        job.await_progress();
    }
    let answer = cluster.helm(&["uninstall", "weir", "-n", SYSTEM, "--wait", "--timeout=60s"]);
    assert!(answer.ok, "{}{}", answer.out, answer.err);
    eventually("the operator is gone", PATIENCE, || {
        let left = cluster.must(&["-n", SYSTEM, "get", "pods", "-o", "name"]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    });
    let uid = kept.pod()["metadata"]["uid"].clone();
    job.await_progress();
    println!(
        "  killed without a chart: next commit after {:.1} s",
        job.await_recovery(|| job.kill_pod()).as_secs_f64()
    );
    job.delete();
    for kind in ["pods", "statefulsets", "services", "configmaps", "secrets", "poddisruptionbudgets", "networkpolicies"]
    {
        eventually(&format!("no {kind} of it are left"), PATIENCE, || {
            let left = job.kubectl(&["get", kind, "-l", "weir.dev/job=ledger", "-o", "name"]).out;
            if left.trim().is_empty() { Ok(()) } else { Err(left) }
        });
    }
    let verdict = job.judge();
    assert_eq!((verdict.doubled, verdict.miscounted), (0, 0), "{verdict:?}");
    waits.kubectl(&["delete", "streamjob", "waits", "--wait=false"]);
    waits.await_progress();
    cluster.install().expect("the chart can be installed again");
    kept.await_checkpoint_above(kept.status()["lastCheckpoint"]["id"].as_i64().expect("it had one"));
    assert_eq!(kept.pod()["metadata"]["uid"], uid, "the job that was there all the time was restarted");
    waits.delete();
    assert_eq!(waits.stored(), 1, "Delete left more than the entry that says so");
    kept.assert_nothing_lost_or_doubled();
    job.clean_up();
}
