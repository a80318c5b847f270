//! The stored form of a resolved job, its revision, and the examples.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::Path;

use serde_json::{Value, json};
use weir_api::{ResolvedJob, StreamJob, Surface, resolve, yaml};

const GOLDEN: &str = include_str!("golden/resolved-v1.json");

fn resolved(spec: Value) -> ResolvedJob {
    let object = json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": { "name": "q5", "namespace": "team-a", "uid": "0b5e" },
        "spec": spec,
    });
    let job: StreamJob = serde_json::from_value(object).unwrap();
    resolve(&job, Surface::Cluster).unwrap()
}

fn golden_spec() -> Value {
    json!({
        "image": "weir:0.1.0",
        "job": "nexmark-q5",
        "args": { "events": 100, "hot": [0.5, true], "name": "ä\"" },
        "worker": { "slots": 2 },
        "storage": {
            "uri": "s3://weir/jobs/",
            "endpoint": "http://minio.storage:9000",
            "credentials": { "secretName": "weir-s3" },
        },
        "checkpoint": { "interval": "1500ms", "everyBytes": "1Gi" },
        "restoreFrom": { "checkpoint": 17 },
        "desiredState": "Suspended",
    })
}

#[test]
fn the_stored_form_is_the_golden_one_and_is_read_back() {
    let job = resolved(golden_spec());
    assert_eq!(job.canonical_json(), GOLDEN.trim_end());
    assert_eq!(job.revision(), "5e99344786dd9705");
    let read: ResolvedJob = serde_json::from_str(GOLDEN).unwrap();
    let mut expected = job;
    expected.wishes = Default::default();
    assert_eq!(read, expected);
    assert_eq!(read.revision(), "5e99344786dd9705");
}

#[test]
fn a_revision_changes_with_what_runs_and_with_nothing_else() {
    let base = json!({ "job": "a", "storage": { "uri": "s3://weir/jobs" } });
    let revision = |name: &str, value: Value| {
        let mut spec = base.clone();
        spec[name] = value;
        resolved(spec).revision()
    };
    let unchanged = resolved(base.clone()).revision();
    for (name, value) in [
        ("workers", json!(1)),
        ("checkpoint", json!({ "interval": "10000ms" })),
        ("worker", json!({ "memory": "1024Mi" })),
        ("storage", json!({ "uri": "s3://weir/jobs/" })),
        ("desiredState", json!("Suspended")),
        ("deletionPolicy", json!("Delete")),
        ("upgrade", json!({ "deadline": "1m" })),
        ("checkpointNonce", json!(1)),
        ("savepoint", json!({ "name": "x", "nonce": 1 })),
    ] {
        assert_eq!(revision(name, value), unchanged, "{name}");
    }
    for (name, value) in [
        ("image", json!("weir:2")),
        ("job", json!("b")),
        ("args", json!({ "events": 1 })),
        ("maxParallelism", json!(64)),
        ("worker", json!({ "memory": "2Gi" })),
        ("state", json!({ "backend": "Memory" })),
        ("checkpoint", json!({ "retained": 7 })),
        ("restart", json!({ "budget": 3 })),
        ("restoreFrom", json!({ "empty": true })),
        ("restartNonce", json!(1)),
    ] {
        assert_ne!(revision(name, value), unchanged, "{name}");
    }
}

#[test]
fn every_example_is_a_job_that_can_run() {
    let folder = Path::new("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            seen += 1;
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).unwrap();
            let (job, resolved) = yaml::read(&name, &text, Surface::CommandLine).unwrap_or_else(|e| panic!("{e}"));
            let again = yaml::from_str(&name, &yaml::to_string(&job)).unwrap();
            assert_eq!(again, job, "{name}");
            assert!(resolved.parallelism <= resolved.max_parallelism);
        }
    }
    assert!(seen >= 4, "{seen} examples");
}
