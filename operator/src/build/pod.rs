//! What all pods of a job share: image, resources, security contexts, volumes, credentials.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, EphemeralVolumeSource,
    KeyToPath, LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate,
    PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource,
    SecurityContext, Toleration, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as KubeQuantity;
use weir_api::spec::{TaintEffect, TolerationOperator, TolerationSpec};
use weir_api::{Quantity, ResolvedJob};

use super::config::KEY;

/// The container's name in every pod.
pub const CONTAINER: &str = "weir";
/// Name and number of the control API's port.
pub const CONTROL: &str = "control";
/// See [`CONTROL`].
pub const CONTROL_PORT: i32 = 7443;
/// Name and number of the port for metrics and probes.
pub const HTTP: &str = "http";
/// See [`HTTP`].
pub const HTTP_PORT: i32 = 9464;
/// The user of the image.
const USER: i64 = 65532;
/// Where the resolved job is mounted.
pub const JOB_DIR: &str = "/etc/weir/job";
/// Where the certificate is mounted.
pub const TLS_DIR: &str = "/etc/weir/tls";
/// Where local runs are kept.
pub const LOCAL_DIR: &str = "/var/lib/weir";
/// Where a process writes its last words.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// The path of the resolved job in a pod.
pub fn job_path() -> String {
    format!("{JOB_DIR}/{KEY}")
}

/// The pod of `resolved` around a container.
pub fn build_pod_spec(resolved: &ResolvedJob, container: Container, volumes: Vec<Volume>, restart: &str) -> PodSpec {
    let pod = &resolved.pod;
    let secrets = pod
        .image_pull_secrets
        .as_ref()
        .map(|names| names.iter().map(|name| LocalObjectReference { name: name.clone() }).collect::<Vec<_>>());
    PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        restart_policy: Some(restart.to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        service_account_name: pod.service_account.clone(),
        image_pull_secrets: secrets,
        node_selector: pod.node_selector.clone(),
        tolerations: pod.tolerations.as_ref().map(|list| list.iter().map(toleration).collect()),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(seccomp()),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// The container of `resolved` that runs a command, without ports and probes.
pub fn build_container(resolved: &ResolvedJob, image: &str, command: &[&str], mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some(resolved.pod.image_pull_policy.unwrap_or_default().as_str().to_owned()),
        command: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        env: Some(environment(resolved)),
        resources: Some(resources(resolved)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            run_as_non_root: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            seccomp_profile: Some(seccomp()),
            ..SecurityContext::default()
        }),
        termination_message_path: Some(TERMINATION_LOG.to_owned()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The volume with the resolved job.
pub fn config_volume(config: &str) -> Volume {
    let item = KeyToPath { key: KEY.to_owned(), path: KEY.to_owned(), mode: None };
    Volume {
        name: "job".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config.to_owned(),
            items: Some(vec![item]),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The volume with the certificate. Its files are for the process's user only.
pub fn tls_volume(secret: &str) -> Volume {
    Volume {
        name: "tls".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// The volume for local runs: the node's own disk, sized, or a volume that lives as long as the pod.
pub fn local_volume(resolved: &ResolvedJob) -> Volume {
    let size = KubeQuantity(Quantity::from_bytes(resolved.disk_bytes).to_string());
    let name = "local".to_owned();
    let Some(class) = &resolved.disk_class else {
        let empty_dir = EmptyDirVolumeSource { medium: None, size_limit: Some(size) };
        return Volume { name, empty_dir: Some(empty_dir), ..Volume::default() };
    };
    let requests = [("storage".to_owned(), size)].into();
    let claim = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        storage_class_name: Some(class.clone()),
        resources: Some(VolumeResourceRequirements { requests: Some(requests), limits: None }),
        ..PersistentVolumeClaimSpec::default()
    };
    let template = PersistentVolumeClaimTemplate { metadata: None, spec: claim };
    let ephemeral = EphemeralVolumeSource { volume_claim_template: Some(template) };
    Volume { name, ephemeral: Some(ephemeral), ..Volume::default() }
}

/// A mount; only local runs are written.
pub fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: (name != "local").then_some(true),
        ..VolumeMount::default()
    }
}

fn environment(resolved: &ResolvedJob) -> Vec<EnvVar> {
    let field = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
    };
    let secret = |name: &str, secret: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None }),
            ..EnvVarSource::default()
        }),
    };
    let mut variables = vec![field("POD_NAME", "metadata.name"), field("POD_UID", "metadata.uid")];
    let credentials = resolved.storage.as_ref().and_then(|storage| storage.credentials_secret.as_ref());
    if let Some(name) = credentials {
        variables.extend(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|key| secret(key, name, key)));
    }
    let given = resolved.pod.env.iter().flatten();
    variables.extend(given.map(|variable| secret(&variable.name, &variable.secret_name, &variable.key)));
    variables
}

/// Memory is one number, requested and limited; cores are requested, and more may be used where there are any.
fn resources(resolved: &ResolvedJob) -> ResourceRequirements {
    let memory = KubeQuantity(Quantity::from_bytes(resolved.memory_bytes).to_string());
    let cpu = KubeQuantity(Quantity::from_millis(resolved.cpu_millis).to_string());
    let requests = [("memory".to_owned(), memory.clone()), ("cpu".to_owned(), cpu)];
    ResourceRequirements {
        requests: Some(BTreeMap::from(requests)),
        limits: Some([("memory".to_owned(), memory)].into()),
        claims: None,
    }
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

fn toleration(spec: &TolerationSpec) -> Toleration {
    let TolerationSpec { key, operator, value, effect } = spec;
    let operator = match operator.unwrap_or_default() {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    };
    let effect = effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    Toleration {
        key: key.clone(),
        operator: Some(operator.to_owned()),
        value: value.clone(),
        effect: effect.map(str::to_owned),
        toleration_seconds: None,
    }
}
