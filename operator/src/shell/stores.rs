//! What is watched: jobs and pods and StatefulSets whole, the rest by its metadata; all of ours by label.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::Api;
use kube::core::{NamespaceResourceScope, PartialObjectMeta, PartialObjectMetaExt};
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{Predicate, WatchStreamExt, predicates, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use weir_api::StreamJob;

use super::apply::Ours;
use super::drift::remembered;
use super::trim::{trim_config, trim_job, trim_pod, trim_stateful_set};
use crate::build::{self, build_disruption_budget, build_network_policy, build_service};
use crate::names::{JOB, Job, MANAGED};

/// Changes within this time are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Objects of one page of a list: what is read at once is held at once, seven times.
const PAGE: u32 = 50;

/// Everything that is kept in memory.
#[derive(Clone)]
pub struct Stores {
    /// Jobs.
    pub jobs: Store<StreamJob>,
    /// StatefulSets.
    pub stateful_sets: Store<StatefulSet>,
    /// Pods of all components.
    pub pods: Store<Pod>,
    /// ConfigMaps, without what they hold.
    pub configs: Store<PartialObjectMeta<ConfigMap>>,
    /// Services, without their spec.
    pub services: Store<PartialObjectMeta<Service>>,
    /// Budgets, without their spec.
    pub budgets: Store<PartialObjectMeta<PodDisruptionBudget>>,
    /// Policies, without their spec.
    pub policies: Store<PartialObjectMeta<NetworkPolicy>>,
}

/// The controller and the stores it fills. `woken` names jobs to look at for reasons of our own.
pub fn controller(
    client: &Client,
    namespace: &str,
    concurrency: u16,
    build: &build::Context,
    woken: impl Stream<Item = ObjectRef<StreamJob>> + Send + 'static,
) -> (Controller<StreamJob>, Stores) {
    let (jobs, writer) = reflector::store();
    let main = watcher(api::<StreamJob>(client, namespace), watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .modify(trim_job)
        .reflect(writer)
        .applied_objects()
        // Our own status must not wake us; a deletion and a finalizer must.
        .predicate_filter(predicates::generation.combine(predicates::finalizers).combine(deletion), Default::default());
    let (stateful_sets, stateful_set_events) = reflected::<StatefulSet>(client, namespace, trim_stateful_set);
    let (pods, pod_events) = reflected::<Pod>(client, namespace, trim_pod);
    let (configs, config_events) = reflected::<PartialObjectMeta<ConfigMap>>(client, namespace, trim_config);
    let (services, service_events) = held::<Service>(client, namespace, build_service);
    let (budgets, budget_events) = held::<PodDisruptionBudget>(client, namespace, build_disruption_budget);
    let build = build.clone();
    let (policies, policy_events) =
        held::<NetworkPolicy>(client, namespace, move |job| build_network_policy(job, &build));
    let controller = Controller::for_stream(main, jobs.clone())
        .with_config(Config::default().debounce(DEBOUNCE).concurrency(concurrency))
        .owns_stream(stateful_set_events)
        .watches_stream(pod_events, job_of)
        .owns_stream(config_events)
        .owns_stream(service_events)
        .owns_stream(budget_events)
        .owns_stream(policy_events)
        .reconcile_on(woken);
    (controller, Stores { jobs, stateful_sets, pods, configs, services, budgets, policies })
}

impl Stores {
    /// Waits until every store holds what was there at the start, but for that of jobs, which the controller waits for.
    ///
    /// A store wakes one who waits, and forgets the others: it is called once.
    ///
    /// # Errors
    /// When a watch is gone for good.
    pub async fn filled(&self) -> Result<(), reflector::store::WriterDropped> {
        self.stateful_sets.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.configs.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.budgets.wait_until_ready().await?;
        self.policies.wait_until_ready().await
    }
}

fn reflected<K>(
    client: &Client,
    namespace: &str,
    trim: fn(&mut K),
) -> (Store<K>, impl Stream<Item = Result<K, watcher::Error>> + Send + 'static)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().labels(MANAGED).page_size(PAGE);
    let events =
        watcher(api::<K>(client, namespace), config).modify(trim).default_backoff().reflect(writer).touched_objects();
    (store, events)
}

/// Objects that are held against what `build` makes of their job; only their metadata is kept.
fn held<K: Ours + Send + Sync + 'static>(
    client: &Client,
    namespace: &str,
    build: impl Fn(&Job) -> K + Send + 'static,
) -> (Store<PartialObjectMeta<K>>, impl Stream<Item = Result<PartialObjectMeta<K>, watcher::Error>> + Send + 'static) {
    let (store, writer) = reflector::store();
    let config = watcher::Config::default().labels(MANAGED).page_size(PAGE);
    let events = watcher(api::<K>(client, namespace), config)
        .map_ok(move |event| {
            let kept = |object: K| remembered(&object, &build).into_response_partial::<K>();
            match event {
                watcher::Event::Apply(object) => watcher::Event::Apply(kept(object)),
                watcher::Event::Delete(object) => watcher::Event::Delete(kept(object)),
                watcher::Event::InitApply(object) => watcher::Event::InitApply(kept(object)),
                watcher::Event::Init => watcher::Event::Init,
                watcher::Event::InitDone => watcher::Event::InitDone,
            }
        })
        .default_backoff()
        .reflect(writer)
        .touched_objects();
    (store, events)
}

fn job_of(pod: Pod) -> Option<ObjectRef<StreamJob>> {
    let name = pod.labels().get(JOB)?.clone();
    Some(ObjectRef::new(&name).within(&pod.namespace()?))
}

fn deletion(job: &StreamJob) -> Option<u64> {
    let mut hasher = std::hash::DefaultHasher::new();
    job.metadata.deletion_timestamp.is_some().hash(&mut hasher);
    job.metadata.uid.hash(&mut hasher);
    Some(hasher.finish())
}

/// The API of a kind in the watched namespace, or in all.
pub fn api<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if namespace.is_empty() { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) }
}
