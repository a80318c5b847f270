//! Every rule, beside what it accepts; every default, against what the schema says about it.

use serde_json::{Value, json};

use super::*;
use crate::schema;

/// A job that both surfaces accept, changed by `patch` as a JSON merge patch on `spec`.
fn job(patch: Value) -> StreamJob {
    let mut spec = json!({ "job": "nexmark-q5", "storage": { "uri": "s3://weir/jobs" } });
    merge(&mut spec, patch);
    let metadata = json!({ "name": "q5", "namespace": "team-a", "uid": "0b5e" });
    let value = json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(value).unwrap()
}

fn merge(target: &mut Value, patch: Value) {
    match patch {
        Value::Object(members) => {
            if !target.is_object() {
                *target = json!({});
            }
            for (name, member) in members {
                if member.is_null() {
                    target.as_object_mut().unwrap().remove(&name);
                } else {
                    merge(&mut target[&name], member);
                }
            }
        }
        other => *target = other,
    }
}

fn refusals(job: &StreamJob, surface: Surface) -> Vec<String> {
    match resolve(job, surface) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.iter().map(ToString::to_string).collect(),
    }
}

/// Both surfaces say the same.
fn check(patch: Value, expected: &[&str]) {
    for surface in [Surface::CommandLine, Surface::Cluster] {
        assert_eq!(refusals(&job(patch.clone()), surface), expected, "{surface:?} {patch}");
    }
}

#[test]
fn numbers_outside_their_bounds_are_refused_with_a_way_out() {
    check(json!({}), &[]);
    check(
        json!({ "workers": 3 }),
        &["spec.workers: found 3; allowed: 1; a job has one worker for now: raise spec.worker.slots to use more cores"],
    );
    check(
        json!({ "workers": 0 }),
        &["spec.workers: found 0; allowed: 1; a job has one worker for now: raise spec.worker.slots to use more cores"],
    );
    check(
        json!({ "maxParallelism": 40000 }),
        &[
            "spec.maxParallelism: found 40000; allowed: 1 to 32768; it is the number of key groups: choose a few times the parallelism the job may ever need",
        ],
    );
    check(
        json!({ "worker": { "slots": 0 } }),
        &["spec.worker.slots: found 0; allowed: 1 to 1024; one slot keeps about one core busy"],
    );
    check(
        json!({ "worker": { "memory": "32Mi" } }),
        &["spec.worker.memory: found 32Mi; allowed: 64Mi to 4Ti; it is the whole process's memory, state included"],
    );
    check(
        json!({ "worker": { "memory": "512m" } }),
        &["spec.worker.memory: found 512m; allowed: 64Mi to 4Ti; `m` means a thousandth: write 512Mi for mebibytes"],
    );
    check(
        json!({ "worker": { "cpu": "1m", "disk": "1Mi" } }),
        &[
            "spec.worker.cpu: found 1m; allowed: 10m to 1024; it is a number of cores",
            "spec.worker.disk: found 1Mi; allowed: 64Mi to 64Ti; it holds the local copy of the state",
        ],
    );
    check(
        json!({ "checkpoint": { "interval": "1ms", "timeout": "0s", "retained": 0, "maxConcurrent": 2 } }),
        &[
            "spec.checkpoint.interval: found 1ms; allowed: 10ms to 24h; 10s suits most jobs: the time between checkpoints is what a failure repeats",
            "spec.checkpoint.timeout: found 0s; allowed: 10ms to 24h; 10m suits most jobs: a checkpoint that takes longer is given up",
            "spec.checkpoint.retained: found 0; allowed: 1 to 100; at least the newest checkpoint is kept: take a savepoint to keep one for good",
            "spec.checkpoint.maxConcurrent: found 2; allowed: 1; checkpoints run one at a time, each builds on the one before: lower the interval instead",
        ],
    );
    check(
        json!({ "checkpoint": { "minPause": "25h", "everyRecords": 0, "everyBytes": 0, "tolerableFailures": -1 } }),
        &[
            "spec.checkpoint.minPause: found 25h; allowed: 0s to 24h; 0s lets checkpoints follow each other at once",
            "spec.checkpoint.everyRecords: found 0; allowed: 1 or more; leave it out to trigger checkpoints by time only",
            "spec.checkpoint.everyBytes: found 0; allowed: 1 to 1Ei; leave it out to trigger checkpoints by time only",
            "spec.checkpoint.tolerableFailures: found -1; allowed: 0 to 1000000; 0 restarts the job at the first checkpoint that fails",
        ],
    );
    check(
        json!({ "rescale": { "minInterval": "0s" } }),
        &[
            "spec.rescale.minInterval: found 0s; allowed: 1s to 24h; 10s suits most jobs: each rescale stops the job for its final checkpoint",
        ],
    );
    check(
        json!({ "restart": { "initial": "0s", "resetAfter": "1ms", "budget": -1 } }),
        &[
            "spec.restart.initial: found 0s; allowed: 1ms to 1h; 1s suits most jobs",
            "spec.restart.resetAfter: found 1ms; allowed: 1s to 168h; 10m suits most jobs: after so long without a failure the delay starts small again",
            "spec.restart.budget: found -1; allowed: 0 to 1000000; 0 never restarts, leave it out to restart without end",
        ],
    );
    check(
        json!({ "upgrade": { "finalCheckpointTimeout": "0s", "deadline": "0s" } }),
        &[
            "spec.upgrade.finalCheckpointTimeout: found 0s; allowed: 10ms to 24h; 60s suits most jobs: after that the latest completed checkpoint is used",
            "spec.upgrade.deadline: found 0s; allowed: 1s to 168h; 5m suits most jobs: an upgrade without a checkpoint by then is rolled back",
        ],
    );
    check(
        json!({ "restartNonce": -1, "checkpointNonce": -2 }),
        &[
            "spec.restartNonce: found -1; allowed: 0 or more; write any number not used before, such as the last one plus 1",
            "spec.checkpointNonce: found -2; allowed: 0 or more; write any number not used before, such as the last one plus 1",
        ],
    );
}

#[test]
fn rules_between_fields_name_both_of_them() {
    check(json!({ "worker": { "slots": 4 }, "maxParallelism": 4 }), &[]);
    check(
        json!({ "worker": { "slots": 5 }, "maxParallelism": 4 }),
        &[
            "spec.worker.slots: found 5, a parallelism of 5, with a maxParallelism of 4; allowed: workers times slots up to spec.maxParallelism; lower spec.worker.slots, maxParallelism is fixed once the job was created",
        ],
    );
    check(json!({ "restart": { "initial": "1m", "max": "1m" } }), &[]);
    check(
        json!({ "restart": { "initial": "2m" } }),
        &[
            "spec.restart.max: found 1m with an initial delay of 2m; allowed: spec.restart.initial or longer; raise max or lower initial: delays grow from initial to max",
        ],
    );
}

#[test]
fn names_that_would_not_fit_everywhere_are_refused() {
    let check = |name: Option<&str>, expected: &[&str]| {
        let mut job = job(json!({}));
        job.metadata.name = name.map(str::to_owned);
        assert_eq!(refusals(&job, Surface::CommandLine), expected);
    };
    check(Some("a-1"), &[]);
    let allowed = "allowed: 1 to 45 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or digit";
    check(None, &[&format!("metadata.name: found nothing; {allowed}; give the job a name")]);
    check(Some("My-Job"), &[&format!("metadata.name: found \"My-Job\"; {allowed}; replace `M`")]);
    let long = "a".repeat(46);
    check(
        Some(&long),
        &[&format!(
            "metadata.name: found \"{long}\"; {allowed}; it has 46 characters: shorten it, the names of the job's objects are made from it"
        )],
    );
}

#[test]
fn texts_are_checked_although_the_schema_did() {
    check(
        json!({ "job": "no such/graph", "image": "weir 0.1" }),
        &[
            "spec.image: found \"weir 0.1\"; allowed: an image reference such as registry.example/weir:0.1.0; write it as you would for `docker pull`",
            "spec.job: found \"no such/graph\"; allowed: the name of a job graph: letters, digits, `-`, `_` and `.`, a letter or digit at both ends; `weir jobs` lists the graphs of a binary",
        ],
    );
    check(
        json!({ "storage": { "endpoint": "minio:9000", "region": "eu central", "credentials": { "secretName": "a/b" } } }),
        &[
            "spec.storage.endpoint: found \"minio:9000\"; allowed: http:// or https://, a host and perhaps a port, such as http://minio.storage:9000; begin with http:// or https://",
            "spec.storage.region: found \"eu central\"; allowed: a region such as eu-central-1; write letters, digits and `-` only",
            "spec.storage.credentials.secretName: found \"a/b\"; allowed: the name of a Secret in the job's namespace: lower-case letters, digits, `-` and `.`; write the name alone, without a namespace",
        ],
    );
    check(
        json!({ "savepoint": { "name": "../x", "nonce": -1 } }),
        &[
            "spec.savepoint.name: found \"../x\"; allowed: a name of lower-case letters, digits and `-`, a letter or digit at both ends; the savepoint becomes the folder savepoints/<name> under the job",
            "spec.savepoint.nonce: found -1; allowed: 0 or more; write any number not used before, such as the last one plus 1",
        ],
    );
}

#[test]
fn a_password_in_an_address_is_not_repeated() {
    let refused = refusals(&job(json!({ "storage": { "endpoint": "http://me:canary@minio" } })), Surface::Cluster);
    assert_eq!(
        refused,
        [
            "spec.storage.endpoint: found an address with credentials in it; allowed: http:// or https://, a host and perhaps a port, such as http://minio.storage:9000; remove the credentials: they come from a Secret or the environment"
        ]
    );
}

#[test]
fn a_directory_is_storage_on_the_command_line_only() {
    let local = job(json!({ "storage": { "uri": "file:///var/lib/weir" } }));
    assert_eq!(refusals(&local, Surface::CommandLine), [""; 0]);
    assert_eq!(
        refusals(&local, Surface::Cluster),
        [
            "spec.storage.uri: found file:///var/lib/weir; allowed: s3://bucket/prefix; name a bucket: pods share no directory, only `weir run` takes file://"
        ]
    );
    let none = job(json!({ "storage": null }));
    assert_eq!(resolve(&none, Surface::CommandLine).unwrap().storage, None);
    assert_eq!(
        refusals(&none, Surface::Cluster),
        [
            "spec.storage: found nothing; allowed: a uri such as s3://bucket/prefix; add spec.storage: a job on a cluster keeps its checkpoints in a bucket"
        ]
    );
    let mixed = job(json!({ "storage": {
        "uri": "file:///data", "endpoint": "http://minio", "region": "x", "credentials": { "secretName": "s" } } }));
    assert_eq!(
        refusals(&mixed, Surface::CommandLine),
        [
            "spec.storage.endpoint: found endpoint beside file:///data; allowed: endpoint beside s3://bucket/prefix; remove it: a directory has none",
            "spec.storage.region: found region beside file:///data; allowed: region beside s3://bucket/prefix; remove it: a directory has none",
            "spec.storage.credentials: found credentials beside file:///data; allowed: credentials beside s3://bucket/prefix; remove it: a directory has none",
        ]
    );
    let from_directory = job(json!({ "restoreFrom": { "savepoint": "file:///data/savepoints/x" } }));
    assert_eq!(refusals(&from_directory, Surface::CommandLine), [""; 0]);
    assert_eq!(
        refusals(&from_directory, Surface::Cluster),
        [
            "spec.restoreFrom.savepoint: found file:///data/savepoints/x; allowed: s3://bucket/prefix; name a bucket: pods share no directory, only `weir run` takes file://"
        ]
    );
}

#[test]
fn exactly_one_thing_is_restored_from() {
    let check = |patch: Value, expected: Result<RestoreFrom, &str>| {
        let resolved = resolve(&job(json!({ "restoreFrom": patch })), Surface::Cluster);
        match (resolved, expected) {
            (Ok(job), Ok(expected)) => assert_eq!(job.restore_from, Some(expected)),
            (Err(refused), Err(expected)) => {
                assert_eq!(refused.len(), 1);
                assert_eq!(refused[0].to_string(), expected);
            }
            (found, expected) => panic!("{patch}: {found:?}, expected {expected:?}"),
        }
    };
    let uri: StorageUri = "s3://weir/jobs/team-a/old".parse().unwrap();
    check(json!({ "journal": uri }), Ok(RestoreFrom::Journal(uri.clone())));
    check(json!({ "savepoint": uri }), Ok(RestoreFrom::Savepoint(uri)));
    check(json!({ "empty": true }), Ok(RestoreFrom::Empty));
    let checkpoint = |id, allow_duplicates| RestoreFrom::Checkpoint { id, allow_duplicates };
    check(json!({ "checkpoint": 17 }), Ok(checkpoint(17, false)));
    check(json!({ "checkpoint": 17, "allowDuplicates": true }), Ok(checkpoint(17, true)));
    check(json!({ "empty": true, "allowDuplicates": true }), Ok(RestoreFrom::Repeating(Box::new(RestoreFrom::Empty))));
    check(json!({ "empty": true, "allowDuplicates": false }), Ok(RestoreFrom::Empty));
    let one =
        "allowed: exactly one of journal, savepoint, checkpoint and empty; keep the one the job should start from";
    check(json!({}), Err(&format!("spec.restoreFrom: found none of them; {one}")));
    check(
        json!({ "checkpoint": 1, "empty": true }),
        Err(&format!("spec.restoreFrom: found checkpoint and empty; {one}")),
    );
    check(
        json!({ "journal": "s3://abc", "savepoint": "s3://abc", "checkpoint": 1 }),
        Err(&format!("spec.restoreFrom: found journal, savepoint and checkpoint; {one}")),
    );
    check(
        json!({ "empty": false }),
        Err("spec.restoreFrom.empty: found false; allowed: true; remove it to go on from the job's own journal"),
    );
    check(
        json!({ "checkpoint": -1 }),
        Err("spec.restoreFrom.checkpoint: found -1; allowed: 0 or more; `weir inspect checkpoints` lists the ids"),
    );
}

#[test]
fn a_job_belongs_to_its_namespace_and_uid_or_to_the_machine() {
    let on_cluster = resolve(&job(json!({})), Surface::Cluster).unwrap();
    assert_eq!((on_cluster.namespace.as_str(), on_cluster.owner.as_str()), ("team-a", "0b5e"));
    let local = resolve(&job(json!({})), Surface::CommandLine).unwrap();
    assert_eq!((local.namespace.as_str(), local.owner.as_str()), ("local", "local"));
    assert_eq!((on_cluster.revision_number, local.revision_number), (0, 0));
    let mut edited = job(json!({}));
    edited.metadata.generation = Some(7);
    let edited = resolve(&edited, Surface::Cluster).unwrap();
    assert_eq!(edited.revision_number, 14);
    assert_eq!(edited.revision(), on_cluster.revision(), "the number is no part of what runs");
    let mut unread = job(json!({}));
    unread.metadata.uid = None;
    unread.metadata.namespace = None;
    assert_eq!(
        refusals(&unread, Surface::Cluster),
        [
            "metadata.namespace: found nothing; allowed: the job's namespace; resolve the StreamJob as the API server returns it",
            "metadata.uid: found nothing; allowed: the StreamJob's uid; resolve the StreamJob as the API server returns it",
        ]
    );
}

#[test]
fn arguments_are_bounded_and_null_means_not_given() {
    let resolved = resolve(&job(json!({ "args": { "events": 5 } })), Surface::Cluster).unwrap();
    assert_eq!(resolved.args, BTreeMap::from([("events".to_owned(), json!(5))]));
    let mut with_null = job(json!({}));
    with_null.spec.args = Some(BTreeMap::from([("events".to_owned(), Value::Null)]));
    assert!(resolve(&with_null, Surface::Cluster).unwrap().args.is_empty());
    check(
        json!({ "args": { "text": "x".repeat(MAX_ARGS_BYTES) } }),
        &[
            "spec.args: found 262155 bytes as JSON; allowed: up to 262144 bytes; put large inputs into a file or a bucket that the graph reads",
        ],
    );
}

#[test]
fn cores_follow_slots_and_regions_follow_endpoints() {
    let resolved = resolve(&job(json!({ "worker": { "slots": 3 } })), Surface::Cluster).unwrap();
    assert_eq!((resolved.parallelism, resolved.cpu_millis), (3, 3000));
    assert_eq!(resolved.storage.unwrap().region, None);
    let minio = job(json!({ "storage": { "endpoint": "http://minio" } }));
    let region = resolve(&minio, Surface::Cluster).unwrap().storage.unwrap().region;
    assert_eq!(region.as_deref(), Some("us-east-1"));
}

/// Defaults that cannot be written as a value of the field.
const DEFAULTS_IN_WORDS: [&str; 13] = [
    "none",
    "any node",
    "the node's own disk",
    "the namespace's `default`",
    "none, required",
    "none given",
    "not used",
    "no request",
    "no limit",
    "one core per slot",
    "AWS",
    "the runtime image that belongs to the Weir operator",
    "us-east-1 with an endpoint, else the environment's",
];

/// Every field of the spec that is no object with fields of its own.
fn leaves() -> Vec<(FieldPath, &'static Value)> {
    fn collect(schema: &'static Value, path: &FieldPath, out: &mut Vec<(FieldPath, &'static Value)>) {
        for (name, field) in schema::properties(schema).into_iter().flatten() {
            match schema::properties(field) {
                Some(_) => collect(field, &path.key(name), out),
                None => out.push((path.key(name), field)),
            }
        }
    }
    let mut out = Vec::new();
    let spec = &schema::of_manifest()["properties"]["spec"];
    collect(spec, &FieldPath::from("spec"), &mut out);
    assert!(out.len() > 30, "{} fields", out.len());
    out
}

/// A patch of the spec that sets one field.
fn set(path: &FieldPath, value: Value) -> Value {
    path.steps()[1..].iter().rev().fold(value, |inner, step| match step {
        crate::path::Step::Key(name) => json!({ name.as_str(): inner }),
        crate::path::Step::Index(_) => unreachable!("the spec has no lists"),
    })
}

/// A documented value as a value of the field.
fn value_of(schema: &Value, text: &str) -> Value {
    match schema["type"].as_str() {
        Some("integer") => json!(text.parse::<i64>().unwrap()),
        Some("boolean") => json!(text.parse::<bool>().unwrap()),
        _ => json!(text),
    }
}

#[test]
fn a_pod_says_the_same_however_its_defaults_are_written() {
    let plain = resolve(&job(json!({})), Surface::Cluster).unwrap();
    let written =
        json!({ "imagePullPolicy": "IfNotPresent", "labels": {}, "nodeSelector": {}, "env": [], "tolerations": [] });
    assert_eq!(resolve(&job(json!({ "pod": written })), Surface::Cluster).unwrap(), plain);
}

#[test]
fn a_pod_is_closed_and_takes_nothing_that_is_ours() {
    let refused = |pod: Value| -> Vec<String> {
        let refused = resolve(&job(json!({ "pod": pod })), Surface::Cluster).err().unwrap_or_default();
        refused.iter().map(|invalid| format!("{}: found {}", invalid.path, invalid.found)).collect()
    };
    let variable = |name: &str| json!({ "env": [{ "name": name, "secretName": "s", "key": "k" }] });
    assert_eq!(refused(variable("TOKEN")), Vec::<String>::new());
    for name in RESERVED_ENV {
        assert_eq!(refused(variable(name)), [format!("spec.pod.env[0].name: found {name:?}")]);
    }
    assert_eq!(refused(variable("1A")).len(), 1);
    assert_eq!(
        refused(
            json!({ "env": [{ "name": "A", "secretName": "../s", "key": "k" }, { "name": "A", "secretName": "s", "key": "/" }] })
        ),
        [
            "spec.pod.env[0].secretName: found \"../s\"",
            "spec.pod.env[1].key: found \"/\"",
            "spec.pod.env[1].name: found \"A\"",
        ]
    );
    for label in
        ["weir.dev/job", "app.kubernetes.io/component", "a.k8s.io/x", "statefulset.kubernetes.io/pod-name", "a/b/c"]
    {
        assert_eq!(refused(json!({ "labels": { label: "x" } })).len(), 1, "{label}");
    }
    assert_eq!(refused(json!({ "labels": { "team": "a", "example.org/x": "" } })), Vec::<String>::new());
    assert_eq!(refused(json!({ "serviceAccount": "other/default" })).len(), 1);
    assert_eq!(refused(json!({ "tolerations": [{ "value": "x" }] })).len(), 1);
    assert_eq!(refused(json!({ "tolerations": [{ "operator": "Exists", "value": "x" }] })).len(), 1);
    let many: Vec<Value> = (0..33).map(|_| json!({ "operator": "Exists" })).collect();
    assert_eq!(refused(json!({ "tolerations": many })), ["spec.pod.tolerations: found 33 entries"]);
}

#[test]
fn every_field_documents_its_unit_and_its_true_default() {
    let base = json!({ "restoreFrom": { "checkpoint": 1 } });
    let expected = resolve(&job(base.clone()), Surface::Cluster).unwrap();
    for (path, schema) in leaves() {
        let described = schema::Described::of(schema);
        assert!(described.unit.is_some_and(|unit| !unit.is_empty()), "{path} has no unit");
        assert!(!described.summary.is_empty(), "{path} has no summary");
        let default = described.default.unwrap_or_else(|| panic!("{path} has no default"));
        if DEFAULTS_IN_WORDS.contains(&default.as_str()) {
            continue;
        }
        let mut patch = base.clone();
        merge(&mut patch, set(&path, value_of(schema, &default)));
        let resolved = resolve(&job(patch), Surface::Cluster);
        assert_eq!(resolved.as_ref(), Ok(&expected), "the documented default of {path} is not the real one");
    }
}

#[test]
fn every_documented_bound_is_the_one_that_is_enforced() {
    let mut bounded = 0;
    for (path, schema) in leaves() {
        let Some(allowed) = schema::Described::of(schema).allowed else {
            continue;
        };
        bounded += 1;
        let outside: Vec<Value> = match schema["type"].as_str() {
            Some("integer") => vec![json!(-1), json!(0), json!(i32::MAX)],
            Some("boolean") => vec![json!(false)],
            Some("string") => vec![json!("0s"), json!("2562047h")],
            _ => vec![json!("0"), json!("8E")],
        };
        let refused: Vec<Invalid> = outside
            .into_iter()
            .flat_map(|value| {
                let mut patch = json!({});
                if path == FieldPath::from("spec.savepoint.nonce") {
                    patch = json!({ "savepoint": { "name": "x" } });
                }
                merge(&mut patch, set(&path, value));
                resolve(&job(patch), Surface::Cluster).err().unwrap_or_default()
            })
            .filter(|invalid| invalid.path == path)
            .collect();
        let rules = schema["x-kubernetes-validations"].as_array();
        let says = format!("allowed: {allowed}; ");
        assert!(
            rules.is_some_and(|rules| rules.iter().any(|r| r["message"].as_str().unwrap().starts_with(&says))),
            "no rule of {path} says {allowed}"
        );
        assert!(
            refused.iter().any(|invalid| invalid.allowed == allowed),
            "{path} documents {allowed}, enforced is {refused:?}"
        );
    }
    assert!(bounded > 15, "{bounded} bounded fields");
}

#[test]
fn what_is_allowed_at_both_ends_is_accepted() {
    check(json!({ "worker": { "memory": "64Mi", "cpu": "10m", "disk": "64Mi" } }), &[]);
    check(json!({ "worker": { "memory": "4Ti", "cpu": 1024, "disk": "64Ti" } }), &[]);
    check(json!({ "maxParallelism": 32768, "worker": { "slots": 1024 } }), &[]);
    check(
        json!({ "checkpoint": { "interval": "10ms", "minPause": "24h", "retained": 100, "everyRecords": i64::MAX } }),
        &[],
    );
    check(json!({ "checkpoint": { "interval": "24h", "timeout": "10ms", "retained": 1, "everyBytes": 1 } }), &[]);
    check(json!({ "restart": { "initial": "1ms", "max": "1ms", "resetAfter": "168h", "budget": 0 } }), &[]);
}
