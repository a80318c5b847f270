//! The first step of a look: everything that a decision needs, read and put into values.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::Api;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use weir_api::{Invalid, ResolvedJob, StreamJob, Surface, resolve};

use super::apply::is_of;
use super::context::Context;
use super::control::ask;
use super::drift::{covers, hash};
use super::occasion::{account_allowed, failed, namespace_ending, node, not_admitted};
use super::trim::trim_stateful_set;
use super::views::{pod_view, task_view};
use crate::build::build_stateful_set;
use crate::build::config::KEY;
use crate::lifecycle::{
    Control, Deployed, Deployment, NodeHealth, PodView, Recorded, TaskView, Wanted, World, spec_hash,
};
use crate::names::{ALLOW, APPLIED, COMPONENT, Component, JOB, JOB_UID, Job, LIVE};

/// How long a name that is taken is left alone before it is tried again.
const CONFLICT_PAUSE: Duration = Duration::from_secs(60);

/// Why a look has nothing to decide from.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The API server returned a job without identity.
    #[error("a StreamJob without {0}")]
    Identity(&'static str),
    /// A call failed.
    #[error("cannot read {what}")]
    Call {
        /// What was read.
        what: String,
        /// Why not.
        #[source]
        source: kube::Error,
    },
    /// The StatefulSet's record cannot be used.
    #[error("cannot go on with the StatefulSet that is there")]
    Record(#[source] crate::lifecycle::RecordError),
}

/// Which job an object is.
///
/// # Errors
/// When it has no name, namespace or uid.
pub fn identity(job: &StreamJob) -> Result<Job, ObserveError> {
    Ok(Job {
        namespace: job.namespace().ok_or(ObserveError::Identity("namespace"))?,
        name: job.metadata.name.clone().ok_or(ObserveError::Identity("name"))?,
        uid: job.uid().ok_or(ObserveError::Identity("uid"))?,
    })
}

/// Everything that is to be seen of a job.
///
/// # Errors
/// When something that a decision needs cannot be read.
pub async fn observe(context: &Context, object: &StreamJob) -> Result<World, ObserveError> {
    let job = identity(object)?;
    let stateful_set = stateful_set(context, &job);
    let (ours, mut conflict) = match stateful_set {
        Some(found) if is_of(&found.metadata, &job) => (Some(found), None),
        Some(found) if is_of_predecessor(&found, &job) => (None, None),
        Some(_) => (None, Some(format!("StatefulSet {}", job.name))),
        None => (None, None),
    };
    let has_predecessor = ours.is_none() && conflict.is_none() && stateful_set_exists(context, &job);
    conflict = conflict.or_else(|| remembered_conflict(context, &job));
    let pods = pods(context, &job);
    let (all, uid) = (&pods, &job.uid);
    let of = |component: Component| {
        all.iter().filter(move |pod| {
            pod.labels().get(JOB_UID) == Some(uid)
                && pod.labels().get(COMPONENT).map(String::as_str) == Some(component.as_str())
        })
    };
    let strangers = pods.iter().filter(|pod| pod.labels().get(JOB_UID) != Some(&job.uid)).count();
    let mut workers: Vec<PodView> = of(Component::Worker).map(|pod| pod_view(pod)).collect();
    workers.sort_by(|a, b| a.name.cmp(&b.name));
    let checks: Vec<TaskView> = of(Component::Check).map(|pod| task_view(pod)).collect();
    let deletion = of(Component::Delete).map(|pod| task_view(pod)).next();
    let (deployed, unreadable) = match &ours {
        Some(found) => match deployed(context, &job, found).await {
            Ok(deployed) => (Some(deployed), None),
            Err(ObserveError::Record(error)) => (None, Some(error.to_string())),
            Err(error) => return Err(error),
        },
        None => (None, None),
    };
    let configs = configs(context, &job);
    let mut highest = 0;
    for config in configs.iter().filter(|_| deployed.is_none()) {
        highest = resolved(context, &job, config).await?.map_or(0, |found| found.revision_number).max(highest);
    }
    let stable = match deployed.as_ref().and_then(|deployed| deployed.notes.stable.as_ref()) {
        Some(stable) if deployed.as_ref().is_some_and(|deployed| deployed.config != stable.config) => {
            resolved(context, &job, &stable.config).await?
        }
        _ => None,
    };
    let wanted = wanted(context, object, &job, deployed.as_ref()).await?;
    let control = match workers.first() {
        Some(pod) if pod.running_since.is_some() && pod.ip.is_some() && pod.deleting.is_none() => {
            ask(context, &job, pod).await
        }
        _ => Control::NotAsked,
    };
    let node = match workers.first() {
        Some(pod) if !pod.ready || pod.deleting.is_some() => node(context, &job, pod).await,
        _ => NodeHealth::Unknown,
    };
    let waits = deployed.as_ref().is_some_and(|deployed| deployed.replicas > 0) && workers.is_empty();
    let not_admitted = if waits { not_admitted(context, &job, ours.as_ref()).await } else { None };
    let deleting = object.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    let finalizer = object.finalizers().iter().any(|name| name == crate::names::FINALIZER);
    let namespace_ending = deleting.is_some() && finalizer && namespace_ending(context, &job).await;
    let (memory, written) = context.with(&job.uid, |memory| {
        if memory.status.as_deref() == object.status.as_ref() {
            memory.status = None;
        }
        (memory.memory.clone(), memory.status.as_deref().cloned())
    });
    Ok(World {
        now: Timestamp::now(),
        generation: object.metadata.generation.unwrap_or_default(),
        deleting,
        finalizer,
        namespace_ending,
        desired_state: object.spec.desired_state.unwrap_or_default(),
        deletion_policy: object.spec.deletion_policy.unwrap_or_default(),
        wanted,
        conflict,
        unreadable,
        highest,
        strangers: strangers + usize::from(has_predecessor),
        deployed,
        stable,
        configs,
        pods: workers,
        node,
        not_admitted,
        checks,
        deletion,
        control,
        status: written.or_else(|| object.status.clone()).unwrap_or_default(),
        default_image: context.build.image.clone(),
        memory,
        job,
    })
}

/// The StatefulSet with the job's name: as the watch knows it, or as we last wrote it if that is newer.
pub fn stateful_set(context: &Context, job: &Job) -> Option<StatefulSet> {
    let known = context.stores.stateful_sets.get(&ObjectRef::new(&job.name).within(&job.namespace));
    let known = known.map(|known| (*known).clone());
    context.with(&job.uid, |memory| {
        let version =
            |set: &StatefulSet| set.resource_version().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        match (&memory.written, known) {
            (Some(written), Some(known)) if version(written) > version(&known) => Some((**written).clone()),
            (Some(written), None) if memory.written_is_new() => Some((**written).clone()),
            (_, known) => {
                memory.written = None;
                known
            }
        }
    })
}

fn stateful_set_exists(context: &Context, job: &Job) -> bool {
    context.stores.stateful_sets.get(&ObjectRef::new(&job.name).within(&job.namespace)).is_some()
}

/// A StatefulSet of an earlier job with the same name, which the cluster is about to remove.
fn is_of_predecessor(found: &StatefulSet, job: &Job) -> bool {
    let owners = found.metadata.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.kind == weir_api::spec::KIND && owner.name == job.name && owner.uid != job.uid)
}

fn remembered_conflict(context: &Context, job: &Job) -> Option<String> {
    context.with(&job.uid, |memory| {
        let (what, at) = memory.conflict.clone()?;
        if at.elapsed() > CONFLICT_PAUSE {
            memory.conflict = None;
            return None;
        }
        Some(what)
    })
}

fn pods(context: &Context, job: &Job) -> Vec<std::sync::Arc<Pod>> {
    let is_ours = |pod: &Pod| {
        pod.metadata.namespace.as_deref() == Some(&job.namespace) && pod.labels().get(JOB) == Some(&job.name)
    };
    context.stores.pods.state_filter(is_ours)
}

fn configs(context: &Context, job: &Job) -> Vec<String> {
    let all = context.stores.configs.state_filter(|config| {
        config.metadata.namespace.as_deref() == Some(&job.namespace) && is_of(config.meta(), job)
    });
    let mut names: Vec<String> = all.iter().map(|config| config.name_any()).collect();
    names.sort();
    names
}

async fn deployed(context: &Context, job: &Job, found: &StatefulSet) -> Result<Deployed, ObserveError> {
    let Recorded { config, number, serial, notes } =
        Recorded::read(found.annotations()).map_err(ObserveError::Record)?;
    let status = found.status.as_ref();
    let resolved = resolved(context, job, &config).await?;
    Ok(Deployed {
        drifted: drifted(context, job, found, resolved.as_ref()).await?,
        resolved,
        config,
        number,
        serial,
        replicas: found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default(),
        ready: status.and_then(|status| status.ready_replicas).unwrap_or_default(),
        notes,
    })
}

/// Whether the StatefulSet is another one than was applied. It is read whole when its template is another one than at the last
/// look.
async fn drifted(
    context: &Context,
    job: &Job,
    found: &StatefulSet,
    resolved: Option<&ResolvedJob>,
) -> Result<bool, ObserveError> {
    let live = found.annotations().get(LIVE);
    let replicas = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
    let is_known = context.with(&job.uid, |memory| memory.verified.as_ref() == live);
    let (Some(resolved), false, 1..) = (resolved, is_known, replicas) else { return Ok(false) };
    let Recorded { config, number: _, serial, notes } =
        Recorded::read(found.annotations()).map_err(ObserveError::Record)?;
    let image = resolved.image.clone().unwrap_or_else(|| context.build.image.clone());
    let deployment = Deployment { config, resolved: resolved.clone(), image, serial, replicas, notes };
    let built = build_stateful_set(job, &deployment);
    // Applied by an operator that builds otherwise: nobody can say what was edited.
    if found.annotations().get(APPLIED) != Some(&hash(&built)) {
        return Ok(false);
    }
    let api: Api<StatefulSet> = Api::namespaced(context.clients.call.clone(), &job.namespace);
    let whole = api.get_opt(&job.name).await;
    let whole = whole.map_err(|source| failed(context, format!("StatefulSet {}", job.name), source))?;
    // What was written in between is looked at when the watch knows of it.
    let Some(mut whole) = whole.filter(|whole| whole.resource_version() == found.resource_version()) else {
        return Ok(false);
    };
    let covered = covers(&whole, &built);
    trim_stateful_set(&mut whole);
    if covered {
        context.with(&job.uid, |memory| memory.verified = whole.annotations().get(LIVE).cloned());
    }
    Ok(!covered)
}

/// What a ConfigMap holds. It is immutable, so it is read once.
async fn resolved(context: &Context, job: &Job, config: &str) -> Result<Option<ResolvedJob>, ObserveError> {
    if let Some(known) = context.with(&job.uid, |memory| memory.resolved.get(config).cloned()) {
        return Ok(Some(*known));
    }
    let api: Api<ConfigMap> = Api::namespaced(context.clients.call.clone(), &job.namespace);
    let found = api.get_opt(config).await.map_err(|source| failed(context, format!("ConfigMap {config}"), source))?;
    let text = found.filter(|found| is_of(&found.metadata, job)).and_then(|found| found.data?.remove(KEY));
    let resolved: Option<ResolvedJob> = text.and_then(|text| serde_json::from_str(&text).ok());
    if let Some(resolved) = &resolved {
        context.with(&job.uid, |memory| memory.resolved.insert(config.to_owned(), Box::new(resolved.clone())));
    }
    Ok(resolved)
}

async fn wanted(
    context: &Context,
    object: &StreamJob,
    job: &Job,
    deployed: Option<&Deployed>,
) -> Result<Result<Wanted, Vec<Invalid>>, ObserveError> {
    let spec = spec_hash(&object.spec);
    let mut resolved = match resolve(object, Surface::Cluster) {
        Ok(resolved) => resolved,
        Err(invalid) => return Ok(Err(invalid)),
    };
    resolved.revision_number = 0;
    resolved.image.get_or_insert_with(|| context.build.image.clone());
    let is_new = deployed.is_none_or(|deployed| deployed.notes.spec != spec);
    if let (Some(account), true) = (resolved.pod.service_account.clone(), is_new)
        && !account_allowed(context, job, &account).await?
    {
        let allowed = format!("a service account of this namespace with the label {ALLOW}: \"true\"");
        let hint = "label it, if jobs may act as it";
        return Ok(Err(vec![Invalid::new("spec.pod.serviceAccount", format!("{account:?}"), allowed, hint)]));
    }
    Ok(Ok(Wanted { resolved, names_image: object.spec.image.is_some(), spec }))
}
