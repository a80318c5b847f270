//! `spec.pod`: what patterns cannot say, and an upper bound for each list.

use std::collections::BTreeMap;

use crate::form;
use crate::invalid::{Invalid, quoted};
use crate::path::FieldPath;
use crate::spec::{ImagePullPolicy, PodSpec, TolerationOperator};

/// Variables that Weir sets itself.
pub const RESERVED_ENV: [&str; 4] = ["POD_NAME", "POD_UID", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// The most labels, node labels and pull secrets.
const MAX_ENTRIES: usize = 32;

/// The same pod with nothing written that is the default anyway: no other revision for other words.
pub(super) fn resolve_pod(pod: &PodSpec) -> PodSpec {
    let PodSpec { node_selector, tolerations, image_pull_policy, image_pull_secrets, labels, env, service_account } =
        pod.clone();
    PodSpec {
        node_selector: node_selector.filter(|map| !map.is_empty()),
        tolerations: tolerations.filter(|list| !list.is_empty()),
        image_pull_policy: image_pull_policy.filter(|policy| *policy != ImagePullPolicy::default()),
        image_pull_secrets: image_pull_secrets.filter(|list| !list.is_empty()),
        labels: labels.filter(|map| !map.is_empty()),
        env: env.filter(|list| !list.is_empty()),
        service_account,
    }
}

/// Everything that is wrong with the pod part.
pub(super) fn check_pod(pod: &PodSpec) -> Vec<Invalid> {
    let PodSpec { node_selector, tolerations, image_pull_policy: _, image_pull_secrets, labels, env, service_account } =
        pod;
    let mut refused = Vec::new();
    let root = FieldPath::from("spec.pod");
    let mut text = |path: FieldPath, value: &str, form: &form::Form| {
        if let Err(hint) = form.check(value) {
            refused.push(Invalid::new(path, quoted(value), form.allowed, hint));
        }
    };
    for (name, map) in [("nodeSelector", node_selector), ("labels", labels)] {
        for (key, value) in map.iter().flatten() {
            text(root.key(name).key(key), key, &form::LABEL_KEY);
            text(root.key(name).key(key), value, &form::LABEL_VALUE);
        }
    }
    for (i, name) in image_pull_secrets.iter().flatten().enumerate() {
        text(root.key("imagePullSecrets").index(i), name, &form::SECRET);
    }
    for (i, variable) in env.iter().flatten().enumerate() {
        let at = root.key("env").index(i);
        text(at.key("name"), &variable.name, &form::ENV);
        text(at.key("secretName"), &variable.secret_name, &form::SECRET);
        text(at.key("key"), &variable.key, &form::SECRET_KEY);
    }
    if let Some(name) = service_account {
        text(root.key("serviceAccount"), name, &form::ACCOUNT);
    }
    for (i, toleration) in tolerations.iter().flatten().enumerate() {
        let at = root.key("tolerations").index(i);
        if let Some(key) = &toleration.key {
            text(at.key("key"), key, &form::LABEL_KEY);
        }
        if let Some(value) = &toleration.value {
            text(at.key("value"), value, &form::LABEL_VALUE);
        }
    }
    refused.extend(reserved(&root, labels, pod));
    refused.extend(contradictions(&root, pod));
    refused.extend(too_many(&root, pod));
    refused
}

fn reserved(root: &FieldPath, labels: &Option<BTreeMap<String, String>>, pod: &PodSpec) -> Vec<Invalid> {
    let mut refused = Vec::new();
    for key in labels.iter().flatten().map(|(key, _)| key) {
        let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
        let taken = ["weir.dev", "app.kubernetes.io", "kubernetes.io", "k8s.io"];
        let is_taken = taken.iter().any(|taken| prefix == *taken || prefix.ends_with(&format!(".{taken}")))
            || key.starts_with("statefulset.")
            || ["controller-revision-hash", "pod-template-hash"].contains(&key.as_str());
        if is_taken {
            let path = root.key("labels").key(key);
            refused.push(Invalid::new(path, quoted(key), "a label with a prefix of your own", "rename the label"));
        }
    }
    let mut seen = Vec::new();
    for (i, variable) in pod.env.iter().flatten().enumerate() {
        let path = root.key("env").index(i).key("name");
        if RESERVED_ENV.contains(&variable.name.as_str()) {
            let hint = "Weir sets it: name the bucket's Secret in spec.storage.credentials";
            refused.push(Invalid::new(path.clone(), quoted(&variable.name), "another name", hint));
        }
        if seen.contains(&variable.name.as_str()) {
            refused.push(Invalid::new(path, quoted(&variable.name), "each name once", "remove one of them"));
        }
        seen.push(&variable.name);
    }
    refused
}

fn contradictions(root: &FieldPath, pod: &PodSpec) -> Vec<Invalid> {
    let mut refused = Vec::new();
    for (i, toleration) in pod.tolerations.iter().flatten().enumerate() {
        let at = root.key("tolerations").index(i);
        match toleration.operator.unwrap_or_default() {
            TolerationOperator::Exists if toleration.value.is_some() => {
                refused.push(Invalid::new(at.key("value"), "a value", "none with Exists", "remove it or write Equal"));
            }
            TolerationOperator::Equal if toleration.key.is_none() => {
                refused.push(Invalid::new(at.key("key"), "nothing", "a key with Equal", "add it or write Exists"));
            }
            TolerationOperator::Exists | TolerationOperator::Equal => {}
        }
    }
    refused
}

fn too_many(root: &FieldPath, pod: &PodSpec) -> Vec<Invalid> {
    let lengths = [
        ("nodeSelector", pod.node_selector.as_ref().map_or(0, BTreeMap::len), MAX_ENTRIES),
        ("labels", pod.labels.as_ref().map_or(0, BTreeMap::len), MAX_ENTRIES),
        ("imagePullSecrets", pod.image_pull_secrets.as_ref().map_or(0, Vec::len), MAX_ENTRIES),
        ("tolerations", pod.tolerations.as_ref().map_or(0, Vec::len), MAX_ENTRIES),
        ("env", pod.env.as_ref().map_or(0, Vec::len), 2 * MAX_ENTRIES),
    ];
    lengths
        .into_iter()
        .filter(|(_, length, most)| length > most)
        .map(|(name, length, most)| {
            Invalid::new(root.key(name), format!("{length} entries"), format!("up to {most}"), "remove some of them")
        })
        .collect()
}
