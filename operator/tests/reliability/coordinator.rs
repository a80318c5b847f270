//! A stand-in for a runtime pod's coordinator: it speaks the control API and keeps a journal, as `weir worker` does, and
//! processes nothing. What it was told is written down: that is what a job would have noticed.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use weir_api::ResolvedJob;
use weir_api::resolved::RestoreFrom;
use weir_control::{Control, Refusal, v1};

/// Between two checkpoints of a stand-in.
const INTERVAL_MILLIS: i64 = 1000;
/// From a claim to its first checkpoint.
const FIRST_MILLIS: i64 = 50;
/// Checkpoints that are kept.
const RETAINED: usize = 6;

/// What the journals of all jobs say: the bucket.
#[derive(Default, Clone)]
pub struct Bucket(Arc<Mutex<Journals>>);

/// By namespace and name.
type Journals = HashMap<(String, String), Arc<Mutex<Journal>>>;

impl Bucket {
    /// A job's journal.
    pub fn journal(&self, namespace: &str, name: &str) -> Arc<Mutex<Journal>> {
        self.0.lock().entry((namespace.to_owned(), name.to_owned())).or_default().clone()
    }
}

/// The linear history of one job.
#[derive(Default)]
pub struct Journal {
    /// What happened to the job, in order: claims, stops, redeployments, pods that ended.
    pub told: Vec<String>,
    /// What must never be.
    pub wrong: Vec<String>,
    generation: u64,
    number: u64,
    is_stopped: bool,
    consumed: Option<RestoreFrom>,
    checkpoints: Vec<v1::Checkpoint>,
    last_id: u64,
    next_at: i64,
    /// Processes that are there, by the uid of their pods.
    pub processes: Vec<String>,
}

impl Journal {
    /// A coordinator takes the job over; its reign. None if the job is stopped and `job` has no higher number.
    fn claim(&mut self, job: &ResolvedJob) -> Option<u64> {
        let number = job.revision_number;
        if number < self.number {
            self.wrong.push(format!("revision {number} claims after {}", self.number));
        }
        if self.is_stopped && number <= self.number {
            self.told.push(format!("stays stopped {number}"));
            return None;
        }
        self.advance();
        self.generation += 1;
        self.number = number;
        self.is_stopped = false;
        self.next_at = now() + FIRST_MILLIS;
        let restores = job.restore_from.is_some() && job.restore_from != self.consumed;
        if restores {
            self.consumed.clone_from(&job.restore_from);
        }
        let how = if restores { " from what was asked for" } else { "" };
        self.told.push(format!("claim {number} with {} slots{how}", job.slots));
        Some(self.generation)
    }

    /// Checkpoints that are due by now.
    fn advance(&mut self) {
        let now = now();
        while self.next_at != 0 && !self.is_stopped && self.next_at <= now {
            let at = self.next_at;
            self.checkpoint(at);
            self.next_at = (at + INTERVAL_MILLIS).max(now - 10 * INTERVAL_MILLIS);
        }
    }

    fn checkpoint(&mut self, at: i64) {
        self.last_id += 1;
        let checkpoint = v1::Checkpoint {
            id: self.last_id,
            kind: v1::CheckpointKind::Checkpoint.into(),
            triggered_at: at - 10,
            completed_at: at,
            duration_ms: 10,
            bytes_full: 1 << 20,
            bytes_incremental: 1 << 10,
            generation: self.generation,
        };
        self.checkpoints.insert(0, checkpoint);
        self.checkpoints.truncate(RETAINED);
    }

    fn stop(&mut self) {
        self.advance();
        self.checkpoint(now());
        self.is_stopped = true;
        self.told.push(format!("stop {}", self.number));
    }
}

/// One process.
pub struct Coordinator {
    journal: Arc<Mutex<Journal>>,
    pod: String,
    state: Mutex<Process>,
}

struct Process {
    job: ResolvedJob,
    /// Its reign; none if it found the job stopped.
    reign: Option<u64>,
    started_at: i64,
    nonces: (Option<u64>, Option<u64>),
}

impl Coordinator {
    /// Begins to run `job` in the pod with this uid.
    pub fn start(journal: Arc<Mutex<Journal>>, job: ResolvedJob, pod: &str) -> Self {
        let reign = {
            let mut journal = journal.lock();
            let others = journal.processes.clone();
            if !others.is_empty() {
                journal.wrong.push(format!("pod {pod} begins beside {others:?}"));
            }
            journal.processes.push(pod.to_owned());
            journal.claim(&job)
        };
        let process = Process { job, reign, started_at: now(), nonces: (None, None) };
        Self { journal, pod: pod.to_owned(), state: Mutex::new(process) }
    }

    /// The process ends, as on SIGTERM.
    pub fn end(&self) {
        let mut journal = self.journal.lock();
        journal.advance();
        journal.processes.retain(|pod| *pod != self.pod);
        let how = if journal.is_stopped { "stopped" } else { "running" };
        let number = journal.number;
        journal.told.push(format!("pod ends, job {how} {number}"));
    }

    /// Refuses what comes too late: for an older revision, to a process that was displaced, or over a connection that outlived
    /// the process, as no real one does.
    fn check(&self, revision: u64) -> Result<(), Refusal> {
        let journal = self.journal.lock();
        if !journal.processes.contains(&self.pod) {
            return Err(Refusal::Unavailable("the process has ended".to_owned()));
        }
        let process = self.state.lock();
        if process.reign.is_some_and(|reign| reign != journal.generation) {
            return Err(Refusal::Precondition("another process took the job over".to_owned()));
        }
        let told = process.job.revision_number;
        if revision != 0 && revision < told {
            return Err(Refusal::Precondition(format!("runs {told}, the call is for {revision}")));
        }
        Ok(())
    }
}

#[async_trait]
impl Control for Coordinator {
    async fn status(&self) -> Result<v1::StatusResponse, Refusal> {
        if !self.journal.lock().processes.contains(&self.pod) {
            return Err(Refusal::Unavailable("the process has ended".to_owned()));
        }
        let mut journal = self.journal.lock();
        journal.advance();
        let process = self.state.lock();
        let state = match process.reign {
            Some(reign) if reign != journal.generation => v1::JobState::Left,
            _ if journal.is_stopped => v1::JobState::Stopped,
            _ => v1::JobState::Running,
        };
        let job = &process.job;
        let journal_state = if journal.is_stopped { v1::JobState::Stopped } else { v1::JobState::Running };
        Ok(v1::StatusResponse {
            runtime_version: "0.1.0".to_owned(),
            job: Some(v1::JobIdentity {
                namespace: job.namespace.clone(),
                name: job.name.to_string(),
                uid: job.owner.clone(),
                job_id: "the-jobs-id".to_owned(),
                graph: job.job.clone(),
            }),
            revision: Some(v1::Revision { number: job.revision_number, hash: job.revision() }),
            generation: process.reign.unwrap_or_default(),
            state: state.into(),
            parallelism: job.parallelism,
            workers: job.workers,
            slots: job.slots,
            started_at: process.started_at,
            sampled_at: now(),
            checkpoints: journal.checkpoints.clone(),
            completed: journal.last_id,
            storage: Some(v1::Storage::default()),
            checkpoint_nonce: process.nonces.0,
            savepoint_nonce: process.nonces.1,
            journal_state: journal_state.into(),
            journal_revision: Some(v1::Revision { number: journal.number, hash: String::new() }),
            pod_uid: self.pod.clone(),
            ..v1::StatusResponse::default()
        })
    }

    async fn trigger_checkpoint(
        &self,
        request: v1::TriggerCheckpointRequest,
    ) -> Result<v1::TriggerCheckpointResponse, Refusal> {
        self.check(request.revision)?;
        let mut journal = self.journal.lock();
        let mut process = self.state.lock();
        if request.nonce.is_none() || process.nonces.0 != request.nonce {
            journal.advance();
            journal.checkpoint(now());
            journal.told.push("checkpoint as asked".to_owned());
            process.nonces.0 = request.nonce;
        }
        Ok(v1::TriggerCheckpointResponse { checkpoint: journal.checkpoints.first().cloned() })
    }

    async fn trigger_savepoint(
        &self,
        request: v1::TriggerSavepointRequest,
    ) -> Result<v1::TriggerSavepointResponse, Refusal> {
        self.check(request.revision)?;
        let mut journal = self.journal.lock();
        let mut process = self.state.lock();
        if request.nonce.is_none() || process.nonces.1 != request.nonce {
            journal.advance();
            journal.checkpoint(now());
            journal.told.push(format!("savepoint {}", request.name));
            process.nonces.1 = request.nonce;
        }
        let uri = format!("s3://weir/jobs/savepoints/{}", request.name);
        Ok(v1::TriggerSavepointResponse { name: request.name, uri, checkpoint: journal.last_id })
    }

    async fn stop(&self, request: v1::StopRequest) -> Result<v1::StopResponse, Refusal> {
        self.check(request.revision)?;
        let mut journal = self.journal.lock();
        if !journal.is_stopped {
            journal.stop();
        }
        let checkpoint = journal.checkpoints.first().map(|newest| newest.id);
        Ok(v1::StopResponse { state: v1::JobState::Stopped.into(), checkpoint, with_final_checkpoint: true })
    }

    async fn cancel(&self, _: v1::CancelRequest) -> Result<v1::CancelResponse, Refusal> {
        Err(Refusal::Precondition("a stand-in is not cancelled".to_owned()))
    }

    async fn redeploy(&self, request: v1::RedeployRequest) -> Result<v1::RedeployResponse, Refusal> {
        let job: ResolvedJob =
            serde_json::from_slice(&request.job).map_err(|error| Refusal::Invalid(error.to_string()))?;
        self.check(job.revision_number)?;
        let mut journal = self.journal.lock();
        let mut process = self.state.lock();
        if job.revision_number > process.job.revision_number {
            if !journal.is_stopped {
                journal.advance();
                journal.checkpoint(now());
            }
            let number = job.revision_number;
            journal.told.push(format!("redeploy {number}"));
            process.reign = journal.claim(&job);
            process.job = job;
        }
        Ok(v1::RedeployResponse {
            revision: Some(v1::Revision { number: process.job.revision_number, hash: process.job.revision() }),
            generation: process.reign.unwrap_or_default(),
            restored_from: Some(journal.last_id),
            with_final_checkpoint: true,
        })
    }
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}
