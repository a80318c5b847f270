//! What is measured: printed, and judged by nobody here but for what was lost or doubled.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// State of each key of a heavy ledger.
const KEY_MIB: f64 = 1.0 / 16.0;

/// From `kubectl apply` to the first record in the pod's log: the stock job that counts bids, printing.
pub fn first_record(cluster: &Cluster) {
    let mut times = Vec::new();
    for round in 0..crate::number("WEIR_E2E_STARTS", 1) {
        let spec = json!({ "job": "nexmark-bids-per-auction", "args": { "events": 0, "rate": 10_000 } });
        let job = Job::new(cluster, "first-record", "bids-per-auction", spec);
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        job.apply();
        let record = eventually("a record in the pod's log", PATIENCE, || {
            // As the kubelet's log has it: `TIME stdout F {"auction":…`; the runtime's own lines are on stderr.
            let log = cluster.pod_logs(job.namespace());
            let found = log.lines().find(|line| line.contains(" stdout F {\"auction\":")).map(str::to_owned);
            found.ok_or(log)
        });
        let at = record.split(' ').next().expect("a time").to_owned();
        let printed = crate::command::run("date".as_ref(), &["-d", &at, "+%s.%N"], None).out;
        let took = printed.trim().parse::<f64>().expect("seconds") - asked;
        assert!(took > 0.0, "round {round}: {record} is older than its job");
        times.push(Duration::from_secs_f64(took));
        job.clean_up();
    }
    times.sort();
    let seconds: Vec<String> = times.iter().map(|time| format!("{:.2} s", time.as_secs_f64())).collect();
    println!("  kubectl apply to the first record: {}", seconds.join(", "));
}

/// Slots 1, 2, 1, an upgrade, suspended and resumed, with state in every key: what a reader of the output waits.
pub fn heavy_state(cluster: &Cluster) {
    let mebibytes = crate::number("WEIR_E2E_STATE", 1_024);
    let keys = mebibytes * 16;
    let mut job = Job::heavy_ledger(cluster, "heavy-state", keys);
    job.set("worker", json!({ "slots": 1, "memory": "1Gi", "cpu": "1", "disk": "8Gi" }));
    job.apply();
    let started = Instant::now();
    let status = eventually("all state is in a checkpoint", Duration::from_secs(900), || {
        let status = job.status();
        let bytes = status["lastCheckpoint"]["bytesFull"].as_f64().unwrap_or_default();
        if bytes >= keys as f64 * KEY_MIB * 1_048_576.0 { Ok(status) } else { Err(status.to_string()) }
    });
    let bytes = &status["lastCheckpoint"]["bytesFull"];
    println!("  {bytes} bytes in the newest checkpoint after {:.0} s", started.elapsed().as_secs_f64());
    for (what, patch) in [
        ("slots 1 to 2", json!({ "worker": { "slots": 2 } })),
        ("slots 2 to 1", json!({ "worker": { "slots": 1 } })),
        ("upgrade", json!({ "args": { "rate": 2_500 } })),
    ] {
        job.await_progress();
        let asked = Instant::now();
        job.await_recovery(|| job.patch(&patch));
        job.await_state("Running");
        job.await_progress();
        println!("  {what}: longest time without a commit {:.1} s", job.longest_gap(asked).as_secs_f64());
    }
    job.suspend();
    let asked = Instant::now();
    job.await_recovery(|| job.patch(&json!({ "desiredState": "Running" })));
    println!("  resumed: first commit {:.1} s after the request", job.longest_gap(asked).as_secs_f64());
    // It still catches up: its splits need not be equally far.
    job.suspend();
    let verdict = job.judge();
    assert_eq!((verdict.holes, verdict.doubled, verdict.miscounted), (0, 0, 0), "{verdict:?}");
    let restarts = job.status()["restarts"].clone();
    assert_eq!(restarts, 0, "something failed on the way: {}", job.status());
    job.clean_up();
}
