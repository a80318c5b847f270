//! StreamJobs that must be refused: `tests/e2e/hostile/cases.yaml`, held against the reader of manifests, against what the
//! Weir operator resolves, and against the schema as an API server applies it. A real API server judges them in the e2e.

use std::collections::BTreeSet;

use regex::Regex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use weir_api::{Surface, crd, resolve, yaml};

use crate::read;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    case: String,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    metadata: Value,
    manifest: Option<String>,
    before: Option<Value>,
    existing: Option<Existing>,
    field: String,
    #[serde(default)]
    by: By,
    #[serde(default)]
    says: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Existing {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Schema,
    Condition,
    Cluster,
    Update,
    Reader,
}

fn cases() -> Vec<Case> {
    serde_yaml::from_str(&read("tests/e2e/hostile/cases.yaml")).unwrap()
}

impl Case {
    fn object(&self, spec: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": "victim" },
            "spec": { "job": "nexmark-q0", "storage": { "uri": "s3://weir/jobs" } },
        });
        merge(&mut object["metadata"], &self.metadata);
        merge(&mut object["spec"], spec);
        object
    }

    fn text(&self) -> String {
        self.manifest.clone().unwrap_or_else(|| yaml::emit(&self.object(&self.spec)))
    }
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
                    merge(target.entry(name).or_insert(json!({})), member);
                }
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// What a manifest's reader, or else resolving as the Weir operator does, says against it.
pub(crate) fn refusal(text: &str) -> Option<String> {
    let mut job = match yaml::from_str("case.yaml", text) {
        Ok(job) => job,
        Err(refused) => return Some(refused.to_string()),
    };
    job.metadata.namespace = Some("team-a".to_owned());
    job.metadata.uid = Some("0b5e".to_owned());
    let refused = resolve(&job, Surface::Cluster).err()?;
    Some(refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// What an API server says against it: the schema's structure under strict validation, and only then its rules.
pub(crate) fn api_server(object: &Value, old: Option<&Value>) -> String {
    let schema = crd::schema();
    let mut said = Vec::new();
    structure(&schema, object, "", &mut said);
    if said.is_empty() {
        let (object, old) = (defaulted(object), old.map(defaulted));
        let errors = kube_cel::Validator::new().validate(&schema, &object, old.as_ref());
        let errors = errors.map_or_else(|errors| errors.into_vec(), |()| Vec::new());
        said.extend(errors.into_iter().map(|e| format!("{}: Invalid value: {}", e.field_path, e.message)));
    }
    said.join("\n")
}

/// With the two defaults that the schema has.
fn defaulted(object: &Value) -> Value {
    let mut object = object.clone();
    let spec = object["spec"].as_object_mut().unwrap();
    for (name, default) in [("workers", 1), ("maxParallelism", 128)] {
        spec.entry(name).or_insert(json!(default));
    }
    object
}

fn structure(schema: &Value, value: &Value, path: &str, said: &mut Vec<String>) {
    let is_either = schema.get("x-kubernetes-int-or-string").is_some();
    let fits = match schema.get("type").and_then(Value::as_str) {
        _ if is_either => value.is_string() || value.is_i64(),
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("integer") => value.as_i64().is_some_and(|n| schema["format"] != "int32" || i32::try_from(n).is_ok()),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        _ => true,
    };
    if !fits {
        return said.push(format!("{path}: Invalid value: wrong type"));
    }
    match value {
        Value::Object(members) => object_structure(schema, members, path, said),
        Value::Array(items) => {
            if schema["maxItems"].as_u64().is_some_and(|max| items.len() as u64 > max) {
                said.push(format!("{path}: Too many"));
            }
            for (i, item) in items.iter().enumerate() {
                structure(&schema["items"], item, &format!("{path}[{i}]"), said);
            }
        }
        Value::String(text) => {
            let matches = |pattern: &str| Regex::new(pattern).unwrap().is_match(text);
            if schema["pattern"].as_str().is_some_and(|pattern| !matches(pattern)) {
                said.push(format!("{path}: Invalid value: should match"));
            }
            if schema["maxLength"].as_u64().is_some_and(|max| text.chars().count() as u64 > max) {
                said.push(format!("{path}: Too long"));
            }
            if schema["enum"].as_array().is_some_and(|names| !names.contains(value)) {
                said.push(format!("{path}: Unsupported value"));
            }
        }
        _ => {}
    }
}

fn object_structure(schema: &Value, members: &Map<String, Value>, path: &str, said: &mut Vec<String>) {
    let at = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            said.push(format!("{}: Required value", at(name)));
        }
    }
    for (name, member) in members {
        match (schema["properties"].get(name), schema.get("additionalProperties")) {
            (Some(field), _) => structure(field, member, &at(name), said),
            (None, Some(each)) => structure(each, member, &at(name), said),
            // The API server knows these itself.
            (None, None) if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
            (None, None) if schema.get("x-kubernetes-preserve-unknown-fields").is_some() => {}
            (None, None) => said.push(format!("unknown field {:?}", at(name))),
        }
    }
}

#[test]
fn the_hostile_jobs_are_many_and_each_is_told_apart() {
    let cases = cases();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.case.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    assert!(cases.len() >= 100, "{}", cases.len());
    for case in &cases {
        let by_text = case.manifest.is_some();
        assert_eq!(by_text, case.by == By::Reader, "{}: a text is for the reader", case.case);
        assert_eq!(case.before.is_some(), case.by == By::Update, "{}", case.case);
        assert_eq!(case.says.is_empty(), case.by == By::Reader, "{}: what is said?", case.case);
        if let Some(existing) = &case.existing {
            assert_eq!((case.by, existing.name.as_str()), (By::Cluster, "victim"), "{}", existing.kind);
        }
    }
}

#[test]
fn the_job_that_all_hostile_ones_are_made_from_is_taken() {
    let base: Case = serde_json::from_value(json!({ "case": "none", "field": "" })).unwrap();
    assert_eq!(refusal(&base.text()), None);
    assert_eq!(api_server(&base.object(&Value::Null), None), "");
}

#[test]
fn every_hostile_job_is_refused_where_its_field_is_named() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found = refusal(&case.text());
        let expected = match case.by {
            By::Schema | By::Condition | By::Reader => found.as_deref().is_some_and(|said| said.contains(&case.field)),
            By::Cluster | By::Update => found.is_none(),
        };
        if !expected {
            wrong.push(format!("{} ({:?}, {}): {found:?}", case.case, case.by, case.field));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_schema_alone_refuses_what_never_reaches_the_operator() {
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.by != By::Reader) {
        let old = case.before.as_ref().map(|before| case.object(before));
        let said = api_server(&case.object(&case.spec), old.as_ref());
        let expected = match case.by {
            By::Schema | By::Update => said.contains(&case.says),
            By::Condition | By::Cluster | By::Reader => said.is_empty(),
        };
        if !expected {
            wrong.push(format!("{} ({:?}, {}): {said:?}", case.case, case.by, case.says));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
