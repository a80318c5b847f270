//! What is kept of each watched object: what looks need, and nothing else. Pure.
//!
//! A thousand jobs have six thousand objects, and most of an object is what only others read: who set which field, labels,
//! a pod's spec, the conditions of its life.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{ConfigMap, ContainerStatus, Pod, PodSpec, PodStatus, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::PartialObjectMeta;
use weir_api::StreamJob;

use super::drift::hash;
use crate::names::{COMPONENT, CONFIG, JOB, JOB_UID, LIVE};

/// Of a job everything but what others wrote on it.
pub fn trim_job(job: &mut StreamJob) {
    trim_meta(&mut job.metadata, &[], &[]);
    if let Some(status) = &mut job.status {
        status.conditions.shrink_to_fit();
        status.checkpoints.shrink_to_fit();
    }
}

/// Of a ConfigMap that it is there, and whose it is.
pub fn trim_config(config: &mut PartialObjectMeta<ConfigMap>) {
    trim_meta(&mut config.metadata, &[], &[]);
}

/// Of a StatefulSet its replicas and its record; of its pods' template a hash.
pub fn trim_stateful_set(set: &mut StatefulSet) {
    set.metadata.managed_fields = None;
    set.metadata.labels = None;
    shrink(&mut set.metadata);
    if let Some(spec) = &mut set.spec {
        let replicas = spec.replicas.take();
        set.metadata.annotations.get_or_insert_default().insert(LIVE.to_owned(), hash(spec));
        *spec = StatefulSetSpec {
            replicas,
            template: PodTemplateSpec::default(),
            selector: LabelSelector::default(),
            ..StatefulSetSpec::default()
        };
    }
    if let Some(status) = &mut set.status {
        *status = StatefulSetStatus { ready_replicas: status.ready_replicas, ..StatefulSetStatus::default() };
    }
}

/// Of a pod which it is, where it is, and how it is.
pub fn trim_pod(pod: &mut Pod) {
    trim_meta(&mut pod.metadata, &[JOB, JOB_UID, COMPONENT], &[CONFIG]);
    pod.metadata.owner_references = None;
    if let Some(spec) = &mut pod.spec {
        *spec = PodSpec { node_name: spec.node_name.take(), ..PodSpec::default() };
    }
    if let Some(status) = &mut pod.status {
        let PodStatus { phase, reason, message, pod_ip, conditions, container_statuses, .. } = std::mem::take(status);
        let is_read = |kind: &str| kind == "PodScheduled" || kind == "Ready";
        let conditions =
            conditions.map(|all| all.into_iter().filter(|condition| is_read(&condition.type_)).collect::<Vec<_>>());
        let containers = container_statuses.map(|all| all.into_iter().map(trim_container).collect());
        *status = PodStatus {
            phase,
            reason,
            message,
            pod_ip,
            conditions,
            container_statuses: containers,
            ..PodStatus::default()
        };
    }
}

fn trim_container(status: ContainerStatus) -> ContainerStatus {
    let ContainerStatus { name, state, last_state, restart_count, ready, .. } = status;
    ContainerStatus { name, state, last_state, restart_count, ready, ..ContainerStatus::default() }
}

/// Leaves these labels and annotations, and not who set which field.
pub fn trim_meta(meta: &mut ObjectMeta, labels: &[&str], annotations: &[&str]) {
    meta.managed_fields = None;
    shrink(meta);
    for (map, kept) in [(&mut meta.labels, labels), (&mut meta.annotations, annotations)] {
        if let Some(all) = map {
            all.retain(|name, _| kept.contains(&name.as_str()));
        }
        if map.as_ref().is_some_and(std::collections::BTreeMap::is_empty) {
            *map = None;
        }
    }
}

/// Gives lists the room they need: whoever read them had reserved four times as much for the only owner.
fn shrink(meta: &mut ObjectMeta) {
    meta.owner_references.iter_mut().for_each(Vec::shrink_to_fit);
    meta.finalizers.iter_mut().for_each(Vec::shrink_to_fit);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shell::views::{pod_view, task_view};

    #[test]
    fn a_trimmed_pod_looks_the_same() {
        let state = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:05Z", "containerID": "c" } });
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 10s" } });
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "q5-0", "namespace": "team-a", "uid": "u", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { JOB: "q5", JOB_UID: "0b5e", COMPONENT: "worker", "team": "a" },
                "annotations": { CONFIG: "q5-1", "note": "n" },
                "managedFields": [{ "manager": "kubelet" }],
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "q5", "uid": "s" }],
            },
            "spec": { "nodeName": "n1", "containers": [{ "name": "weir" }] },
            "status": {
                "phase": "Running", "reason": "r", "message": "m", "podIP": "10.0.0.7", "hostIP": "10.0.0.1",
                "conditions": [{ "type": "Initialized", "status": "True" }, { "type": "Ready", "status": "True" },
                    { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" }],
                "containerStatuses": [{ "name": "weir", "image": "i", "imageID": "sha256:1", "ready": false, "restartCount": 3,
                    "state": waiting, "lastState": state }],
            },
        });
        let whole: Pod = serde_json::from_value(pod).unwrap();
        let mut trimmed = whole.clone();
        trim_pod(&mut trimmed);
        assert_eq!(pod_view(&trimmed), pod_view(&whole));
        assert_eq!(task_view(&trimmed), task_view(&whole));
        let text = serde_json::to_string(&trimmed).unwrap();
        for gone in ["managedFields", "team\"", "sha256:1", "hostIP", "Initialized", "ownerReferences", "note"] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
    }

    #[test]
    fn a_stateful_sets_template_is_known_by_a_hash_that_replicas_do_not_change() {
        let set = |replicas: i32, image: &str| {
            let mut set: StatefulSet = serde_json::from_value(json!({
                "metadata": { "name": "q5", "annotations": { "weir.dev/deployment": "{}" } },
                "spec": { "replicas": replicas, "serviceName": "q5", "selector": {}, "template": {
                    "spec": { "containers": [{ "name": "weir", "image": image }] } } },
                "status": { "replicas": 1, "readyReplicas": 1 },
            }))
            .unwrap();
            trim_stateful_set(&mut set);
            (set.metadata.annotations.as_ref().unwrap()[LIVE].clone(), set)
        };
        let (one, kept) = set(1, "weir:1");
        assert_eq!(one, set(0, "weir:1").0);
        assert_ne!(one, set(1, "weir:2").0);
        assert_eq!(kept.spec.as_ref().unwrap().replicas, Some(1));
        assert_eq!(kept.status.as_ref().unwrap().ready_replicas, Some(1));
        assert!(kept.metadata.annotations.unwrap().contains_key("weir.dev/deployment"));
    }
}
