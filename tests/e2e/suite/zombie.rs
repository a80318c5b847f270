//! A worker that lives on behind a node that nobody hears of any more.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// A second node beside the one that all other tests use.
const SECOND: &str = "node-2";
/// Until the cluster misses a node (30 s here), until the operator gives it up (30 s), and until another pod runs.
const REPLACED: Duration = Duration::from_secs(180);

/// The kubelet of the worker's node stands still while the worker does not: it is replaced after the deadline and fenced by its successor's
/// claim, ends by itself, and nothing of what both have written is lost or doubled.
pub fn fenced(cluster: &Cluster) {
    let job = Job::ledger(cluster, "zombie", None);
    let second = cluster.join(SECOND);
    cluster.must(&["cordon", "node-1"]);
    job.apply();
    job.await_state("Running");
    cluster.must(&["uncordon", "node-1"]);
    job.await_progress();
    assert_eq!(job.pod()["spec"]["nodeName"], SECOND);
    let zombie = job.process();
    let silent = cluster.freeze(&format!("kubelet-{SECOND}"));
    let (started, generation) = (Instant::now(), job.generation());
    let written = job.lines();
    eventually("another worker's output is committed", REPLACED, || {
        if job.generation() > generation { Ok(()) } else { Err(job.status().to_string()) }
    });
    println!("  node silent to the next worker's first commit: {:.1} s", started.elapsed().as_secs_f64());
    assert!(job.lines() > written, "the worker wrote nothing behind its silent node");
    assert_eq!(job.pod()["spec"]["nodeName"], "node-1");
    // Its kubelet cannot have ended it.
    eventually("the fenced worker ends by itself", PATIENCE, || {
        let lives = cluster.inside(&["grep", "-q", "^State:.[^ZX]", &format!("/proc/{zombie}/status")]).ok;
        if lives { Err(format!("process {zombie} lives")) } else { Ok(()) }
    });
    let status = job.status();
    assert_eq!(status["restartsByReason"], serde_json::json!({ "node_gone": 1 }), "{status}");
    job.assert_nothing_lost_or_doubled();
    drop((silent, second));
    job.clean_up();
}
