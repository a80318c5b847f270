//! The NetworkPolicy: who may talk to runtime pods. Only ingress: jobs read and write where users send them.

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Context;
use super::pod::{CONTROL, HTTP};
use crate::names::Job;

/// The NetworkPolicy of a job.
pub fn build_network_policy(job: &Job, context: &Context) -> NetworkPolicy {
    let peers = NetworkPolicyPeer { pod_selector: Some(job.worker_selector()), ..NetworkPolicyPeer::default() };
    let namespace = [("kubernetes.io/metadata.name".to_owned(), context.operator_namespace.clone())].into();
    let operator = NetworkPolicyPeer {
        namespace_selector: Some(LabelSelector { match_labels: Some(namespace), match_expressions: None }),
        ..NetworkPolicyPeer::default()
    };
    let rules = vec![
        NetworkPolicyIngressRule { from: Some(vec![peers]), ports: None },
        NetworkPolicyIngressRule { from: Some(vec![operator]), ports: Some(vec![port(CONTROL)]) },
        NetworkPolicyIngressRule { from: None, ports: Some(vec![port(HTTP)]) },
    ];
    NetworkPolicy {
        metadata: job.metadata(job.name.clone()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(job.worker_selector()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(rules),
            egress: None,
        }),
    }
}

fn port(name: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
