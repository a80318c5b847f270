//! Every object against its snapshot, and what no object may ever have.

use serde::Serialize;
use serde_json::{Value, json};
use weir_api::{ResolvedJob, StreamJob, Surface, resolve};

use super::config::config_name;
use super::task::{build_check_pod, build_delete_pod};
use super::*;
use crate::lifecycle::{Deployment, Notes};

fn job() -> Job {
    Job { namespace: "team-a".into(), name: "q5".into(), uid: "0b5e".into() }
}

fn context() -> Context {
    Context { operator_namespace: "weir-system".into(), image: "weir:1".into() }
}

fn resolved(spec: Value) -> ResolvedJob {
    let object = json!({
        "apiVersion": "weir.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": { "name": "q5", "namespace": "team-a", "uid": "0b5e", "generation": 3 },
        "spec": spec,
    });
    let job: StreamJob = serde_json::from_value(object).unwrap();
    let mut resolved = resolve(&job, Surface::Cluster).unwrap();
    resolved.image.get_or_insert_with(|| "weir:1".into());
    resolved
}

fn smallest() -> ResolvedJob {
    resolved(json!({ "job": "nexmark-q5", "storage": { "uri": "s3://weir/jobs" } }))
}

/// Everything that a user can set.
fn fullest() -> ResolvedJob {
    resolved(json!({
        "image": "registry.example/mine:7",
        "job": "nexmark-q5",
        "args": { "events": 100 },
        "worker": { "slots": 2, "memory": "2Gi", "cpu": "1500m", "disk": "20Gi", "diskClass": "fast" },
        "storage": { "uri": "s3://weir/jobs", "endpoint": "http://minio:9000", "credentials": { "secretName": "weir-s3" } },
        "pod": {
            "nodeSelector": { "disk": "ssd" },
            "tolerations": [{ "key": "batch", "value": "yes", "effect": "NoSchedule" }, { "operator": "Exists" }],
            "imagePullPolicy": "Always",
            "imagePullSecrets": ["registry"],
            "labels": { "team": "a" },
            "env": [{ "name": "TOKEN", "secretName": "api", "key": "token" }],
            "serviceAccount": "streams",
        },
    }))
}

fn deployment(resolved: ResolvedJob) -> Deployment {
    Deployment {
        config: config_name(&job(), &resolved),
        image: resolved.image.clone().unwrap(),
        resolved,
        serial: 1,
        replicas: 1,
        notes: Notes { spec: "5bec".into(), ..Notes::default() },
    }
}

fn show(object: &impl Serialize) -> String {
    serde_json::to_string_pretty(&serde_json::to_value(object).unwrap()).unwrap()
}

#[test]
fn the_objects_of_the_smallest_job_are_as_they_were() {
    let job = job();
    insta::assert_snapshot!("stateful_set_smallest", show(&build_stateful_set(&job, &deployment(smallest()))));
    insta::assert_snapshot!("service", show(&build_service(&job)));
    insta::assert_snapshot!("disruption_budget", show(&build_disruption_budget(&job)));
    insta::assert_snapshot!("network_policy", show(&build_network_policy(&job, &context())));
    insta::assert_snapshot!("config_map", show(&build_config_map(&job, &smallest(), "5bec")));
    insta::assert_snapshot!("secret", show(&build_secret(&job, 4, "CERTIFICATE", "KEY", "AUTHORITY")));
}

#[test]
fn the_objects_of_a_job_that_sets_everything_are_as_they_were() {
    let (job, resolved) = (job(), fullest());
    let config = config_name(&job, &resolved);
    insta::assert_snapshot!("stateful_set_fullest", show(&build_stateful_set(&job, &deployment(resolved.clone()))));
    insta::assert_snapshot!("check_pod", show(&build_check_pod(&job, &resolved, &config, "registry.example/mine:7")));
    insta::assert_snapshot!("delete_pod", show(&build_delete_pod(&job, &resolved, &config, "registry.example/mine:7")));
}

#[test]
fn building_is_a_function_of_its_arguments() {
    let once = show(&build_stateful_set(&job(), &deployment(fullest())));
    assert_eq!(once, show(&build_stateful_set(&job(), &deployment(fullest()))));
    let mut other = fullest();
    other.revision_number += 1;
    assert_ne!(config_name(&job(), &fullest()), config_name(&job(), &other), "a number has a ConfigMap of its own");
}

/// What the `restricted` Pod Security Standard demands, and more.
#[test]
fn no_pod_gains_anything() {
    let (job, full) = (job(), fullest());
    let config = config_name(&job, &full);
    let template = |resolved| build_stateful_set(&job, &deployment(resolved)).spec.unwrap().template.spec.unwrap();
    let pods = [
        template(smallest()),
        template(fullest()),
        build_check_pod(&job, &full, &config, "i").spec.unwrap(),
        build_delete_pod(&job, &full, &config, "i").spec.unwrap(),
    ];
    for pod in pods {
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
        assert!(pod.init_containers.is_none() && pod.containers.len() == 1);
        let context = pod.security_context.unwrap();
        assert_eq!((context.run_as_non_root, context.run_as_user), (Some(true), Some(65532)));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        let container = &pod.containers[0];
        let context = container.security_context.clone().unwrap();
        assert_eq!(context.allow_privilege_escalation, Some(false));
        assert_eq!(context.read_only_root_filesystem, Some(true));
        assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
        assert!(context.privileged.is_none());
        assert!(container.resources.clone().unwrap().limits.unwrap().contains_key("memory"));
        for volume in pod.volumes.unwrap() {
            assert!(volume.host_path.is_none());
            assert!(volume.empty_dir.is_none_or(|dir| dir.size_limit.is_some() && dir.medium.is_none()));
        }
        for variable in container.env.iter().flatten() {
            assert!(variable.value.is_none(), "secrets come by reference: {variable:?}");
        }
    }
}

#[test]
fn labels_of_users_never_displace_ours() {
    let mut resolved = fullest();
    resolved.pod.labels.as_mut().unwrap().insert("weir.dev/job".into(), "other".into());
    let template = build_stateful_set(&job(), &deployment(resolved)).spec.unwrap().template;
    assert_eq!(template.metadata.unwrap().labels.unwrap()["weir.dev/job"], "q5");
}

#[test]
fn names_fit_what_they_are_used_for() {
    let long = Job { name: "a".repeat(45), ..job() };
    let config = config_name(&long, &smallest());
    assert!(config.len() <= 63, "{config}");
    assert!(long.secret(u64::from(u32::MAX)).len() <= 63);
    assert!(long.check_pod(&config).len() <= 253);
}
