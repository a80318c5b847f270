//! What a person does with a job: create, suspend and resume, rescale, upgrade, let it finish, delete.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// It runs, and says so: state, checkpoints, columns; nothing but a restricted pod. Another operator in the old one's place
/// leaves it alone, and applies again what somebody takes its mark from.
pub fn runs(cluster: &Cluster) {
    let job = Job::ledger(cluster, "runs", None);
    job.apply();
    job.await_state("Running");
    let first = job.await_checkpoint_above(0);
    let second = job.await_checkpoint_above(first);
    job.await_progress();
    let status = job.status();
    let retained = status["checkpoints"].as_array().map_or(0, Vec::len);
    assert!((1..=6).contains(&retained), "{retained} retained checkpoints in {status}");
    assert!(status["lastCheckpoint"]["completedAt"].is_string(), "{status}");
    let table = job.kubectl(&["get", "sj"]).out;
    for column in ["NAME", "STATE", "HEALTH", "WORKERS", "READY", "LAST CHECKPOINT", "RESTARTS", "AGE", "Running"] {
        assert!(table.contains(column), "no {column} in\n{table}");
    }
    let pod = job.pod();
    assert_eq!(pod["spec"]["automountServiceAccountToken"], Value::Bool(false), "{}", pod["spec"]);
    println!("  checkpoint {first} and then {second}");
    job.await_next_operator();
    for kind in ["service", "poddisruptionbudget", "networkpolicy"] {
        let what = format!("{kind}/ledger");
        let answer = job.kubectl(&["annotate", &what, "weir.dev/applied-"]);
        assert!(answer.ok, "{}", answer.err);
        eventually(&format!("the {kind} is applied again"), PATIENCE, || {
            let found = job.kubectl(&["get", &what, "-o", r"jsonpath={.metadata.annotations.weir\.dev/applied}"]).out;
            if found.trim().is_empty() { Err("its mark is missing".to_owned()) } else { Ok(()) }
        });
    }
    job.clean_up();
}

/// Suspended it has no pod and says so; resumed it goes on where it stopped.
pub fn suspends_and_resumes(cluster: &Cluster) {
    let job = Job::ledger(cluster, "suspends", Some(30_000));
    job.apply();
    job.await_progress();
    job.suspend();
    eventually(
        "its pod is gone",
        PATIENCE,
        || if job.pod().is_null() { Ok(()) } else { Err("it is there".to_owned()) },
    );
    let verdict = job.judge();
    assert_eq!((verdict.doubled, verdict.miscounted), (0, 0), "{verdict:?}");
    let stopped_at = job.lines();
    job.patch(&json!({ "desiredState": "Running" }));
    job.await_state("Running");
    eventually("all numbers are there", PATIENCE, || {
        if job.lines() >= 30_000 { Ok(()) } else { Err(job.status().to_string()) }
    });
    assert!(stopped_at < 30_000, "it was over before it was suspended");
    job.assert_exact(30_000);
    job.clean_up();
}

/// From one slot to two and back, without a number lost or counted twice.
pub fn rescales(cluster: &Cluster) {
    let job = Job::ledger(cluster, "rescales", Some(40_000));
    job.apply();
    job.await_progress();
    for slots in [2, 1] {
        job.patch(&json!({ "worker": { "slots": slots } }));
        job.await_state("Running");
        println!("  {slots} slots: next commit after {:.1} s", job.await_progress().as_secs_f64());
    }
    eventually("all numbers are there", PATIENCE, || {
        if job.lines() >= 40_000 { Ok(()) } else { Err(job.status().to_string()) }
    });
    job.assert_exact(40_000);
    job.clean_up();
}

/// Another argument is another spec: stopped with a final checkpoint, started again from it.
pub fn upgrades(cluster: &Cluster) {
    let job = Job::ledger(cluster, "upgrades", Some(60_000));
    job.apply();
    job.await_progress();
    let before = job.status()["revision"].clone();
    job.patch(&json!({ "args": { "rate": 4_000 } }));
    let status = eventually("another revision runs", PATIENCE, || {
        let status = job.status();
        if status["revision"] != before && status["state"] == "Running" { Ok(status) } else { Err(status.to_string()) }
    });
    assert_ne!(status["revision"], before);
    eventually("all numbers are there", PATIENCE, || {
        if job.lines() >= 60_000 { Ok(()) } else { Err(job.status().to_string()) }
    });
    job.assert_exact(60_000);
    job.clean_up();
}

/// A bounded job ends as Finished with all of its output, and stays so.
pub fn finishes(cluster: &Cluster) {
    let job = Job::ledger(cluster, "finishes", Some(5_000));
    job.apply();
    job.await_state("Finished");
    job.assert_exact(5_000);
    eventually(
        "its pod is gone",
        PATIENCE,
        || if job.pod().is_null() { Ok(()) } else { Err("it is there".to_owned()) },
    );
    job.patch(&json!({ "restartNonce": 0 }));
    assert_eq!(job.await_state("Finished")["state"], "Finished");
    job.assert_exact(5_000);
    job.clean_up();
}

/// Deleted with Retain its checkpoints stay; with Delete nothing of it does but the word that it was deleted.
pub fn deletes(cluster: &Cluster) {
    for (namespace, policy) in [("retains", "Retain"), ("deletes", "Delete")] {
        let mut job = Job::ledger(cluster, namespace, None);
        job.set("deletionPolicy", json!(policy));
        job.apply();
        job.await_checkpoint_above(1);
        assert!(job.stored() > 0, "nothing is stored where the test looks");
        job.delete();
        eventually("its pod is gone", PATIENCE, || {
            if job.pod().is_null() { Ok(()) } else { Err("it is there".to_owned()) }
        });
        match policy {
            "Retain" => assert!(job.stored() > 0, "Retain removed what was stored"),
            _ => assert_eq!(job.stored(), 1, "Delete left more than the entry that says so"),
        }
        for kind in ["statefulsets", "services", "configmaps", "poddisruptionbudgets", "networkpolicies"] {
            eventually(&format!("no {kind} of it are left"), PATIENCE, || {
                let left = job.kubectl(&["get", kind, "-l", "weir.dev/job=ledger", "-o", "name"]).out;
                if left.trim().is_empty() { Ok(()) } else { Err(left) }
            });
        }
        job.clean_up();
    }
}
