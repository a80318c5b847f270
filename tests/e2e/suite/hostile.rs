//! StreamJobs that must be refused: the list of `tests/e2e/hostile`, before a real API server and a real Weir operator.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cluster::Cluster;
use crate::command::{Answer, eventually};

const NAMESPACE: &str = "hostile";
/// How long the operator may take to say what is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

struct Case(Value);

impl Case {
    fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    fn by(&self) -> &str {
        self.0["by"].as_str().unwrap_or("schema")
    }

    /// The valid job with `spec` laid over it. It would not run even if it were taken.
    fn object(&self, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": "victim", "namespace": NAMESPACE },
            "spec": { "job": "nexmark-q0", "storage": { "uri": "s3://weir/jobs" } },
        });
        merge(&mut object["metadata"], &self.0["metadata"]);
        merge(&mut object["spec"], spec);
        object
    }
}

fn cases(by: &[&str]) -> Vec<Case> {
    let path = Path::new("hostile/cases.yaml");
    let text = std::fs::read_to_string(path).expect("the list is there");
    let all: Vec<Value> = serde_yaml::from_str(&text).expect("the list is YAML");
    let chosen: Vec<Case> = all.into_iter().map(Case).filter(|case| by.contains(&case.by())).collect();
    assert!(!chosen.is_empty());
    chosen
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (_, Value::Null) => {}
        (Value::Object(target), Value::Object(patch)) => {
            for (name, member) in patch {
                if member.is_null() {
                    target.remove(name);
                } else {
                    merge(target.entry(name).or_insert(Value::Object(Map::new())), member);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// `kubectl create` or `replace` as people call it: the API server is strict.
fn send(cluster: &Cluster, word: &str, object: &Value) -> Answer {
    cluster.kubectl_with(&[word, "--validate=strict", "-f", "-"], &object.to_string())
}

/// A replacement that met another write was not judged: it is sent again.
fn replace(cluster: &Cluster, object: &Value) -> Answer {
    eventually("a replacement meets no other write", PATIENCE, || {
        let answer = send(cluster, "replace", object);
        if answer.err.contains("the object has been modified") { Err(answer.err) } else { Ok(answer) }
    })
}

fn remove(cluster: &Cluster) {
    cluster.must(&["-n", NAMESPACE, "delete", "streamjobs", "--all", "--wait=true", "--timeout=60s"]);
}

/// What never reaches the operator.
pub fn refused_by_the_api_server(cluster: &Cluster) {
    cluster.operator();
    cluster.namespace(NAMESPACE);
    let mut wrong = Vec::new();
    let cases = cases(&["schema", "update"]);
    for case in &cases {
        let suspended = json!({ "desiredState": "Suspended" });
        let mut object = case.object(&case.0["spec"]);
        let answer = if case.by() == "update" {
            let mut before = case.object(&case.0["before"]);
            merge(&mut before["spec"], &suspended);
            merge(&mut object["spec"], &suspended);
            let created = send(cluster, "create", &before);
            assert!(created.ok, "{}: {}", case.text("case"), created.err);
            replace(cluster, &object)
        } else {
            send(cluster, "create", &object)
        };
        if answer.ok || !answer.err.contains(case.text("says")) {
            wrong.push(format!("{} ({}): {}{}", case.text("case"), case.text("says"), answer.out, answer.err));
        }
        if answer.ok || case.by() == "update" {
            remove(cluster);
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    println!("  {} jobs refused", cases.len());
}

/// What the schema cannot see ends as a condition that names the field; nothing runs, nothing foreign is touched.
pub fn refused_by_the_operator(cluster: &Cluster) {
    cluster.operator();
    cluster.namespace(NAMESPACE);
    let cases = cases(&["condition", "cluster"]);
    for case in &cases {
        let name = case.text("case");
        let existing = case.0["existing"]["kind"].as_str().map(|kind| {
            cluster.apply(&foreign(kind).to_string());
            format!("{}/victim", kind.to_lowercase())
        });
        let before = existing.as_deref().map(|what| identity(&cluster.get(NAMESPACE, what)));
        let answer = send(cluster, "create", &case.object(&case.0["spec"]));
        assert!(answer.ok, "{name}: {}", answer.err);
        eventually(name, PATIENCE, || {
            let status = cluster.get(NAMESPACE, "streamjob/victim")["status"].clone();
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let says = |condition: &Value| {
                condition["type"] == "Ready"
                    && condition["status"] == "False"
                    && condition["message"].as_str().is_some_and(|message| message.contains(case.text("says")))
            };
            if conditions.iter().any(says) { Ok(()) } else { Err(status.to_string()) }
        });
        let pods = cluster.must(&["-n", NAMESPACE, "get", "pods", "-o", "name"]);
        assert_eq!(pods.trim(), "", "{name}: something runs");
        remove(cluster);
        if let Some(what) = existing {
            assert_eq!(
                Some(identity(&cluster.get(NAMESPACE, &what))),
                before,
                "{name}: the foreign object was changed"
            );
            cluster.must(&["-n", NAMESPACE, "delete", &what, "--wait=true", "--timeout=60s"]);
        }
    }
    println!("  {} jobs refused", cases.len());
}

/// An object of someone else with the job's name.
fn foreign(kind: &str) -> Value {
    let labels = json!({ "of": "someone-else" });
    let selector = json!({ "matchLabels": labels });
    let (group, spec) = match kind {
        "StatefulSet" => {
            let template =
                json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "a", "image": "a" }] } });
            ("apps/v1", json!({ "replicas": 0, "serviceName": "a", "selector": selector, "template": template }))
        }
        "Service" => ("v1", json!({ "selector": labels, "ports": [{ "port": 80 }] })),
        "PodDisruptionBudget" => ("policy/v1", json!({ "maxUnavailable": 1, "selector": selector })),
        "NetworkPolicy" => ("networking.k8s.io/v1", json!({ "podSelector": selector, "policyTypes": ["Ingress"] })),
        other => panic!("no such kind in the list: {other}"),
    };
    json!({ "apiVersion": group, "kind": kind, "metadata": { "name": "victim", "namespace": NAMESPACE }, "spec": spec })
}

/// Who an object is, and what was asked of it.
fn identity(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!([metadata["uid"], metadata["labels"], metadata["ownerReferences"], metadata["annotations"], object["spec"]])
}
