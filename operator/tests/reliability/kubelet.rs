//! A stand-in for every kubelet: gives each pod a node, an address of its own on the loopback and a stand-in for what it
//! would run, says so in its status, and takes it away when it is deleted.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weir_api::ResolvedJob;
use weir_control::ServerIdentity;
use weir_operator::names::{COMPONENT, JOB, MANAGED};

use crate::coordinator::{Bucket, Coordinator};
use crate::server::NODE;

/// Between two tries of what a pod waits for.
const AGAIN: Duration = Duration::from_millis(100);

/// The kubelet of all pods that an operator manages.
pub struct Kubelet {
    /// The journals that its coordinators write.
    pub bucket: Bucket,
    _watching: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    client: Client,
    bucket: Bucket,
    pods: Arc<Mutex<HashMap<String, Running>>>,
    addresses: Arc<AtomicU32>,
}

/// A pod: what brings it up, and what it runs.
struct Running {
    task: JoinHandle<()>,
    process: Option<(Arc<Coordinator>, weir_control::Server)>,
    is_ending: bool,
}

impl Kubelet {
    /// Begins to look after pods.
    pub fn start(client: Client) -> Self {
        let bucket = Bucket::default();
        // Two test processes on one machine each take their own part of the loopback.
        let first = (std::process::id() % 120 + 8) << 17 | 127 << 24 | 1 << 8;
        let shared = Shared {
            client: client.clone(),
            bucket: bucket.clone(),
            pods: Arc::default(),
            addresses: Arc::new(AtomicU32::new(first)),
        };
        let watching = tokio::spawn(async move {
            let config = watcher::Config::default().labels(MANAGED);
            let mut events = watcher(Api::<Pod>::all(client), config).boxed();
            loop {
                match events.next().await {
                    Some(Ok(Event::Apply(pod) | Event::InitApply(pod))) => shared.seen(&pod),
                    Some(Ok(Event::Delete(pod))) => shared.gone(&pod),
                    Some(Ok(Event::Init | Event::InitDone)) => {}
                    Some(Err(_)) => tokio::time::sleep(AGAIN).await,
                    None => return,
                }
            }
        });
        Self { bucket, _watching: watching }
    }
}

impl Shared {
    fn seen(&self, pod: &Pod) {
        let uid = pod.uid().unwrap();
        let mut pods = self.pods.lock();
        if pod.metadata.deletion_timestamp.is_some() {
            let ending = pods.get_mut(&uid).is_none_or(|running| !std::mem::replace(&mut running.is_ending, true));
            if ending {
                let (shared, pod) = (self.clone(), pod.clone());
                tokio::spawn(async move { shared.end(&pod).await });
            }
            return;
        }
        if !pods.contains_key(&uid) {
            let (shared, pod) = (self.clone(), pod.clone());
            let task = tokio::spawn(async move { shared.bring_up(&pod).await });
            pods.insert(uid, Running { task, process: None, is_ending: false });
        }
    }

    fn gone(&self, pod: &Pod) {
        let running = self.pods.lock().remove(&pod.uid().unwrap());
        if let Some(running) = running {
            running.task.abort();
            if let Some((coordinator, _server)) = running.process {
                coordinator.end();
            }
        }
    }

    async fn end(&self, pod: &Pod) {
        self.gone(pod);
        let uid = pod.uid().unwrap();
        let mut params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        params.preconditions = Some(kube::api::Preconditions { uid: Some(uid), resource_version: None });
        // It may be gone meanwhile, which is just as well.
        let _ = self.api::<Pod>(pod).delete(&pod.name_any(), &params).await;
    }

    fn api<K>(&self, pod: &Pod) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap())
    }

    async fn bring_up(&self, pod: &Pod) {
        self.bind(pod).await;
        match pod.labels().get(COMPONENT).map(String::as_str) {
            Some("worker") => self.run_worker(pod).await,
            Some(task) => self.run_task(pod, task).await,
            None => {}
        }
    }

    async fn bind(&self, pod: &Pod) {
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": name, "namespace": pod.namespace() },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let bound: Result<Value, _> =
            self.api::<Pod>(pod).create_subresource("binding", &name, &PostParams::default(), &binding).await;
        // A pod that is gone meanwhile needs no node.
        let _ = bound;
    }

    async fn run_worker(&self, pod: &Pod) {
        let volume = |name: &str| {
            let volumes = pod.spec.as_ref().unwrap().volumes.as_ref().unwrap();
            volumes.iter().find(|volume| volume.name == name).unwrap().clone()
        };
        let config = volume("job").config_map.unwrap().name;
        let secret = volume("tls").secret.unwrap().secret_name.unwrap();
        let (job, identity) = loop {
            let config = self.api::<ConfigMap>(pod).get_opt(&config).await.ok().flatten();
            let secret = self.api::<Secret>(pod).get_opt(&secret).await.ok().flatten();
            if let (Some(config), Some(secret)) = (config, secret) {
                let text = |key: &str| String::from_utf8(secret.data.as_ref().unwrap()[key].0.clone()).unwrap();
                let job: ResolvedJob = serde_json::from_str(&config.data.unwrap()["job.json"]).unwrap();
                let identity = ServerIdentity::from_pem(&text("tls.crt"), &text("tls.key"), &text("ca.crt")).unwrap();
                break (job, identity);
            }
            tokio::time::sleep(AGAIN).await;
        };
        let listener = self.listen().await;
        let ip = listener.local_addr().unwrap().ip();
        {
            let mut pods = self.pods.lock();
            let uid = pod.uid().unwrap();
            let Some(running) = pods.get_mut(&uid).filter(|running| !running.is_ending) else { return };
            let journal = self.bucket.journal(&pod.namespace().unwrap(), &pod.labels()[JOB]);
            let coordinator = Arc::new(Coordinator::start(journal, job, &uid));
            let server = weir_control::serve(listener, &identity, coordinator.clone()).unwrap();
            running.process = Some((coordinator, server));
        }
        let state = json!({ "running": { "startedAt": now() } });
        self.say(pod, "Running", &ip.to_string(), true, &state).await;
    }

    async fn listen(&self) -> TcpListener {
        loop {
            let number = self.addresses.fetch_add(1, Ordering::Relaxed);
            let address = Ipv4Addr::from(number);
            if let Ok(listener) = TcpListener::bind((address, weir_control::PORT)).await {
                return listener;
            }
        }
    }

    /// A preflight finds nothing wrong, a deletion deletes.
    async fn run_task(&self, pod: &Pod, task: &str) {
        let journal = self.bucket.journal(&pod.namespace().unwrap(), &pod.labels()[JOB]);
        let config = pod.annotations()[weir_operator::names::CONFIG].clone();
        let job = loop {
            match self.api::<ConfigMap>(pod).get_opt(&config).await {
                Ok(Some(config)) => {
                    break serde_json::from_str::<ResolvedJob>(&config.data.unwrap()["job.json"]).unwrap();
                }
                Ok(None) | Err(_) => tokio::time::sleep(AGAIN).await,
            }
        };
        {
            let mut journal = journal.lock();
            let said = format!("{task} {}", job.revision_number);
            // The same question asked again costs a pod and changes nothing.
            if journal.told.last() != Some(&said) {
                journal.told.push(said);
            }
            if task == "delete" && !journal.processes.is_empty() {
                journal.wrong.push("checkpoints are deleted while the job runs".to_owned());
            }
        }
        let state = json!({ "terminated": {
            "exitCode": 0, "reason": "Completed", "message": "{\"ok\":true}", "startedAt": now(), "finishedAt": now(),
        } });
        self.say(pod, "Succeeded", "127.0.0.1", false, &state).await;
    }

    async fn say(&self, pod: &Pod, phase: &str, ip: &str, ready: bool, state: &Value) {
        let truth = if ready { "True" } else { "False" };
        let condition =
            |kind: &str, status: &str| json!({ "type": kind, "status": status, "lastTransitionTime": now() });
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": {
            "phase": phase, "podIP": ip, "podIPs": [{ "ip": ip }], "startTime": now(),
            "conditions": [condition("PodScheduled", "True"), condition("Initialized", "True"),
                           condition("ContainersReady", truth), condition("Ready", truth)],
            "containerStatuses": [{
                "name": "weir", "image": "weir", "imageID": "weir", "ready": ready, "started": ready,
                "restartCount": 0, "state": state,
            }],
        } });
        let name = pod.name_any();
        let _ = self.api::<Pod>(pod).patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    }
}

fn now() -> String {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap().to_string()
}
