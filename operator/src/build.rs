//! The objects of one job, from values alone: no client, no clock, nothing random. Held by snapshots.
//!
//! Everything a pod gets is here, so this is also what the multi-tenancy rests on: restricted security contexts, no token
//! of the API server, nothing from the spec but what [`weir_api::spec::PodSpec`] lists.

pub mod config;
mod disruption;
mod network;
pub mod pod;
mod service;
mod stateful_set;
pub mod task;

pub use config::build_config_map;
pub use disruption::build_disruption_budget;
pub use network::build_network_policy;
pub use service::build_service;
pub use stateful_set::build_stateful_set;

use crate::names::Job;

/// What building needs besides the job: where the operator itself stands.
#[derive(Debug, Clone)]
pub struct Context {
    /// The operator's namespace, from which the control API may be called.
    pub operator_namespace: String,
    /// The runtime image of jobs that name none.
    pub image: String,
}

/// A Secret with a job's certificate: immutable, so that a pod never sees half of a change.
pub fn build_secret(
    job: &Job,
    serial: u64,
    certificate: &str,
    key: &str,
    authority: &str,
) -> k8s_openapi::api::core::v1::Secret {
    let data = [("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority)];
    k8s_openapi::api::core::v1::Secret {
        metadata: job.metadata(job.secret(serial)),
        type_: Some("kubernetes.io/tls".to_owned()),
        immutable: Some(true),
        string_data: Some(data.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests;
