//! The Lease: reads and writes it as [`Election`] decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use kube::{Client, ResourceExt};

use crate::election::{DURATION, Election, Move, RENEW_EVERY, Reign, Seen};
use crate::metrics::Metrics;
use crate::permissions::LEASE;

/// How long one call may take, whatever the client says.
const CALL_LIMIT: Duration = Duration::from_secs(4);
/// How soon a leader tries again what failed: several tries fit into the time before it steps down.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How often a leader looks at its own clock.
const TICK: Duration = Duration::from_millis(250);

/// One process's part in the election.
pub struct Leadership {
    api: Api<Lease>,
    me: String,
    election: Election,
    reign: Arc<Reign>,
    metrics: Arc<Metrics>,
    /// Writes of the Lease that succeeded.
    renewals: u64,
}

impl Leadership {
    /// Takes part as `me` in `namespace`. `reign` lasts exactly while this process may write.
    pub fn new(client: Client, namespace: &str, me: String, reign: Arc<Reign>, metrics: Arc<Metrics>) -> Self {
        let election = Election::new(me.clone());
        Leadership { api: Api::namespaced(client, namespace), me, election, reign, metrics, renewals: 0 }
    }

    /// Waits until this process leads; answers the number of its reign. `reached` is told of the first answer.
    pub async fn acquire(&mut self, reached: &AtomicBool) -> i32 {
        loop {
            if self.try_once().await {
                reached.store(true, Ordering::Relaxed);
            }
            if let Some(reign) = self.election.leads(Instant::now()) {
                self.metrics.leader(true);
                return reign;
            }
            tokio::time::sleep(RENEW_EVERY / 2).await;
        }
    }

    /// Keeps the leadership; returns when it is lost.
    pub async fn keep(&mut self) {
        let mut next = Instant::now() + RENEW_EVERY;
        loop {
            tokio::time::sleep(TICK).await;
            if Instant::now() >= next {
                next = Instant::now() + RENEW_EVERY;
                // Our own clock is watched while the call is under way: it may hang as long as it likes.
                let (left, renewals) = (self.left(), self.renewals);
                let _ = tokio::time::timeout(left, self.try_once()).await;
                if self.renewals == renewals {
                    next = Instant::now() + TRY_AGAIN;
                }
            }
            if self.election.leads(Instant::now()).is_none() {
                self.reign.ended();
                self.metrics.leader(false);
                return;
            }
        }
    }

    fn left(&self) -> Duration {
        CALL_LIMIT.min(crate::election::STEP_DOWN)
    }

    /// Gives the Lease back, so that another process need not wait.
    pub async fn release(&mut self) {
        self.reign.ended();
        let Ok(Ok(Some(mut lease))) = tokio::time::timeout(CALL_LIMIT, self.api.get_opt(LEASE)).await else { return };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.me) {
            spec.holder_identity = Some(String::new());
            let _ = tokio::time::timeout(CALL_LIMIT, self.api.replace(LEASE, &PostParams::default(), &lease)).await;
        }
    }

    /// One read and perhaps one write. True if the API server answered.
    async fn try_once(&mut self) -> bool {
        let lease = match tokio::time::timeout(CALL_LIMIT, self.api.get_opt(LEASE)).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read the Lease");
                return false;
            }
            Err(_) => {
                tracing::warn!("the Lease was not read in time");
                return false;
            }
        };
        let sent = Instant::now();
        let (write, transitions) = match self.election.observe(lease.as_ref().map(seen), sent) {
            Move::Wait => return true,
            Move::Create => {
                let fresh = self.lease(None, 0);
                (tokio::time::timeout(CALL_LIMIT, self.api.create(&PostParams::default(), &fresh)).await, 0)
            }
            Move::Write { version, transitions } => {
                let next = self.lease(Some((version, lease.as_ref())), transitions);
                (
                    tokio::time::timeout(CALL_LIMIT, self.api.replace(LEASE, &PostParams::default(), &next)).await,
                    transitions,
                )
            }
        };
        match write {
            Ok(Ok(_)) => {
                self.election.written(sent, transitions);
                self.reign.renewed(sent);
                self.renewals += 1;
            }
            // A conflict is another process's write; what is lost is found out by the next read.
            Ok(Err(error)) => tracing::info!(%error, "the Lease was not written"),
            Err(_) => tracing::warn!("the Lease was not written in time"),
        }
        true
    }

    fn lease(&self, found: Option<(String, Option<&Lease>)>, transitions: i32) -> Lease {
        let now = MicroTime(jiff::Timestamp::now());
        let (version, old) = found.map_or((None, None), |(version, old)| (Some(version), old));
        let before = old.and_then(|old| old.spec.as_ref());
        let is_renewal = before.is_some_and(|before| before.lease_transitions == Some(transitions));
        let acquired = before.and_then(|before| before.acquire_time.clone()).filter(|_| is_renewal);
        Lease {
            metadata: ObjectMeta { name: Some(LEASE.to_owned()), resource_version: version, ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: Some(acquired.unwrap_or_else(|| now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn seen(lease: &Lease) -> Seen {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Seen {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.resource_version().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
    }
}
