//! The last steps of a look: carry out the plan, then write the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use serde_json::json;
use weir_api::StreamJob;

use super::apply::{ApplyError, Ours, apply, create};
use super::authority::IssuerError;
use super::context::Context;
use super::control;
use super::observe::{code, stateful_set};
use super::stores::trim_stateful_set;
use crate::build::config::config_name;
use crate::build::task::{build_check_pod, build_delete_pod};
use crate::build::{
    build_config_map, build_disruption_budget, build_network_policy, build_service, build_stateful_set,
};
use crate::lifecycle::{Action, Deployment, Notice, Plan, Removal, World};
use crate::names::{APPLIED, Component, FINALIZER, Job, MANAGER};

/// How often the status of a job that runs is written if nothing but its checkpoints changed.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// The reason of events that checkpoints were kept although the job says Delete.
const KEPT: &str = "CheckpointsKept";

/// Why a plan was not carried out to its end. The next look decides anew.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// An object could not be brought to what it should be.
    #[error("cannot bring an object to what it should be")]
    Apply(#[source] ApplyError),
    /// There is no certificate.
    #[error("cannot give the job a certificate")]
    Certificate(#[source] IssuerError),
    /// A call failed.
    #[error("cannot {verb} {what}")]
    Call {
        /// What was tried.
        verb: &'static str,
        /// On what.
        what: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// Another process leads.
    #[error("this process does not lead any more")]
    NotLeading,
}

impl ActError {
    /// Whether somebody else wrote in between: nothing is wrong, the next look knows more.
    pub fn is_conflict(&self) -> bool {
        self.source_of_call().is_some_and(|source| code(source) == 409)
    }

    /// Whether the namespace ends: nothing can be created, and soon nothing is there.
    pub fn is_namespace_ending(&self) -> bool {
        let Some(kube::Error::Api(status)) = self.source_of_call() else { return false };
        let causes = status.details.iter().flat_map(|details| &details.causes);
        causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    fn source_of_call(&self) -> Option<&kube::Error> {
        match self {
            ActError::Call { source, .. } => Some(source),
            ActError::Apply(ApplyError::Call { source, .. }) => Some(source),
            ActError::Certificate(IssuerError::Keep(ApplyError::Call { source, .. })) => Some(source),
            ActError::Apply(_) | ActError::Certificate(_) | ActError::NotLeading => None,
        }
    }
}

/// Carries out a plan. True if something was sent.
///
/// # Errors
/// When a part of it failed; what came before that is done.
pub async fn act(context: &Arc<Context>, object: &StreamJob, world: World, plan: Plan) -> Result<bool, ActError> {
    let job = &world.job;
    let Plan { support, deployment, actions, notices, restarted, status, memory, again: _ } = plan;
    context.with(&job.uid, |kept| kept.memory = kept.memory.followed_by(&world.memory, memory, &actions));
    for (reason, count) in &restarted {
        context.metrics.restarted(&job.namespace, &job.name, reason, *count);
    }
    let mut sent = false;
    let worked: Result<(), ActError> = async {
        let mut later = Vec::new();
        for action in actions {
            match action {
                Action::SetFinalizer(true) => {
                    set_finalizer(context, object, true).await?;
                    sent = true;
                }
                other => later.push(other),
            }
        }
        if support {
            sent |= apply_support(context, job).await?;
        }
        if let Some(deployment) = deployment {
            sent |= deploy(context, job, deployment).await?;
        }
        for action in later {
            carry_out(context, object, &world, action).await?;
            sent = true;
        }
        Ok(())
    }
    .await;
    if let Err(ActError::Apply(ApplyError::Foreign { kind, name })) = &worked {
        context.with(&job.uid, |memory| memory.conflict = Some((format!("{kind} {name}"), Instant::now())));
        context.wake(&job.namespace, &job.name);
    }
    for notice in if worked.is_ok() { notices } else { Vec::new() } {
        if notice.reason == KEPT {
            context.metrics.kept("deadline");
        }
        tell(context, object, notice).await;
        sent = true;
    }
    let interval =
        world.wanted.as_ref().ok().map(|wanted| Duration::from_millis(wanted.resolved.checkpoint.interval.as_millis()));
    context.metrics.job(&job.namespace, &job.name, &status, interval);
    // A job that is gone has no status. One whose name is taken was woken above and says so then.
    let is_taken = matches!(worked, Err(ActError::Apply(ApplyError::Foreign { .. })));
    if !is_taken && (world.deleting.is_none() || world.finalizer) {
        sent |= write_status(context, object, &world, status).await?;
    }
    worked.map(|()| sent)
}

async fn apply_support(context: &Context, job: &Job) -> Result<bool, ActError> {
    let stores = &context.stores;
    let service = apply_one::<Service>(context, job, build_service(job), &stores.services).await?;
    let budget = apply_one::<PodDisruptionBudget>(context, job, build_disruption_budget(job), &stores.budgets).await?;
    let policy = build_network_policy(job, &context.build);
    let policy = apply_one::<NetworkPolicy>(context, job, policy, &stores.policies).await?;
    Ok(service || budget || policy)
}

async fn apply_one<K: Ours + 'static>(
    context: &Context,
    job: &Job,
    desired: K,
    store: &Store<PartialObjectMeta<K>>,
) -> Result<bool, ActError> {
    let live = store.get(&ObjectRef::new(&job.name).within(&job.namespace));
    let live = live.as_ref().map(|live| live.meta());
    leading(context)?;
    let applied = apply(&context.clients.call, job, desired, live).await;
    applied.map(|written| written.is_some()).map_err(|error| counted(context, error))
}

/// ConfigMap and certificate first, then the StatefulSet that names them.
async fn deploy(context: &Context, job: &Job, mut deployment: Deployment) -> Result<bool, ActError> {
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
        && live.spec.as_ref().and_then(|spec| spec.replicas) != Some(deployment.replicas)
    {
        // Scaled by somebody else since it was applied: what was applied is not what is there.
        live.annotations_mut().remove(APPLIED);
    }
    leading(context)?;
    let built = build_stateful_set(job, &deployment);
    let applied = apply(client, job, built, live.as_ref().map(|live| &live.metadata)).await;
    match applied.map_err(|error| counted(context, error))? {
        Some(mut written) => {
            trim_stateful_set(&mut written);
            context.with(&job.uid, |memory| {
                memory.written = Some(written);
                memory.written_at = Some(Instant::now());
                memory.issued = None;
            });
            context.wake(&job.namespace, &job.name);
            Ok(true)
        }
        None => Ok(false),
    }
}

async fn ensure_config(
    context: &Context,
    job: &Job,
    resolved: &weir_api::ResolvedJob,
    spec: &str,
) -> Result<String, ActError> {
    let name = config_name(job, resolved);
    let is_there = context.stores.configs.get(&ObjectRef::new(&name).within(&job.namespace)).is_some();
    if !is_there {
        leading(context)?;
        let api: Api<ConfigMap> = Api::namespaced(context.clients.call.clone(), &job.namespace);
        create(&api, &build_config_map(job, resolved, spec)).await.map_err(|error| counted(context, error))?;
    }
    context.with(&job.uid, |memory| memory.resolved.insert(name.clone(), resolved.clone()));
    Ok(name)
}

async fn carry_out(context: &Arc<Context>, object: &StreamJob, world: &World, action: Action) -> Result<(), ActError> {
    leading(context)?;
    let job = &world.job;
    let client = context.clients.call.clone();
    match action {
        Action::SetFinalizer(on) => set_finalizer(context, object, on).await,
        Action::CreateTask { component, resolved, spec } => {
            let config = ensure_config(context, job, &resolved, &spec).await?;
            let image = resolved.image.clone().unwrap_or_else(|| context.build.image.clone());
            let pod = match component {
                Component::Delete => build_delete_pod(job, &resolved, &config, &image),
                Component::Check | Component::Worker => build_check_pod(job, &resolved, &config, &image),
            };
            let api: Api<Pod> = Api::namespaced(client, &job.namespace);
            create(&api, &pod).await.map(drop).map_err(|error| counted(context, error))
        }
        Action::DeletePod { name, uid, how } => {
            let (grace_period_seconds, resource_version) = match how {
                Removal::Graceful => (None, None),
                Removal::Forced => (Some(0), None),
                Removal::Dead { version } => (Some(0), Some(version)),
            };
            let params = DeleteParams {
                preconditions: Some(Preconditions { uid: Some(uid), resource_version }),
                grace_period_seconds,
                ..DeleteParams::default()
            };
            let api: Api<Pod> = Api::namespaced(client, &job.namespace);
            gone(context, &format!("pod {name}"), api.delete(&name, &params).await.map(drop))
        }
        Action::DeleteConfig(name) => {
            let api: Api<ConfigMap> = Api::namespaced(client, &job.namespace);
            context.with(&job.uid, |memory| memory.resolved.remove(&name));
            gone(context, &format!("ConfigMap {name}"), api.delete(&name, &DeleteParams::default()).await.map(drop))
        }
        Action::Call(call) => {
            let number = world.deployed.as_ref().map_or(0, |deployed| deployed.number);
            control::call(context, job, world.pods.first().cloned(), number, call);
            Ok(())
        }
        Action::TellNamespace(words) => {
            context.metrics.kept("namespace");
            tracing::warn!(namespace = %job.namespace, job = %job.name, "{words}");
            let regarding = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Namespace".to_owned()),
                name: Some(job.namespace.clone()),
                ..ObjectReference::default()
            };
            let event = event(Notice { warning: true, reason: KEPT.to_owned(), note: words });
            if let Err(error) = context.recorder.publish(&event, &regarding).await {
                tracing::debug!(%error, "an event was not taken");
            }
            Ok(())
        }
    }
}

/// Gone already, or another object by now, is as good as removed.
fn gone(context: &Context, what: &str, answer: Result<(), kube::Error>) -> Result<(), ActError> {
    match answer {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(source) => {
            context.metrics.api_error("delete", code(&source));
            Err(ActError::Call { verb: "delete", what: what.to_owned(), source })
        }
    }
}

async fn set_finalizer(context: &Context, object: &StreamJob, on: bool) -> Result<(), ActError> {
    leading(context)?;
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<StreamJob> = Api::namespaced(context.clients.call.clone(), &namespace);
    let mut finalizers: Vec<String> = object.finalizers().iter().filter(|name| *name != FINALIZER).cloned().collect();
    if on {
        finalizers.push(FINALIZER.to_owned());
    }
    let version = object.resource_version();
    let patch = json!({ "metadata": { "resourceVersion": version, "finalizers": finalizers } });
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let patched = api.patch_metadata(&object.name_any(), &params, &Patch::Merge(&patch)).await;
    gone_or(context, patched.map(drop))
}

fn gone_or(context: &Context, answer: Result<(), kube::Error>) -> Result<(), ActError> {
    match answer {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => {
            context.metrics.api_error("patch", code(&source));
            Err(ActError::Call { verb: "patch", what: "the StreamJob".to_owned(), source })
        }
    }
}

/// Writes the status if it changed; if only checkpoints and the time of looking did, not more often than every 10 s.
async fn write_status(
    context: &Context,
    object: &StreamJob,
    world: &World,
    status: weir_api::StreamJobStatus,
) -> Result<bool, ActError> {
    let still = |status: &weir_api::StreamJobStatus| {
        let mut still = status.clone();
        still.observed_at = None;
        still.last_checkpoint = None;
        still.checkpoints.clear();
        still
    };
    let old = &world.status;
    if *old == status {
        return Ok(false);
    }
    let now = Instant::now();
    let recently =
        context.with(&world.job.uid, |memory| memory.status_at.is_some_and(|at| now.duration_since(at) < STATUS_EVERY));
    let first_checkpoint = old.last_checkpoint.is_none() && status.last_checkpoint.is_some();
    if still(old) == still(&status) && recently && !first_checkpoint {
        return Ok(false);
    }
    leading(context)?;
    let api: Api<StreamJob> = Api::namespaced(context.clients.call.clone(), &world.job.namespace);
    let patch = json!({
        "apiVersion": weir_api::spec::API_VERSION,
        "kind": weir_api::spec::KIND,
        "metadata": { "uid": world.job.uid },
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let patched = api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await;
    gone_or(context, patched.map(drop))?;
    context.with(&world.job.uid, |memory| {
        memory.status = Some(status);
        memory.status_at = Some(now);
    });
    Ok(true)
}

async fn tell(context: &Context, object: &StreamJob, notice: Notice) {
    tracing::info!(
        namespace = %object.namespace().unwrap_or_default(), job = %object.name_any(),
        reason = %notice.reason, warning = notice.warning, "{}", notice.note
    );
    if let Err(error) = context.recorder.publish(&event(notice), &object.object_ref(&())).await {
        tracing::debug!(%error, "an event was not taken");
    }
}

fn event(notice: Notice) -> Event {
    let Notice { warning, reason, note } = notice;
    Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        action: reason.clone(),
        reason,
        note: Some(note),
        secondary: None,
    }
}

fn counted(context: &Context, error: ApplyError) -> ActError {
    if let ApplyError::Call { verb, source, .. } = &error {
        context.metrics.api_error(verb, code(source));
    }
    ActError::Apply(error)
}

/// Whoever was paused as leader finds out before it writes.
fn leading(context: &Context) -> Result<(), ActError> {
    if context.leads() { Ok(()) } else { Err(ActError::NotLeading) }
}
