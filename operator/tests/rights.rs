//! The chart's roles grant what `permissions` lists, nothing more and nothing less.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use weir_operator::permissions::{CLUSTER, OWN, Rule, WATCHED};

type Grant = (String, String, String, String);

/// One line per group, resource, name and verb.
fn listed(rules: &[&[Rule]]) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    for rule in rules.iter().copied().flatten() {
        let names: &[&str] = if rule.names.is_empty() { &[""] } else { rule.names };
        for name in names {
            let grant = |verb: &&str| (rule.group.into(), rule.resource.into(), (*name).into(), (*verb).into());
            grants.extend(rule.verbs.iter().map(grant));
        }
    }
    grants
}

/// The same of a role in a rendered chart.
fn granted(snapshot: &str, kind: &str, role: &str) -> BTreeSet<Grant> {
    let path = Path::new("../tests/golden/chart").join(snapshot);
    let text = std::fs::read_to_string(path).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let is_role = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == role;
    let role = documents.into_iter().find(is_role).unwrap();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut grants = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        let mut names = texts(&rule["resourceNames"]);
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for name in &names {
                    let grant = |verb| (group.clone(), resource.clone(), name.clone(), verb);
                    grants.extend(texts(&rule["verbs"]).into_iter().map(grant));
                }
            }
        }
    }
    grants
}

#[test]
fn the_charts_roles_grant_what_is_listed() {
    assert_eq!(granted("default.yaml", "ClusterRole", "weir-operator-jobs"), listed(&[WATCHED, CLUSTER]));
    assert_eq!(granted("one-namespace.yaml", "Role", "weir-operator-jobs"), listed(&[WATCHED]));
    for snapshot in ["default.yaml", "one-namespace.yaml"] {
        assert_eq!(granted(snapshot, "Role", "weir-operator"), listed(&[OWN]));
    }
}
