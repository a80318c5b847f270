//! The StatefulSet of the runtime pods. It is also the Weir operator's memory: its annotations say what is deployed.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{ContainerPort, HTTPGetAction, PodTemplateSpec, Probe};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{
    CONTROL, CONTROL_PORT, HTTP, HTTP_PORT, JOB_DIR, LOCAL_DIR, TERMINATION_LOG, TLS_DIR, build_container,
    build_pod_spec, config_volume, job_path, local_volume, mount, tls_volume,
};
use crate::lifecycle::Deployment;
use crate::names::{CONFIG, Component, Job};

/// Seconds from SIGTERM to SIGKILL; the runtime takes half of it for a checkpoint.
const GRACE_SECONDS: i64 = 30;
/// Old pod templates that are kept: none, the ConfigMaps are the history.
const HISTORY: i32 = 0;

/// The StatefulSet of a deployment.
pub fn build_stateful_set(job: &Job, deployment: &Deployment) -> StatefulSet {
    let mut metadata = job.metadata(job.name.clone());
    metadata.annotations = Some(deployment.annotations());
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(deployment.replicas),
            service_name: Some(job.name.clone()),
            selector: job.worker_selector(),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(HISTORY),
            template: build_template(job, deployment),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn build_template(job: &Job, deployment: &Deployment) -> PodTemplateSpec {
    let resolved = &deployment.resolved;
    let job_path = job_path();
    let control = format!("0.0.0.0:{CONTROL_PORT}");
    let http = format!("0.0.0.0:{HTTP_PORT}");
    let command = [
        "weir",
        "worker",
        "--job",
        &job_path,
        "--tls",
        TLS_DIR,
        "--control-address",
        &control,
        "--http-address",
        &http,
        "--local-dir",
        LOCAL_DIR,
        "--termination-log",
        TERMINATION_LOG,
    ];
    let mounts = vec![mount("job", JOB_DIR), mount("tls", TLS_DIR), mount("local", LOCAL_DIR)];
    let mut container = build_container(resolved, &deployment.image, &command, mounts);
    container.ports = Some(vec![port(CONTROL, CONTROL_PORT), port(HTTP, HTTP_PORT)]);
    // Neither depends on storage or on the job: a process that answers is alive, and what it serves is its status.
    container.liveness_probe = Some(probe("/livez", 10, 6));
    container.readiness_probe = Some(probe("/readyz", 2, 2));
    let volumes =
        vec![config_volume(&deployment.config), tls_volume(&job.secret(deployment.serial)), local_volume(resolved)];
    let mut spec = build_pod_spec(resolved, container, volumes, "Always");
    spec.termination_grace_period_seconds = Some(GRACE_SECONDS);
    let mut labels = resolved.pod.labels.clone().unwrap_or_default();
    labels.extend(job.pod_labels(Component::Worker));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some([(CONFIG.to_owned(), deployment.config.clone())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HTTP.to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5.min(period_seconds)),
        failure_threshold: Some(failures),
        success_threshold: Some(1),
        ..Probe::default()
    }
}
