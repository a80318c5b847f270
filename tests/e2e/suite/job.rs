//! StreamJobs as a test applies, changes and looks at them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, IMAGE, SYSTEM, files};
use crate::command::{Answer, eventually};
use crate::ledger::Verdict;

/// Longest wait for what ought to take seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Keys of a ledger job.
pub const KEYS: u64 = 1_000;

/// A StreamJob in a namespace of its own.
pub struct Job<'a> {
    cluster: &'a Cluster,
    namespace: &'static str,
    name: &'static str,
    book: String,
    keys: u64,
    spec: Value,
}

impl<'a> Job<'a> {
    /// A job that writes numbers into the book named like the namespace, `end` of them or without an end.
    pub fn ledger(cluster: &'a Cluster, namespace: &'static str, end: Option<u64>) -> Self {
        let mut args = json!({ "ledger": cluster.ledger.address(), "book": namespace, "rate": 2_000, "keys": KEYS });
        if let Some(end) = end {
            args["end"] = json!(end);
        }
        Self::new(cluster, namespace, "ledger", json!({ "job": "ledger", "args": args }))
    }

    /// A job without an end whose keys, `keys` of them, each hold 64 KiB of state that do not compress.
    pub fn heavy_ledger(cluster: &'a Cluster, namespace: &'static str, keys: u64) -> Self {
        let mut job = Self::ledger(cluster, namespace, None);
        job.keys = keys;
        job.spec["args"]["keys"] = json!(keys);
        job.spec["args"]["ballast"] = json!(64 * 1024);
        job
    }

    /// Any job; `spec` is completed by storage, image and a checkpoint each second, where it leaves them out.
    pub fn new(cluster: &'a Cluster, namespace: &'static str, name: &'static str, mut spec: Value) -> Self {
        let defaults = json!({
            "image": IMAGE,
            "worker": { "slots": 1, "memory": "256Mi", "cpu": "500m", "disk": "1Gi" },
            "storage": {
                "uri": format!("s3://weir/{}", cluster.prefix(namespace)),
                "endpoint": "http://minio.storage:9000",
                "credentials": { "secretName": "weir-s3" },
            },
            "checkpoint": { "interval": "1s" },
        });
        for (field, value) in defaults.as_object().expect("it is one") {
            spec.as_object_mut().expect("a spec is an object").entry(field).or_insert_with(|| value.clone());
        }
        cluster.operator();
        cluster.namespace(namespace);
        Self { cluster, namespace, name, book: namespace.to_owned(), keys: KEYS, spec }
    }

    /// The same job once more in the same namespace, under another name and with a book of its own.
    pub fn beside(&self, name: &'static str) -> Self {
        let book = format!("{}-{name}", self.namespace);
        let mut spec = self.spec.clone();
        spec["args"]["book"] = json!(book);
        Self { cluster: self.cluster, namespace: self.namespace, name, book, keys: self.keys, spec }
    }

    /// Leaves a field of the spec to its default, without telling the cluster.
    pub fn unset(&mut self, field: &str) {
        self.spec.as_object_mut().expect("a spec is an object").remove(field);
    }

    /// Changes where it is stored, without telling the cluster.
    pub fn set_storage(&mut self, field: &str, value: Value) {
        self.spec["storage"][field] = value;
    }

    /// Changes the spec, without telling the cluster.
    pub fn set(&mut self, field: &str, value: Value) {
        self.spec[field] = value;
    }

    /// `kubectl apply`.
    pub fn apply(&self) {
        let manifest = json!({
            "apiVersion": "weir.dev/v1alpha1",
            "kind": "StreamJob",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": self.spec,
        });
        self.cluster.apply(&manifest.to_string());
    }

    /// `kubectl patch --type=merge` of the spec.
    pub fn patch(&self, spec: &Value) {
        let patch = json!({ "spec": spec }).to_string();
        self.cluster.must(&["-n", self.namespace, "patch", "streamjob", self.name, "--type=merge", "-p", &patch]);
    }

    /// `kubectl delete`, and waits until it is gone.
    pub fn delete(&self) {
        let answer =
            self.kubectl(&["delete", "streamjob", self.name, "--ignore-not-found", "--wait=true", "--timeout=120s"]);
        assert!(answer.ok, "{}{}", answer.out, answer.err);
    }

    /// kubectl in its namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Answer {
        self.cluster.kubectl(&[&["-n", self.namespace], arguments].concat())
    }

    /// Its status, or null.
    pub fn status(&self) -> Value {
        self.cluster.get(self.namespace, &format!("streamjob/{}", self.name))["status"].clone()
    }

    /// A condition of its status, or null.
    pub fn condition(&self, kind: &str) -> Value {
        let status = self.status();
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
    }

    /// The newest generation whose output counts.
    pub fn generation(&self) -> u64 {
        self.cluster.ledger.generation(&self.book)
    }

    /// Waits for this state, which must answer the current spec.
    pub fn await_state(&self, state: &str) -> Value {
        eventually(&format!("{} is {state}", self.name), PATIENCE, || {
            let object = self.cluster.get(self.namespace, &format!("streamjob/{}", self.name));
            let status = &object["status"];
            let current = status["observedGeneration"] == object["metadata"]["generation"];
            if current && status["state"] == state { Ok(status.clone()) } else { Err(status.to_string()) }
        })
    }

    /// Waits until the status shows a checkpoint above this one, and returns its number.
    pub fn await_checkpoint_above(&self, id: i64) -> i64 {
        eventually(&format!("a checkpoint above {id}"), PATIENCE, || {
            let status = self.status();
            match status["lastCheckpoint"]["id"].as_i64() {
                Some(found) if found > id => Ok(found),
                _ => Err(status.to_string()),
            }
        })
    }

    /// Lines of its book that count.
    pub fn lines(&self) -> u64 {
        self.cluster.ledger.lines(&self.book)
    }

    /// Waits until more is committed than now, and returns how long that took.
    pub fn await_progress(&self) -> Duration {
        let (started, before) = (Instant::now(), self.lines());
        eventually("more output is committed", PATIENCE, || match self.lines() {
            found if found > before => Ok(()),
            found => Err(format!("{found} lines; {}", self.status())),
        });
        started.elapsed()
    }

    /// Disturbs it and waits until output of a newer generation is committed; returns how long that took.
    pub fn await_recovery(&self, disturb: impl FnOnce()) -> Duration {
        let (before, started) = (self.generation(), Instant::now());
        disturb();
        eventually("output of a newer generation is committed", PATIENCE, || {
            if self.generation() > before { Ok(()) } else { Err(format!("generation {before}; {}", self.status())) }
        });
        started.elapsed()
    }

    /// The longest time without a commit from `since` to the last one.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        self.cluster.ledger.longest_gap(&self.book, since)
    }

    /// The namespace it is alone in.
    pub fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// The pod, as the API server has it.
    pub fn pod(&self) -> Value {
        self.cluster.get(self.namespace, &format!("pod/{}-0", self.name))
    }

    /// The number of the process in its pod, as the node counts.
    pub fn process(&self) -> String {
        let uid = self.pod()["metadata"]["uid"].as_str().expect("it has a pod").to_owned();
        let found = self.cluster.inside(&["sh", "-c", FIND_PROCESS, "find", &uid]);
        assert!(found.ok, "no process of pod {uid}: {}", found.err);
        found.out.trim().to_owned()
    }

    /// `kubectl delete pod --grace-period=0 --force`.
    pub fn kill_pod(&self) {
        let answer = self.kubectl(&["delete", "pod", &format!("{}-0", self.name), "--grace-period=0", "--force"]);
        assert!(answer.ok, "{}{}", answer.out, answer.err);
    }

    /// Has the operator's pod replaced, and waits until its successor has seen more checkpoints: of the same pod and generation.
    pub fn await_next_operator(&self) {
        let identity = || (self.pod()["metadata"]["uid"].clone(), self.generation());
        let (before, checkpoint) = (identity(), self.await_checkpoint_above(0));
        self.cluster.must(&["-n", SYSTEM, "delete", "pods", "-l", "app.kubernetes.io/instance=weir", "--wait=true"]);
        self.await_checkpoint_above(checkpoint + 1);
        assert_eq!(identity(), before, "another operator restarted the job");
    }

    /// Suspends it, and waits until it is.
    pub fn suspend(&self) {
        self.patch(&json!({ "desiredState": "Suspended" }));
        self.await_state("Suspended");
    }

    /// The oracle's word on its book.
    pub fn judge(&self) -> Verdict {
        self.cluster.ledger.judge(&self.book, self.keys)
    }

    /// Suspends it, so that everything up to the highest number is to be there, and requires that: nothing lost, nothing doubled.
    pub fn assert_nothing_lost_or_doubled(&self) {
        self.suspend();
        let verdict = self.judge();
        assert_eq!((verdict.lost, verdict.doubled, verdict.miscounted), (0, 0, 0), "{verdict:?}");
        assert!(verdict.numbers > 0, "the book {} is empty", self.book);
    }

    /// The book holds all numbers below `end`, each once, and every count.
    pub fn assert_exact(&self, end: u64) {
        let exact = Verdict { numbers: end, end, lost: 0, holes: 0, doubled: 0, miscounted: 0 };
        assert_eq!(self.judge(), exact, "the book {}", self.book);
    }

    /// What is stored under its prefix, as files of the S3 server.
    pub fn stored(&self) -> u64 {
        files(&self.stored_in()).len() as u64
    }

    /// All that is stored under its prefix, one after the other.
    pub fn stored_text(&self) -> String {
        let files = files(&self.stored_in());
        let texts = files.iter().map(|file| std::fs::read(file).unwrap_or_default());
        texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    fn stored_in(&self) -> PathBuf {
        let prefix = self.cluster.prefix(self.namespace);
        let place = format!("node/minio/weir/{prefix}/{}/{}", self.namespace, self.name);
        self.cluster.directory().join(place)
    }

    /// Has the namespace removed, with all that is in it. Nobody waits for that: it takes its time, and the next test has another.
    pub fn clean_up(self) {
        self.cluster.must(&["delete", "namespace", self.namespace, "--wait=false"]);
    }
}

/// A container's first process is `weir`; control groups are named after pods.
const FIND_PROCESS: &str = r#"
for process in /proc/[0-9]*; do
  if grep -qs "pod$1" "$process/cgroup" && [ "$(cat "$process/comm")" = weir ]; then echo "${process#/proc/}" && exit 0; fi
done
exit 1"#;
