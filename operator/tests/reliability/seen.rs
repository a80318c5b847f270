//! What the API server holds of one job, as values, and the same without what differs from run to run: uids, times, hashes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::server::Server;

/// Where the objects are that a job may own.
const KINDS: [(&str, &str); 8] = [
    ("StreamJob", "/apis/weir.dev/v1alpha1/namespaces/{}/streamjobs"),
    ("StatefulSet", "/apis/apps/v1/namespaces/{}/statefulsets"),
    ("Pod", "/api/v1/namespaces/{}/pods"),
    ("ConfigMap", "/api/v1/namespaces/{}/configmaps"),
    ("Secret", "/api/v1/namespaces/{}/secrets"),
    ("Service", "/api/v1/namespaces/{}/services"),
    ("PodDisruptionBudget", "/apis/policy/v1/namespaces/{}/poddisruptionbudgets"),
    ("NetworkPolicy", "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"),
];

/// The annotation with what is deployed.
const RECORD: &str = "weir.dev/deployment";

/// Everything in a namespace that an operator manages.
pub struct Seen {
    namespace: String,
    objects: BTreeMap<&'static str, Vec<Value>>,
}

/// Objects by kind and name, each as text.
pub type Dump = BTreeMap<String, String>;

impl Seen {
    /// Reads all of it.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn read(server: &Server, namespace: &str) -> Result<Self, String> {
        let mut objects = BTreeMap::new();
        for (kind, path) in KINDS {
            let request = http::Request::get(path.replace("{}", namespace)).body(Vec::new()).unwrap();
            let found: Value = server.admin.request(request).await.map_err(|error| error.to_string())?;
            let mut items = found["items"].as_array().cloned().unwrap_or_default();
            items.retain(|item| item["metadata"]["name"] != "weir-authority");
            objects.insert(kind, items);
        }
        Ok(Self { namespace: namespace.to_owned(), objects })
    }

    /// All objects of a kind.
    pub fn all(&self, kind: &str) -> &[Value] {
        &self.objects[kind]
    }

    /// The only object of a kind.
    pub fn one(&self, kind: &str) -> Result<&Value, String> {
        match self.all(kind) {
            [one] => Ok(one),
            others => Err(format!("{} objects of kind {kind}", others.len())),
        }
    }

    /// What the operator wrote down of the deployment.
    pub fn record(&self) -> Result<Value, String> {
        let text = self.one("StatefulSet")?["metadata"]["annotations"][RECORD].as_str().unwrap_or_default().to_owned();
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.objects.values().map(Vec::len).sum()
    }

    /// What must be the same however the operator was disturbed. Certificates are left out: what was issued and not used
    /// stays until the job goes.
    pub fn dump(&self) -> Dump {
        let names = self.names();
        let mut dump = Dump::new();
        for (kind, objects) in &self.objects {
            for object in objects.iter().filter(|_| *kind != "Secret") {
                let mut text = serde_json::to_string_pretty(&normalised(kind, object)).unwrap();
                for (from, to) in &names {
                    text = text.replace(from, to);
                }
                let name = names.iter().fold(name_of(object), |name, (from, to)| name.replace(from, to));
                dump.insert(format!("{kind} {name}"), text);
            }
        }
        dump
    }

    /// Names that differ from run to run, longest first, and what stands for them.
    fn names(&self) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for config in self.all("ConfigMap") {
            let job: Value =
                serde_json::from_str(config["data"]["job.json"].as_str().unwrap_or("{}")).unwrap_or_default();
            let name = name_of(config);
            let to = format!("<config {}>", job["revisionNumber"]);
            if let Some((_, hash)) = name.rsplit_once('-') {
                names.push((format!("check-{hash}"), format!("check-{to}")));
            }
            names.push((name, to));
        }
        for secret in self.all("Secret") {
            names.push((name_of(secret), "<certificate>".to_owned()));
        }
        for job in self.all("StreamJob") {
            names.push((text(&job["metadata"]["uid"]), "<uid>".to_owned()));
        }
        for set in self.all("StatefulSet") {
            names.push((text(&set["metadata"]["uid"]), "<set>".to_owned()));
        }
        names.push((self.namespace.clone(), "<namespace>".to_owned()));
        names.retain(|(from, _)| !from.is_empty());
        names.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        names
    }
}

/// Where two dumps differ.
pub fn difference(expected: &Dump, found: &Dump) -> String {
    use std::fmt::Write;
    let mut words = String::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        match (expected.get(key), found.get(key)) {
            (Some(expected), Some(found)) if expected == found => {}
            (Some(expected), Some(found)) => {
                writeln!(words, "{key} differs:").unwrap();
                let (a, b): (Vec<_>, Vec<_>) = (expected.lines().collect(), found.lines().collect());
                a.iter().filter(|line| !b.contains(line)).for_each(|line| writeln!(words, "  - {line}").unwrap());
                b.iter().filter(|line| !a.contains(line)).for_each(|line| writeln!(words, "  + {line}").unwrap());
            }
            (Some(_), None) => writeln!(words, "{key} is missing").unwrap(),
            (None, _) => writeln!(words, "{key} should not be there").unwrap(),
        }
    }
    words
}

fn normalised(kind: &str, object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    annotations.remove("weir.dev/applied");
    if let Some(record) = annotations.get(RECORD).and_then(Value::as_str) {
        let mut record: Value = serde_json::from_str(record).unwrap();
        let members = record.as_object_mut().unwrap();
        // Its numbers are times and what depends on how often something was tried.
        members.remove("serial");
        for time in ["certifiedAt", "unprovenSince", "rescaledAt"] {
            if members.contains_key(time) {
                members.insert(time.to_owned(), json!("<time>"));
            }
        }
        annotations.insert(RECORD.to_owned(), record);
    }
    let mut labels = metadata["labels"].as_object().cloned().unwrap_or_default();
    labels.remove("controller-revision-hash");
    let mut said = json!({
        "labels": labels,
        "annotations": annotations,
        "owners": metadata["ownerReferences"],
        "finalizers": metadata["finalizers"],
        "isDeleting": metadata.get("deletionTimestamp").is_some(),
    });
    match kind {
        "Pod" => {
            said["phase"] = object["status"]["phase"].clone();
            said["volumes"] = Value::Array(
                object["spec"]["volumes"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|v| v["name"] != "local")
                    .cloned()
                    .collect(),
            );
            said["image"] = object["spec"]["containers"][0]["image"].clone();
        }
        "StatefulSet" => {
            said["spec"] = object["spec"].clone();
            said["pods"] = object["status"]["replicas"].clone();
            said["ready"] = object["status"]["readyReplicas"].clone();
        }
        "StreamJob" => {
            said["spec"] = object["spec"].clone();
            said["status"] = status(&object["status"]);
        }
        "ConfigMap" => said["data"] = object["data"].clone(),
        _ => said["spec"] = object["spec"].clone(),
    }
    said
}

/// A status without times, and without what goes on by itself.
fn status(status: &Value) -> Value {
    let kept = [
        "observedGeneration",
        "state",
        "health",
        "image",
        "jobId",
        "workers",
        "readyWorkers",
        "restarts",
        "restartsByReason",
        "lastFailure",
        "savepoint",
    ];
    let mut said = Map::new();
    for name in kept {
        said.insert(name.to_owned(), status[name].clone());
    }
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.map(|condition| {
        json!([
            condition["type"],
            condition["status"],
            condition["reason"],
            condition["message"],
            condition["observedGeneration"]
        ])
    });
    said.insert("conditions".to_owned(), conditions.collect());
    Value::Object(said)
}

fn name_of(object: &Value) -> String {
    text(&object["metadata"]["name"])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
