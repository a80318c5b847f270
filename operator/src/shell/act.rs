//! The last steps of a look: carry out the plan, then write the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Pod};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use weir_api::StreamJob;

use super::apply::{ApplyError, create_own};
use super::context::Context;
use super::control;
use super::deploy::{apply_support, deploy, ensure_config};
use super::events::{event, tell};
use super::failure::{ActError, counted, leading};
use super::occasion::code;
use super::status::write_status;
use crate::build::task::{build_check_pod, build_delete_pod};
use crate::lifecycle::{Action, Notice, Plan, Removal, World};
use crate::names::{Component, FINALIZER, MANAGER};

/// The reason of events that checkpoints were kept although the job says Delete.
const KEPT: &str = "CheckpointsKept";

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
            sent |= deploy(context, job, world.deployed.as_ref(), deployment).await?;
        }
        for action in later {
            carry_out(context, object, &world, action).await?;
            sent = true;
        }
        Ok(())
    }
    .await;
    if worked.is_err() {
        // What came of calls is not used up by a plan that failed: the next one says it again.
        context.with(&job.uid, |kept| kept.memory.keep_calls_of(&world.memory));
    }
    let mut is_news = false;
    if let Err(ActError::Apply(ApplyError::Foreign { kind, name })) = &worked {
        let taken = format!("{kind} {name}");
        is_news = world.conflict.as_ref() != Some(&taken);
        context.with(&job.uid, |memory| memory.conflict = Some((taken, Instant::now())));
        if is_news {
            context.wake(&job.namespace, &job.name);
        }
    }
    for notice in notices.into_iter().filter(|notice| worked.is_ok() || notice.happened) {
        if notice.reason == KEPT {
            context.metrics.kept("deadline");
        }
        tell(context, object, notice).await;
        sent = true;
    }
    let interval =
        world.wanted.as_ref().ok().map(|wanted| Duration::from_millis(wanted.resolved.checkpoint.interval.as_millis()));
    context.metrics.job(&job.namespace, &job.name, &status, interval);
    // A job that is gone has no status. One that has just found a name taken was woken above and says so then.
    if !is_news && (world.deleting.is_none() || world.finalizer) {
        sent |= write_status(context, object, &world, status).await?;
    }
    worked.map(|()| sent)
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
            // Making the ConfigMap may have taken longer than our reign.
            leading(context)?;
            create_own(&api, job, &pod).await.map_err(|error| counted(context, error))
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
            let event = event(Notice { warning: true, happened: true, reason: KEPT.to_owned(), note: words });
            if let Err(error) = context.recorder.publish(&event, &regarding).await {
                tracing::debug!(%error, "an event was not taken");
            }
            Ok(())
        }
    }
}

/// Gone already is as good as removed. A conflict is not: it says that the object is not the one, or not as, this look saw it;
/// the next look decides anew.
fn gone(context: &Context, what: &str, answer: Result<(), kube::Error>) -> Result<(), ActError> {
    match answer {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
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

/// As [`gone`], of the StreamJob itself.
pub fn gone_or(context: &Context, answer: Result<(), kube::Error>) -> Result<(), ActError> {
    match answer {
        Ok(()) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => {
            context.metrics.api_error("patch", code(&source));
            Err(ActError::Call { verb: "patch", what: "the StreamJob".to_owned(), source })
        }
    }
}
