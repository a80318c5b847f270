//! The headless Service: a name for ordinal 0, whether it is ready or not.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::{CONTROL, CONTROL_PORT, HTTP, HTTP_PORT};
use crate::names::Job;

/// The headless Service of a job.
pub fn build_service(job: &Job) -> Service {
    let port = |name: &str, port: i32| ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    };
    Service {
        metadata: job.metadata(job.name.clone()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(job.worker_labels()),
            ports: Some(vec![port(CONTROL, CONTROL_PORT), port(HTTP, HTTP_PORT)]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
