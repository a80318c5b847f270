//! The objects of a deployment: built, and brought to the API server.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};

use super::apply::{Ours, apply, create_own, is_of};
use super::context::Context;
use super::drift::DRIFTED;
use super::failure::{ActError, counted, leading};
use super::observe::stateful_set;
use super::trim::trim_stateful_set;
use crate::build::config::config_name;
use crate::build::{
    build_config_map, build_disruption_budget, build_network_policy, build_service, build_stateful_set,
};
use crate::lifecycle::{Deployed, Deployment};
use crate::names::{APPLIED, Job};

/// How long an object that somebody else edits is left as it is, once it was put back.
const REPAIR_PAUSE: Duration = Duration::from_secs(60);

pub async fn apply_support(context: &Context, job: &Job) -> Result<bool, ActError> {
    let stores = &context.stores;
    let service = apply_one::<Service>(context, job, build_service(job), &stores.services).await?;
    let budget = apply_one::<PodDisruptionBudget>(context, job, build_disruption_budget(job), &stores.budgets).await?;
    let policy = build_network_policy(job, &context.build);
    let policy = apply_one::<NetworkPolicy>(context, job, policy, &stores.policies).await?;
    Ok(service || budget || policy)
}

pub async fn apply_one<K: Ours + 'static>(
    context: &Context,
    job: &Job,
    desired: K,
    store: &Store<PartialObjectMeta<K>>,
) -> Result<bool, ActError> {
    let live = store.get(&ObjectRef::new(&job.name).within(&job.namespace));
    let live = live.as_ref().map(|live| live.meta());
    let mark = live.and_then(|live| live.annotations.as_ref()?.get(APPLIED));
    if mark.is_some_and(|mark| mark == DRIFTED) && !may_repair(context, job, &K::kind(&())) {
        return Ok(false);
    }
    leading(context)?;
    let applied = apply(&context.clients.call, job, desired, live).await;
    applied.map(|written| written.is_some()).map_err(|error| counted(context, error))
}

/// Whether something that was edited is put back now: somebody may do so again and again.
fn may_repair(context: &Context, job: &Job, kind: &str) -> bool {
    let may = context.with(&job.uid, |memory| {
        let now = Instant::now();
        let last = memory.repaired.get(kind).copied();
        let may = last.is_none_or(|last| now.duration_since(last) >= REPAIR_PAUSE);
        if may {
            memory.repaired.insert(kind.to_owned(), now);
        }
        may
    });
    if may {
        tracing::warn!(namespace = %job.namespace, job = %job.name, kind, "was edited by somebody else: put back");
    }
    may
}

/// ConfigMap and certificate first, then the StatefulSet that names them.
pub async fn deploy(
    context: &Context,
    job: &Job,
    deployed: Option<&Deployed>,
    mut deployment: Deployment,
) -> Result<bool, ActError> {
    let client = &context.clients.call;
    let config = ensure_config(context, job, &deployment.resolved, &deployment.notes.spec).await?;
    deployment.config = config;
    if deployment.notes.certified_at.is_none() && deployment.replicas > 0 {
        let known = context.with(&job.uid, |memory| memory.issued);
        let live = stateful_set(context, job);
        let first = if live.is_some() { deployment.serial + 1 } else { deployment.serial };
        let (serial, at) = match known {
            Some(known) => known,
            None => {
                leading(context)?;
                let serial = context.issuer.issue(client, job, first).await.map_err(ActError::Certificate)?;
                let issued = (serial, Timestamp::now());
                context.with(&job.uid, |memory| memory.issued = Some(issued));
                issued
            }
        };
        deployment.serial = serial;
        deployment.notes.certified_at = Some(at);
    }
    let mut live = stateful_set(context, job);
    if let Some(live) = &mut live
        && (live.spec.as_ref().and_then(|spec| spec.replicas) != Some(deployment.replicas)
            || deployed.is_some_and(|deployed| deployed.drifted) && may_repair(context, job, "StatefulSet"))
    {
        // Scaled or edited by somebody else since it was applied: what was applied is not what is there.
        live.annotations_mut().remove(APPLIED);
    }
    leading(context)?;
    let built = build_stateful_set(job, &deployment);
    let applied = apply(client, job, built, live.as_ref().map(|live| &live.metadata)).await;
    match applied.map_err(|error| counted(context, error))? {
        Some(mut written) => {
            trim_stateful_set(&mut written);
            context.with(&job.uid, |memory| {
                memory.written = Some(Box::new(written));
                memory.written_at = Some(Instant::now());
                memory.issued = None;
            });
            context.wake(&job.namespace, &job.name);
            Ok(true)
        }
        None => Ok(false),
    }
}

pub async fn ensure_config(
    context: &Context,
    job: &Job,
    resolved: &weir_api::ResolvedJob,
    spec: &str,
) -> Result<String, ActError> {
    let name = config_name(job, resolved);
    let known = context.stores.configs.get(&ObjectRef::new(&name).within(&job.namespace));
    if known.is_none_or(|known| !is_of(known.meta(), job)) {
        leading(context)?;
        let api: Api<ConfigMap> = Api::namespaced(context.clients.call.clone(), &job.namespace);
        create_own(&api, job, &build_config_map(job, resolved, spec)).await.map_err(|error| counted(context, error))?;
    }
    context.with(&job.uid, |memory| memory.resolved.insert(name.clone(), Box::new(resolved.clone())));
    Ok(name)
}
