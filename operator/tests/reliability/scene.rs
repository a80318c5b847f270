//! One job in a namespace of its own, with its own operator behind its own proxy, taken through its life phase by phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::coordinator::Journal;
use crate::kubelet::Kubelet;
use crate::operator::{Launch, Operator};
use crate::proxy::{Blow, Proxy, Side};
use crate::seen::{Dump, Seen, difference};
use crate::server::Server;

/// The job's name in every namespace.
pub const JOB: &str = "q";
/// How long a phase may take, on a machine that does other things too.
const PHASE_LIMIT: Duration = Duration::from_secs(150);
/// Between two looks of ours.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An undisturbed phase is over when nothing but its status was written for so long.
const QUIET: Duration = Duration::from_secs(3);

/// What all scenes share.
pub struct Stage {
    /// The API server.
    pub server: Server,
    /// Who runs pods.
    pub kubelet: Kubelet,
}

/// A part of a job's life: what the user does, and how it looks when that has taken effect.
pub struct Phase {
    /// In one word.
    pub name: &'static str,
    /// What the user does.
    pub act: Act,
    /// Whether it has taken effect.
    pub is_done: fn(&Seen) -> Result<(), String>,
}

/// What a user does.
pub enum Act {
    /// Creates the job with this spec.
    Create(Value),
    /// Merges this into the spec.
    Change(Value),
    /// Deletes the job.
    Delete,
}

/// How a phase ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The objects.
    pub dump: Dump,
    /// What the job was told, from its beginning.
    pub told: Vec<String>,
}

/// One job and its operator.
pub struct Scene {
    stage: &'static Stage,
    /// Its namespace.
    pub namespace: String,
    /// What is between operator and API server.
    pub proxy: Proxy,
    /// How its operator is started.
    pub launch: Launch,
    /// The operator, while it runs.
    pub operator: Arc<Mutex<Option<Operator>>>,
    /// A second operator, while there is one.
    pub second: Mutex<Option<(Launch, Operator)>>,
    /// Certificates that may have been issued and not used.
    pub spare_certificates: usize,
    _scratch: tempfile::TempDir,
}

impl Scene {
    /// A namespace with nothing in it but rights. The operator is not started.
    pub async fn new(stage: &'static Stage, namespace: &str) -> Self {
        stage.server.namespace(namespace).await;
        let proxy = Proxy::start(&stage.server).await;
        let scratch = tempfile::Builder::new().prefix(namespace).disable_cleanup(keeps()).tempdir().unwrap();
        let kubeconfig = scratch.path().join("kubeconfig");
        std::fs::write(&kubeconfig, stage.server.kubeconfig(&format!("https://{}", proxy.address))).unwrap();
        let launch = Launch {
            kubeconfig,
            namespace: namespace.to_owned(),
            watches_all: false,
            identity: "operator-0".to_owned(),
            image: "weir:1".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            log: scratch.path().join("operator.log"),
        };
        Self {
            stage,
            namespace: namespace.to_owned(),
            proxy,
            launch,
            operator: Arc::default(),
            second: Mutex::default(),
            spare_certificates: 0,
            _scratch: scratch,
        }
    }

    /// Starts the operator.
    pub fn start_operator(&self) {
        *self.operator.lock() = Some(Operator::start(&self.launch));
    }

    /// Starts operators that have ended by themselves again, as Kubernetes does: on a busy machine one may lose its leadership.
    fn supervise(&self) {
        let mut slot = self.operator.lock();
        if slot.as_mut().is_some_and(Operator::has_ended) {
            *slot = Some(Operator::start(&self.launch));
        }
        if let Some((launch, second)) = self.second.lock().as_mut()
            && second.has_ended()
        {
            *second = Operator::start(launch);
        }
    }

    /// At write `at`, kills the operator and starts it again.
    pub fn kill_at(&self, at: u64, side: Side) {
        let (slot, launch) = (self.operator.clone(), self.launch.clone());
        let strike = Box::new(move || {
            let mut slot = slot.lock();
            drop(slot.take());
            *slot = Some(Operator::start(&launch));
        });
        self.proxy.arm(Some(Blow { at, side, strike }));
    }

    /// The job's journal.
    pub fn journal(&self) -> Arc<Mutex<Journal>> {
        self.stage.kubelet.bucket.journal(&self.namespace, JOB)
    }

    /// Does what the user does.
    pub async fn act(&self, act: &Act) {
        let jobs = format!("/apis/weir.dev/v1alpha1/namespaces/{}/streamjobs", self.namespace);
        match act {
            Act::Create(spec) => {
                let job = json!({
                    "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": { "name": JOB }, "spec": spec,
                });
                self.stage.server.post(&jobs, &job).await;
            }
            Act::Change(change) => {
                let api: kube::Api<weir_api::StreamJob> =
                    kube::Api::namespaced(self.stage.server.admin.clone(), &self.namespace);
                let patch = Patch::Merge(json!({ "spec": change }));
                api.patch(JOB, &PatchParams::default(), &patch).await.unwrap();
            }
            Act::Delete => {
                let request = http::Request::delete(format!("{jobs}/{JOB}")).body(Vec::new()).unwrap();
                let _: Value = self.stage.server.admin.request(request).await.unwrap();
            }
        }
    }

    /// What there is.
    pub async fn seen(&self) -> Result<Seen, String> {
        Seen::read(&self.stage.server, &self.namespace).await
    }

    /// Waits until the phase has taken effect and nothing more is written.
    pub async fn settle(&self, phase: &Phase) -> Ending {
        let started = Instant::now();
        let mut quiet_since = (Instant::now(), 0);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.supervise();
            let writes = self.proxy.log().iter().filter(|line| !line.contains("/status")).count();
            let why = match self.seen().await {
                Ok(seen) => match (phase.is_done)(&seen) {
                    Ok(()) if writes == quiet_since.1 && quiet_since.0.elapsed() > QUIET => {
                        self.check_sanity();
                        return Ending { dump: seen.dump(), told: self.journal().lock().told.clone() };
                    }
                    Ok(()) => "it goes on writing".to_owned(),
                    Err(why) => why,
                },
                Err(why) => why,
            };
            if writes != quiet_since.1 {
                quiet_since = (Instant::now(), writes);
            }
            self.check_time(started, phase, &why);
        }
    }

    /// Waits until everything is as `expected`.
    pub async fn reach(&self, phase: &Phase, expected: &Ending) {
        let started = Instant::now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.supervise();
            let told = self.journal().lock().told.clone();
            let why = match self.seen().await {
                Ok(seen) => {
                    let certificates = seen.all("Secret").len();
                    let spare = 1 + self.spare_certificates;
                    assert!(
                        certificates <= spare,
                        "{}: {certificates} certificates, {spare} were issued",
                        self.namespace
                    );
                    let found = seen.dump();
                    if found == expected.dump && told == expected.told {
                        return self.check_sanity();
                    }
                    format!("{}told {told:#?}, expected {:#?}", difference(&expected.dump, &found), expected.told)
                }
                Err(why) => why,
            };
            self.check_time(started, phase, &why);
        }
    }

    fn check_time(&self, started: Instant, phase: &Phase, why: &str) {
        if started.elapsed() < PHASE_LIMIT {
            return;
        }
        let log = std::fs::read_to_string(&self.launch.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(60).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        panic!(
            "{}: `{}` does not come to its end: {why}\nwrites:\n{}\nthe operator's last words:\n{}",
            self.namespace,
            phase.name,
            self.proxy.log().join("\n"),
            tail.join("\n")
        );
    }

    fn check_sanity(&self) {
        let journal = self.journal();
        let journal = journal.lock();
        assert!(journal.wrong.is_empty(), "{}: {:?}", self.namespace, journal.wrong);
        assert!(journal.processes.len() <= 1, "{}: {:?}", self.namespace, journal.processes);
    }
}

/// Whether logs of operators are kept.
fn keeps() -> bool {
    std::env::var_os("WEIR_OPERATOR_KEEP").is_some()
}
