//! What all looks at jobs share.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures::channel::mpsc;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use weir_api::{ResolvedJob, StreamJob, StreamJobStatus};
use weir_control::ControlClient;

use super::authority::Issuer;
use super::clients::Clients;
use super::stores::Stores;
use crate::build;
use crate::election::Reign;
use crate::lifecycle::{Memory, NodeHealth};
use crate::metrics::Metrics;

/// The most jobs that can ask to be looked at again at once; more are found by their next look.
pub const WOKEN: usize = 4096;

/// How often what is gone is forgotten.
const TIDY_EVERY: std::time::Duration = std::time::Duration::from_secs(15);
/// How long the watch may be behind. An object that it does not know after that is gone.
const WATCH_LAG: std::time::Duration = std::time::Duration::from_secs(10);

/// What all looks at jobs share.
pub struct Context {
    /// Clients of the API server.
    pub clients: Clients,
    /// What is watched.
    pub stores: Stores,
    /// Certificates.
    pub issuer: Issuer,
    /// Says events.
    pub recorder: Recorder,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where the operator itself stands.
    pub build: build::Context,
    /// What is remembered of each job, by uid. In boxes: a table has up to twice the room it needs.
    pub jobs: Mutex<HashMap<String, Box<JobMemory>>>,
    /// Wakes a job's look.
    pub wake: Mutex<mpsc::Sender<ObjectRef<StreamJob>>>,
    /// Calls to coordinators under way.
    pub calls: Mutex<JoinSet<()>>,
    /// Whether this process leads; it may not write when it does not.
    pub reign: Arc<Reign>,
}

/// What is remembered of one job. Losing it costs time only.
#[derive(Default)]
pub struct JobMemory {
    /// What decisions remember.
    pub memory: Memory,
    /// The StatefulSet as we last wrote it: the watch may be behind.
    pub written: Option<Box<StatefulSet>>,
    /// When that was.
    pub written_at: Option<Instant>,
    /// The status as we last wrote it: as above.
    pub status: Option<Box<StreamJobStatus>>,
    /// A Secret that was issued and not used yet.
    pub issued: Option<(u64, Timestamp)>,
    /// The connection to the coordinator, and the pod's uid it belongs to.
    pub client: Option<(String, ControlClient)>,
    /// ConfigMaps that were read: immutable, so once is enough.
    pub resolved: HashMap<String, Box<ResolvedJob>>,
    /// When the status was last written.
    pub status_at: Option<Instant>,
    /// An object of another owner that stands in the way, and when that was seen.
    pub conflict: Option<(String, Instant)>,
    /// What the API server said about the pod's node, and when.
    pub node: Option<(Instant, String, NodeHealth)>,
    /// Why the API server refuses pods, and when it was asked.
    pub not_admitted: Option<(Instant, Option<String>)>,
    /// The StatefulSet's template that was found to be what was applied, by its hash.
    pub verified: Option<String>,
    /// When objects that somebody else edited were last put back, by kind.
    pub repaired: HashMap<String, Instant>,
    /// Looks that failed in a row.
    pub errors: u32,
}

impl JobMemory {
    /// Whether the watch may not know yet of what was written.
    pub fn written_is_new(&self) -> bool {
        self.written_at.is_some_and(|at| at.elapsed() < WATCH_LAG)
    }
}

impl Context {
    /// Works on what is remembered of a job.
    pub fn with<T>(&self, uid: &str, work: impl FnOnce(&mut JobMemory) -> T) -> T {
        work(self.jobs.lock().entry(uid.to_owned()).or_default())
    }

    /// Wakes a job's look.
    pub fn wake(&self, namespace: &str, name: &str) {
        let job = ObjectRef::new(name).within(namespace);
        // A full channel has more than enough to do, and every look has a next one.
        let _ = self.wake.lock().try_send(job);
    }

    /// Whether this process may write.
    pub fn leads(&self) -> bool {
        self.reign.lasts(Instant::now())
    }

    /// Forgets jobs that are gone, now and then, until the process ends.
    pub async fn tidy(&self) {
        loop {
            tokio::time::sleep(TIDY_EVERY).await;
            let there = self.stores.jobs.state();
            let uids: HashSet<&str> = there.iter().filter_map(|job| job.metadata.uid.as_deref()).collect();
            self.jobs.lock().retain(|uid, _| uids.contains(uid.as_str()));
            let name = |job: &StreamJob| Some((job.metadata.namespace.clone()?, job.metadata.name.clone()?));
            let names: HashSet<(String, String)> = there.iter().filter_map(|job| name(job)).collect();
            self.metrics.retain(|namespace, job| names.contains(&(namespace.to_owned(), job.to_owned())));
            while self.calls.lock().try_join_next().is_some() {}
        }
    }
}
