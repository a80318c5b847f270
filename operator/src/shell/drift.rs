//! Whether an object is still what was applied. Pure.
//!
//! The mark on an object ([`APPLIED`]) says what was applied, not what is there: somebody may have edited it since. So what is
//! there is held against what is built, field by field. What others add is theirs (defaults of the API server, labels,
//! further containers); what is ours must be there as we set it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;
use weir_api::Quantity;
use xxhash_rust::xxh3::xxh3_64;

use super::apply::{Ours, is_of};
use super::trim::trim_meta;
use crate::names::{APPLIED, JOB, JOB_UID, Job};

/// In place of the mark of what was applied, in what we remember of an object: it has been changed since.
pub const DRIFTED: &str = "drifted";

/// Whether everything that `desired` sets is in `live`.
pub fn covers<K: Serialize>(live: &K, desired: &K) -> bool {
    let value = |object: &K| serde_json::to_value(object).expect("an object is JSON");
    has(&value(live), &value(desired))
}

fn has(live: &Value, desired: &Value) -> bool {
    match (live, desired) {
        (Value::Object(live), Value::Object(desired)) => desired.iter().all(|(name, wanted)| match live.get(name) {
            Some(found) => has(found, wanted),
            None => is_nothing(wanted),
        }),
        (Value::Array(live), Value::Array(desired)) if desired.iter().all(|item| name_of(item).is_some()) => {
            let found = |item: &Value| live.iter().find(|live| name_of(live) == name_of(item));
            desired.iter().all(|wanted| found(wanted).is_some_and(|found| has(found, wanted)))
        }
        (Value::String(live), Value::String(desired)) => live == desired || is_same_quantity(live, desired),
        // Lists without names are one value: a further rule of a policy is another policy.
        (Value::Array(live), Value::Array(desired)) => {
            let is_same = |(live, desired)| has(live, desired) && has(desired, live);
            live.len() == desired.len() && live.iter().zip(desired).all(is_same)
        }
        (live, desired) => live == desired,
    }
}

/// What the API server leaves out.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn name_of(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

/// The API server writes quantities in its own way.
fn is_same_quantity(live: &str, desired: &str) -> bool {
    let parsed = |text: &str| text.parse::<Quantity>().ok();
    matches!((parsed(live), parsed(desired)), (Some(live), Some(desired)) if live == desired)
}

/// What is remembered of an object that is built from its job's name alone: its metadata, with [`DRIFTED`] for its mark if it is
/// not what `build` makes.
pub fn remembered<K: Ours>(object: &K, build: impl Fn(&Job) -> K) -> ObjectMeta {
    let mut meta = object.meta().clone();
    let label = |key: &str| object.labels().get(key).cloned();
    if let (Some(namespace), Some(name), Some(uid)) = (object.namespace(), label(JOB), label(JOB_UID)) {
        let job = Job { namespace, name, uid };
        if is_of(&meta, &job) && !covers(object, &build(&job)) {
            meta.annotations.get_or_insert_default().insert(APPLIED.to_owned(), DRIFTED.to_owned());
        }
    }
    trim_meta(&mut meta, &[], &[APPLIED]);
    meta
}

/// The hash of anything that is JSON.
pub fn hash<K: Serialize>(value: &K) -> String {
    let text = serde_json::to_string(value).expect("an object is JSON");
    format!("{:016x}", xxh3_64(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::networking::v1::NetworkPolicy;
    use serde_json::json;

    use super::*;
    use crate::build::{self, build_disruption_budget, build_network_policy, build_service};

    fn job() -> Job {
        Job { namespace: "team-a".into(), name: "q5".into(), uid: "0b5e".into() }
    }

    #[test]
    fn what_others_add_is_theirs_and_what_is_ours_must_be_as_we_set_it() {
        for (live, desired, expected) in [
            (json!({ "a": 1, "b": 2 }), json!({ "a": 1 }), true),
            (json!({ "a": 2 }), json!({ "a": 1 }), false),
            (json!({}), json!({ "a": false }), false),
            (json!({}), json!({ "a": [], "b": {}, "c": "", "d": null }), true),
            (json!([{ "name": "x", "image": "i" }, { "name": "y" }]), json!([{ "name": "x" }]), true),
            (json!([{ "name": "y" }]), json!([{ "name": "x" }]), false),
            (json!([1, 2]), json!([1]), false),
            (json!([{ "from": [1], "ports": [2] }]), json!([{ "ports": [2] }]), false),
            (json!([{ "key": "k" }]), json!([{ "key": "k", "value": "" }]), true),
            (json!("512Mi"), json!("0.5Gi"), true),
            (json!("512Mi"), json!("1Gi"), false),
            (json!("2"), json!("2000m"), true),
        ] {
            assert_eq!(has(&live, &desired), expected, "{live} {desired}");
        }
    }

    /// What is remembered of a policy after `edit`.
    fn mark(edit: impl Fn(&mut NetworkPolicy)) -> Option<String> {
        let context = build::Context { operator_namespace: "weir-system".into(), image: "weir:1".into() };
        let mut live = build_network_policy(&job(), &context);
        live.metadata.annotations.get_or_insert_default().insert(APPLIED.to_owned(), "mark".to_owned());
        edit(&mut live);
        let meta = remembered(&live, |job| build_network_policy(job, &context));
        meta.annotations.and_then(|mut all| all.remove(APPLIED))
    }

    #[test]
    fn an_object_that_was_edited_loses_its_mark() {
        assert_eq!(mark(|_| ()).as_deref(), Some("mark"));
        assert_eq!(mark(|live| _ = live.labels_mut().insert("team".into(), "a".into())).as_deref(), Some("mark"));
        assert_eq!(mark(|live| live.spec.as_mut().unwrap().ingress = None).as_deref(), Some(DRIFTED));
        assert_eq!(mark(|live| _ = live.labels_mut().remove("app.kubernetes.io/name")).as_deref(), Some(DRIFTED));
        let opened = |live: &mut NetworkPolicy| {
            let rules = live.spec.as_mut().unwrap().ingress.as_mut().unwrap();
            rules.push(Default::default());
        };
        assert_eq!(mark(opened).as_deref(), Some(DRIFTED), "a rule that lets everybody in");
        let foreign = |live: &mut NetworkPolicy| {
            live.metadata.owner_references = None;
            live.spec = None;
        };
        assert_eq!(mark(foreign).as_deref(), Some("mark"), "what is not ours is never written to");
    }

    #[test]
    fn defaults_of_the_api_server_are_no_drift() {
        let mut service = build_service(&job());
        let spec = service.spec.as_mut().unwrap();
        spec.cluster_ips = Some(vec!["None".into()]);
        spec.type_ = Some("ClusterIP".into());
        spec.session_affinity = Some("None".into());
        assert!(covers(&service, &build_service(&job())));
        service.spec.as_mut().unwrap().publish_not_ready_addresses = Some(false);
        assert!(!covers(&service, &build_service(&job())));
        let mut budget = build_disruption_budget(&job());
        budget.status = Some(Default::default());
        assert!(covers(&budget, &build_disruption_budget(&job())));
    }
}
