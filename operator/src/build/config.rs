//! The ConfigMap with a resolved job: immutable, named by the hash of what it holds.

use k8s_openapi::api::core::v1::ConfigMap;
use weir_api::ResolvedJob;
use xxhash_rust::xxh3::xxh3_64;

use crate::names::Job;

/// The key in the ConfigMap.
pub const KEY: &str = "job.json";
/// Annotation: the hash of the spec that the job was resolved from, wishes left out.
pub const SPEC: &str = "weir.dev/spec";

/// The name of the ConfigMap that holds `resolved`.
pub fn config_name(job: &Job, resolved: &ResolvedJob) -> String {
    format!("{}-{:016x}", job.name, xxh3_64(resolved.stored_json().as_bytes()))
}

/// The ConfigMap that holds `resolved`, which was resolved from the spec with the hash `spec`.
pub fn build_config_map(job: &Job, resolved: &ResolvedJob, spec: &str) -> ConfigMap {
    let mut metadata = job.metadata(config_name(job, resolved));
    metadata.annotations = Some([(SPEC.to_owned(), spec.to_owned())].into());
    ConfigMap {
        metadata,
        immutable: Some(true),
        data: Some([(KEY.to_owned(), resolved.stored_json())].into()),
        binary_data: None,
    }
}
