//! What is not watched, and asked of the API server when a decision needs it.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Namespace, Node, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use super::context::Context;
use super::observe::ObserveError;
use super::views::node_health;
use crate::lifecycle::{NodeHealth, PodView};
use crate::names::{ALLOW, Job};

/// How long an answer about a node or about refused pods is good.
const FRESH: Duration = Duration::from_secs(5);

pub async fn account_allowed(context: &Context, job: &Job, name: &str) -> Result<bool, ObserveError> {
    let api: Api<ServiceAccount> = Api::namespaced(context.clients.call.clone(), &job.namespace);
    let found = api.get_opt(name).await.map_err(|source| failed(context, format!("ServiceAccount {name}"), source))?;
    Ok(found.is_some_and(|found| found.labels().get(ALLOW).map(String::as_str) == Some("true")))
}

/// How the pod's node is. Unknown if the operator may not ask.
pub async fn node(context: &Context, job: &Job, pod: &PodView) -> NodeHealth {
    let Some(name) = &pod.node else { return NodeHealth::Unknown };
    let known = context.with(&job.uid, |memory| memory.node.clone());
    if let Some((_, _, health)) = known.filter(|(at, of, _)| at.elapsed() < FRESH && of == name) {
        return health;
    }
    let api: Api<Node> = Api::all(context.clients.call.clone());
    let health = match api.get_opt(name).await {
        Ok(found) => node_health(found.as_ref()),
        Err(error) => {
            tracing::debug!(node = %name, %error, "cannot ask about a node");
            NodeHealth::Unknown
        }
    };
    context.with(&job.uid, |memory| memory.node = Some((Instant::now(), name.clone(), health)));
    health
}

/// Why the API server refuses the job's pods, if it says so.
pub async fn not_admitted(context: &Context, job: &Job, found: Option<&StatefulSet>) -> Option<String> {
    let known = context.with(&job.uid, |memory| memory.not_admitted.clone());
    if let Some((_, said)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
        return said;
    }
    let uid = found?.uid()?;
    let api: Api<Event> = Api::namespaced(context.clients.call.clone(), &job.namespace);
    let params = ListParams::default().fields(&format!("involvedObject.uid={uid},reason=FailedCreate")).limit(50);
    let said = match api.list(&params).await {
        Ok(events) => {
            let when = |event: &Event| {
                event.last_timestamp.clone().map(|time| time.0).or(event.event_time.clone().map(|time| time.0))
            };
            let recent =
                |event: &&Event| when(event).is_some_and(|at| Timestamp::now().duration_since(at).as_secs() < 300);
            events.items.iter().filter(recent).max_by_key(|event| when(event)).and_then(|event| event.message.clone())
        }
        Err(error) => {
            tracing::debug!(job = %job.name, %error, "cannot list events");
            None
        }
    };
    context.with(&job.uid, |memory| memory.not_admitted = Some((Instant::now(), said.clone())));
    said
}

pub async fn namespace_ending(context: &Context, job: &Job) -> bool {
    let api: Api<Namespace> = Api::all(context.clients.call.clone());
    match api.get_opt(&job.namespace).await {
        Ok(found) => found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()),
        Err(error) => {
            tracing::debug!(namespace = %job.namespace, %error, "cannot ask about a namespace");
            false
        }
    }
}

pub fn failed(context: &Context, what: String, source: kube::Error) -> ObserveError {
    context.metrics.api_error("get", code(&source));
    ObserveError::Call { what, source }
}

/// The HTTP status of an error; 0 if there was no answer.
pub fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}
