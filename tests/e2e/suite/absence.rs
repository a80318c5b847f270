//! Jobs while the operator is away, and under another one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, SYSTEM};
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// Another name for the same image.
const NEWER: &str = "docker.io/weir/weir:newer";

/// No operator for a while (`WEIR_E2E_AWAY=600`, seconds): pods are deleted, their processes killed, and the job goes on from its
/// checkpoints every time. The operator that comes back restarts nothing and knows what has been.
pub fn away(cluster: &Cluster) {
    let away = crate::number("WEIR_E2E_AWAY", 20);
    let job = Job::ledger(cluster, "away", None);
    job.apply();
    job.await_state("Running");
    let before = job.await_checkpoint_above(1);
    cluster.scale_operator(0);
    let said = job.status();
    let started = Instant::now();
    let (mut faults, mut longest) = (0, Duration::ZERO);
    while faults < 2 || started.elapsed() < Duration::from_secs(away) {
        // Killed in place, the kubelet makes a container wait longer each time; a new pod begins anew.
        let took = match faults % 2 {
            0 => job.await_recovery(|| assert!(cluster.inside(&["kill", "-9", &job.process()]).ok, "nothing to kill")),
            _ => job.await_recovery(|| job.kill_pod()),
        };
        longest = longest.max(took);
        faults += 1;
        job.await_progress();
    }
    println!(
        "  {faults} faults in {:.0} s, longest recovery {:.1} s",
        started.elapsed().as_secs_f64(),
        longest.as_secs_f64()
    );
    assert_eq!(job.status(), said, "somebody writes the status: the operator is not away");
    let identity = || (job.pod()["metadata"]["uid"].clone(), job.generation());
    let left_alone = identity();
    cluster.scale_operator(1);
    let checkpoint = job.await_checkpoint_above(before + 1);
    job.await_checkpoint_above(checkpoint + 1);
    assert_eq!(identity(), left_alone, "the operator that came back restarted the job");
    assert!(job.status()["restarts"].as_i64() > Some(0), "{}", job.status());
    job.assert_nothing_lost_or_doubled();
    job.clean_up();
}

/// An operator with another default image: a running job stays on its own and says so, and moves when it is asked to.
pub fn upgraded(cluster: &Cluster) {
    let mut job = Job::ledger(cluster, "upgraded-operator", None);
    job.unset("image");
    job.apply();
    job.await_state("Running");
    let checkpoint = job.await_checkpoint_above(1);
    let update = |status: &str| {
        eventually(&format!("UpdateAvailable is {status}"), PATIENCE, || {
            let found = job.condition("UpdateAvailable");
            if found["status"] == status { Ok(found) } else { Err(found.to_string()) }
        })
    };
    update("False");
    let identity = || (job.pod()["metadata"]["uid"].clone(), job.generation(), job.status()["revision"].clone());
    let before = identity();
    let tagged = cluster.inside(&["ctr", "-n", "k8s.io", "images", "tag", "--force", crate::cluster::IMAGE, NEWER]);
    assert!(tagged.ok, "{}", tagged.err);
    cluster.set_chart(&["runtimeImage=docker.io/weir/weir:newer", "logLevel=debug", "resources.limits.memory=200Mi"]);
    update("True");
    job.await_checkpoint_above(checkpoint + 2);
    assert_eq!(identity(), before, "another operator restarted the job");
    assert_eq!(job.status()["restarts"], 0, "{}", job.status());
    // It moves with the next change, or when it is asked to.
    job.await_recovery(|| job.patch(&json!({ "restartNonce": 1 })));
    assert_eq!(job.await_state("Running")["image"], NEWER);
    assert_eq!(job.pod()["spec"]["containers"][0]["image"], NEWER);
    update("False");
    cluster.set_chart(&[]);
    job.assert_nothing_lost_or_doubled();
    job.clean_up();
    let left = cluster.must(&["-n", SYSTEM, "get", "deployment", "-o", "yaml"]);
    assert!(!left.contains(NEWER), "the chart's values are not as they were:\n{left}");
}
