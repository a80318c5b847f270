//! Objects to the API server: created first, applied only over what is ours.
//!
//! An object that is unchanged costs no call: what was applied is known by its hash, in an annotation, and whether it still is
//! what was applied by a look at it when it changes ([`super::drift`]). What is there under
//! one of our names and is not owned by the same StreamJob is never written to.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::drift::hash;
use crate::names::{APPLIED, Job, MANAGER};

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another owner's object has the name.
    #[error("{kind} {name} belongs to somebody else")]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// A call failed.
    #[error("cannot {verb} {kind} {name}")]
    Call {
        /// What was tried.
        verb: &'static str,
        /// The object's kind.
        kind: String,
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
}

/// Any object of ours.
pub trait Ours:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}
impl<K> Ours for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned
{
}

/// Whether an object's owner is this job.
pub fn is_of(meta: &ObjectMeta, job: &Job) -> bool {
    let owners = meta.owner_references.iter().flatten();
    owners.into_iter().any(|owner| owner.controller == Some(true) && owner.uid == job.uid)
}

/// Brings an object to `desired`. `live` is what the watch knows. Answers what was written, or nothing if nothing was.
///
/// # Errors
/// When the name is taken by another owner, or a call fails; nothing foreign was written.
pub async fn apply<K: Ours>(
    client: &Client,
    job: &Job,
    mut desired: K,
    live: Option<&ObjectMeta>,
) -> Result<Option<K>, ApplyError> {
    let hash = hash(&desired);
    desired.annotations_mut().insert(APPLIED.to_owned(), hash.clone());
    let api: Api<K> = Api::namespaced(client.clone(), &job.namespace);
    let name = desired.name_any();
    let found = match live {
        Some(meta) => meta.clone(),
        None => match create(&api, &desired).await? {
            Some(created) => return Ok(Some(created)),
            None => api.get(&name).await.map_err(failed::<K>("get", &name))?.meta().clone(),
        },
    };
    if !is_of(&found, job) {
        return Err(ApplyError::Foreign { kind: K::kind(&()).into_owned(), name });
    }
    if found.annotations.as_ref().and_then(|annotations| annotations.get(APPLIED)) == Some(&hash) {
        return Ok(None);
    }
    // Guarded by what was seen: whoever wrote in between is looked at first.
    let version = own_fields(&api, &name, found.resource_version.clone()).await?;
    desired.meta_mut().resource_version = version;
    desired.meta_mut().uid.clone_from(&found.uid);
    let params = PatchParams::apply(MANAGER).force();
    let patched = api.patch(&name, &params, &Patch::Apply(&desired)).await.map_err(failed::<K>("patch", &name))?;
    Ok(Some(patched))
}

/// Creates an object; nothing if there is one of that name.
///
/// # Errors
/// When the call fails otherwise.
pub async fn create<K: Ours>(api: &Api<K>, desired: &K) -> Result<Option<K>, ApplyError> {
    let name = desired.name_any();
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, desired).await {
        Ok(created) => Ok(Some(created)),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(source) => Err(failed::<K>("create", &name)(source)),
    }
}

/// Creates an object, or finds the job's own under its name.
///
/// # Errors
/// When the name is taken by another owner, or a call fails.
pub async fn create_own<K: Ours>(api: &Api<K>, job: &Job, desired: &K) -> Result<(), ApplyError> {
    if create(api, desired).await?.is_some() {
        return Ok(());
    }
    let name = desired.name_any();
    // Listed, not read: of pods the operator may not read single ones.
    let only = ListParams::default().fields(&format!("metadata.name={name}")).limit(1);
    let found = api.list(&only).await.map_err(failed::<K>("list", &name))?.items.pop();
    match found {
        Some(found) if !is_of(found.meta(), job) => Err(ApplyError::Foreign { kind: K::kind(&()).into_owned(), name }),
        // Gone by now: the next look creates it.
        Some(_) | None => Ok(()),
    }
}

/// What we created is ours as an update, what we apply as an apply: what is then left out would stay for ever. So what we
/// created becomes an apply before the first one.
/// Answers the version to guard the apply by.
async fn own_fields<K: Ours>(api: &Api<K>, name: &str, seen: Option<String>) -> Result<Option<String>, ApplyError> {
    let live = api.get(name).await.map_err(failed::<K>("get", name))?;
    let mut fields = live.managed_fields().to_vec();
    let is_ours = |manager: &Option<String>| manager.as_deref() == Some(MANAGER);
    let created = |operation: &Option<String>| operation.as_deref() == Some("Update");
    let at = fields
        .iter()
        .position(|entry| is_ours(&entry.manager) && created(&entry.operation) && entry.subresource.is_none());
    let has_applied =
        fields.iter().any(|entry| is_ours(&entry.manager) && !created(&entry.operation) && entry.subresource.is_none());
    let Some(at) = at.filter(|_| !has_applied) else { return Ok(seen) };
    fields[at].operation = Some("Apply".to_owned());
    let patch = json!({ "metadata": { "resourceVersion": seen, "managedFields": fields } });
    let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    patched.map(|patched| patched.resource_version()).map_err(failed::<K>("patch", name))
}

fn failed<K: Ours>(verb: &'static str, name: &str) -> impl FnOnce(kube::Error) -> ApplyError {
    let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
    move |source| ApplyError::Call { verb, kind, name, source: Box::new(source) }
}
