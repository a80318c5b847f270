//! The CustomResourceDefinition, made from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::StreamJob;
use crate::yaml;

/// The command that writes everything made from the types.
pub const COMMAND: &str = "cargo run --release -p weir-api --example crdgen";

/// The CustomResourceDefinition of `StreamJob`.
///
/// Against the derived one, no field is `nullable`: the API server then drops a `null` before defaults and rules see
/// it, so that `null` and leaving a field out are the same on every surface. Descriptions are single paragraphs.
pub fn crd() -> CustomResourceDefinition {
    let mut value = serde_json::to_value(StreamJob::crd()).expect("the derived CRD is JSON");
    tidy(&mut value);
    serde_json::from_value(value).expect("a tidied CRD is a CRD")
}

/// The text of `crds/streamjob.yaml`.
pub fn crd_yaml() -> String {
    let value = serde_json::to_value(crd()).expect("a CRD is JSON");
    format!("# Made by `{COMMAND}`, not by hand.\n{}", yaml::emit(&value))
}

/// The schema of a `StreamJob`, as the API server sees it.
pub fn schema() -> Value {
    let value = serde_json::to_value(crd()).expect("a CRD is JSON");
    value.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().expect("the CRD has one version with a schema")
}

pub(crate) fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // `properties` holds fields by name, and a field may be called anything.
            if members.get("nullable") == Some(&Value::Bool(true)) {
                members.remove("nullable");
            }
            if let Some(Value::String(text)) = members.get_mut("description") {
                *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
