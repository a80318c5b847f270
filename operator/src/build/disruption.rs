//! The PodDisruptionBudget: one pod at a time; one that is not ready may always be evicted.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names::Job;

/// The PodDisruptionBudget of a job.
pub fn build_disruption_budget(job: &Job) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: job.metadata(job.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(job.worker_selector()),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
