//! Pods that do one thing with a job's own image and credentials: preflight and deletion.

use k8s_openapi::api::core::v1::Pod;

use super::pod::{
    JOB_DIR, LOCAL_DIR, TERMINATION_LOG, build_container, build_pod_spec, config_volume, job_path, local_volume, mount,
};
use crate::names::{CONFIG, Component, Job};
use weir_api::ResolvedJob;

/// How long one may take.
const DEADLINE_SECONDS: i64 = 600;

/// The pod that asks whether `resolved` could run, before a running job is stopped for it.
pub fn build_check_pod(job: &Job, resolved: &ResolvedJob, config: &str, image: &str) -> Pod {
    build_task(job, resolved, config, image, Component::Check, job.check_pod(config))
}

/// The pod that removes everything under the job's prefix, savepoints excepted.
pub fn build_delete_pod(job: &Job, resolved: &ResolvedJob, config: &str, image: &str) -> Pod {
    build_task(job, resolved, config, image, Component::Delete, job.delete_pod())
}

fn build_task(job: &Job, resolved: &ResolvedJob, config: &str, image: &str, component: Component, name: String) -> Pod {
    let job_path = job_path();
    let command = ["weir", component.as_str(), "--job", &job_path, "--termination-log", TERMINATION_LOG];
    let mut small = resolved.clone();
    small.memory_bytes = small.memory_bytes.min(TASK_MEMORY);
    small.cpu_millis = small.cpu_millis.min(TASK_CPU_MILLIS);
    let mounts = vec![mount("job", JOB_DIR), mount("local", LOCAL_DIR)];
    let container = build_container(&small, image, &command, mounts);
    let volumes = vec![config_volume(config), local_volume(&small)];
    let mut spec = build_pod_spec(resolved, container, volumes, "Never");
    spec.active_deadline_seconds = Some(DEADLINE_SECONDS);
    spec.termination_grace_period_seconds = Some(1);
    let mut metadata = job.metadata(name);
    let mut labels = resolved.pod.labels.clone().unwrap_or_default();
    labels.extend(job.pod_labels(component));
    metadata.labels = Some(labels);
    metadata.annotations = Some([(CONFIG.to_owned(), config.to_owned())].into());
    Pod { metadata, spec: Some(spec), status: None }
}

/// The most memory and cores such a pod asks for: it runs beside the job.
const TASK_MEMORY: u64 = 256 << 20;
const TASK_CPU_MILLIS: u64 = 100;
