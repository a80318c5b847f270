//! The schema's rules, run without an API server: they refuse what `resolve` refuses, in its words.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use serde_json::{Value, json};
use weir_api::{StreamJob, Surface, crd, resolve};

fn manifest(spec: Value) -> Value {
    let mut full = json!({
        "job": "q", "workers": 1, "maxParallelism": 128, "storage": { "uri": "s3://weir/jobs" },
    });
    for (name, member) in spec.as_object().unwrap() {
        full[name] = member.clone();
    }
    full.as_object_mut().unwrap().retain(|_, member| !member.is_null());
    json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": { "name": "q", "namespace": "n", "uid": "u" },
        "spec": full,
    })
}

fn rules(object: &Value, old: Option<&Value>) -> Vec<String> {
    let result = kube_cel::Validator::new().validate(&crd::schema(), object, old);
    let errors = result.map_or_else(|errors| errors.into_vec(), |()| Vec::new());
    let mut messages: Vec<String> = errors.into_iter().map(|e| format!("{}: {}", e.field_path, e.message)).collect();
    messages.sort();
    messages
}

/// The rules and `resolve` refuse alike, but for the value found.
fn check(spec: Value, expected: &[&str]) {
    let object = manifest(spec);
    assert_eq!(rules(&object, None), expected, "{object}");
    let job: StreamJob = serde_json::from_value(object.clone()).unwrap();
    let mut resolved: Vec<String> = resolve(&job, Surface::Cluster)
        .err()
        .unwrap_or_default()
        .into_iter()
        .map(|i| format!("{}: allowed: {}; {}", i.path, i.allowed, i.hint))
        .collect();
    resolved.sort();
    let rule_words: Vec<&str> = expected.iter().map(|m| words(m)).collect();
    let resolve_words: Vec<&str> = resolved.iter().map(|m| words(m)).collect();
    assert_eq!(rule_words, resolve_words, "{object}");
}

fn words(message: &str) -> &str {
    message.split_once(": ").map_or(message, |(_, words)| words)
}

#[test]
fn bounds_hold_in_the_schema_as_in_resolve() {
    check(json!({}), &[]);
    check(
        json!({ "workers": 2 }),
        &["spec.workers: allowed: 1; a job has one worker for now: raise spec.worker.slots to use more cores"],
    );
    check(
        json!({ "worker": { "slots": 0, "memory": "63Mi", "disk": 5 } }),
        &[
            "spec.worker.disk: allowed: 64Mi to 64Ti; it holds the local copy of the state",
            "spec.worker.memory: allowed: 64Mi to 4Ti; it is the whole process's memory, state included",
            "spec.worker.slots: allowed: 1 to 1024; one slot keeps about one core busy",
        ],
    );
    check(json!({ "worker": { "slots": 2, "memory": "1Gi", "cpu": 2, "disk": 1073741824 } }), &[]);
    check(
        json!({ "checkpoint": { "interval": "1ms", "timeout": "25h", "retained": 101 } }),
        &[
            "spec.checkpoint.interval: allowed: 10ms to 24h; 10s suits most jobs: the time between checkpoints is what a failure repeats",
            "spec.checkpoint.retained: allowed: 1 to 100; at least the newest checkpoint is kept: take a savepoint to keep one for good",
            "spec.checkpoint.timeout: allowed: 10ms to 24h; 10m suits most jobs: a checkpoint that takes longer is given up",
        ],
    );
    check(
        json!({ "checkpoint": { "everyBytes": "2Ei" } }),
        &["spec.checkpoint.everyBytes: allowed: 1 to 1Ei; leave it out to trigger checkpoints by time only"],
    );
    check(json!({ "checkpoint": { "interval": "1h30m", "minPause": "0", "everyBytes": "1Ki" } }), &[]);
    check(
        json!({ "checkpointNonce": -1, "savepoint": { "name": "x", "nonce": -1 } }),
        &[
            "spec.checkpointNonce: allowed: 0 or more; write any number not used before, such as the last one plus 1",
            "spec.savepoint.nonce: allowed: 0 or more; write any number not used before, such as the last one plus 1",
        ],
    );
}

#[test]
fn rules_between_fields_hold_in_the_schema_as_in_resolve() {
    check(
        json!({ "storage": null }),
        &[
            "spec: allowed: a uri such as s3://bucket/prefix; add spec.storage: a job on a cluster keeps its checkpoints in a bucket",
        ],
    );
    check(
        json!({ "worker": { "slots": 5 }, "maxParallelism": 4 }),
        &[
            "spec.worker.slots: allowed: workers times slots up to spec.maxParallelism; lower spec.worker.slots, maxParallelism is fixed once the job was created",
        ],
    );
    check(json!({ "worker": { "slots": 4 }, "maxParallelism": 4 }), &[]);
    check(
        json!({ "restart": { "initial": "2m" } }),
        &[
            "spec.restart.max: allowed: spec.restart.initial or longer; raise max or lower initial: delays grow from initial to max",
        ],
    );
    check(json!({ "restart": { "initial": "2m", "max": "2m" } }), &[]);
    check(
        json!({ "restoreFrom": { "empty": true, "checkpoint": 1 } }),
        &[
            "spec.restoreFrom: allowed: exactly one of journal, savepoint, checkpoint and empty; keep the one the job should start from",
        ],
    );
    check(json!({ "restoreFrom": { "empty": true, "allowDuplicates": true } }), &[]);
    check(
        json!({ "restoreFrom": { "empty": false } }),
        &["spec.restoreFrom.empty: allowed: true; remove it to go on from the job's own journal"],
    );
    check(json!({ "restoreFrom": { "checkpoint": 3, "allowDuplicates": true } }), &[]);
}

#[test]
fn a_name_that_does_not_fit_is_refused_by_a_rule() {
    let mut object = manifest(json!({}));
    for (name, fits) in [("a-1", true), ("a.b", false), ("1a", false), (&"a".repeat(46), false)] {
        object["metadata"]["name"] = json!(name);
        let refused = rules(&object, None);
        assert_eq!(refused.is_empty(), fits, "{name}: {refused:?}");
    }
}

#[test]
fn what_is_fixed_for_a_jobs_life_cannot_be_changed() {
    let check = |new: Value, expected: &[&str]| {
        let old = manifest(json!({ "storage": { "uri": "s3://weir/jobs", "endpoint": "http://a" } }));
        assert_eq!(rules(&manifest(new), Some(&old)), expected);
    };
    let same = json!({ "uri": "s3://weir/jobs", "endpoint": "http://a" });
    check(json!({ "storage": same, "job": "other", "worker": { "slots": 4 } }), &[]);
    let moved = "spec.storage: allowed: the uri and endpoint it was created with; a job never moves: take a savepoint and start a new job from it";
    check(json!({ "storage": { "uri": "s3://other/jobs", "endpoint": "http://a" } }), &[moved]);
    check(json!({ "storage": { "uri": "s3://weir/jobs", "endpoint": "http://b" } }), &[moved]);
    check(json!({ "storage": { "uri": "s3://weir/jobs" } }), &[moved]);
    check(
        json!({ "storage": same, "maxParallelism": 64 }),
        &[
            "spec.maxParallelism: allowed: the number it was created with; key groups are fixed for a job's life: start a new job with another name",
        ],
    );
}
