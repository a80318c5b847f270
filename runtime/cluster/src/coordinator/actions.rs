//! One small function per action of the coordinator.

use std::sync::Arc;

use bytes::Bytes;
use weir_protocol::coordinator::{AbortCause, Action, Deployment, Event};
use weir_protocol::journal::{CheckpointEntry, JournalAction};
use weir_protocol::{CheckpointId, Manifest, Millis};
use weir_storage::StoreErrorKind;

use super::deploy::{DeployError, deploy};
use super::{Exit, Shell};
use crate::io::Io;
use crate::message::Order;
use crate::pulse::Decision;
use crate::random::random_unit;
use crate::retry::read_checked;
use crate::savepoint::copy_savepoint;
use crate::sweep;

impl Shell {
    /// Carries out an action, or starts what does.
    pub(super) fn perform(&mut self, action: Action, decision: &Decision, now: Millis) {
        match action {
            Action::Journal(call) => self.call_journal(call, decision),
            Action::Deploy(deployment) => self.deploy(*deployment),
            Action::Cancel { reason } => self.cancel(&reason),
            Action::Trigger(barrier) => self.worker.tell(Order::Trigger(barrier)),
            Action::Abort { checkpoint, cause } => self.abort(checkpoint, &cause),
            Action::PutManifest { checkpoint, key, bytes, guarded } => {
                self.put_manifest(checkpoint, key, bytes.into(), guarded.then_some(decision));
            }
            Action::Commit { checkpoint, handles } => {
                let generation = self.machine.generation().unwrap_or_default();
                self.commits.commit(generation, checkpoint, handles);
            }
            Action::Acknowledge { checkpoint } => {
                let generation = self.machine.generation().unwrap_or_default();
                self.worker.tell(Order::Acknowledge(generation, checkpoint));
            }
            Action::EndTasks => self.cancel("all output is committed"),
            Action::CopySavepoint { name, checkpoint } => self.copy_savepoint(name, checkpoint),
            Action::LoadManifest(entry) => drop(self.spawn(async move |io| load_manifest(&io, entry).await)),
            Action::ListObjects => self.list_objects(decision),
            Action::DeleteObjects(keys) => self.delete_objects(keys, decision),
            Action::Completed(entry) => self.completed(&entry, now),
            Action::Answer { request, result } => {
                self.waiting.answer(request, result, &self.io.options.objects.describe());
            }
            Action::Settled(status) => self.exit = Some(Exit::Settled(status)),
            Action::Refused(refusal) => self.exit = Some(Exit::Refused(refusal)),
            Action::Leave(reason) => {
                // From here on nothing may be written: what is under way ends at once.
                self.jobs.abort_all();
                self.exit = Some(Exit::Leave(reason));
            }
        }
    }

    /// Runs some I/O whose answer is an event.
    fn spawn<F>(&mut self, io: impl FnOnce(Arc<Io>) -> F) -> tokio::task::AbortHandle
    where
        F: Future<Output = Event> + Send + 'static,
    {
        let shared = Arc::clone(&self.io);
        let call = io(Arc::clone(&self.io));
        self.jobs.spawn(async move { shared.answer(call.await) })
    }

    fn call_journal(&mut self, call: JournalAction, decision: &Decision) {
        let (io, decision) = (Arc::clone(&self.io), decision.clone());
        self.jobs.spawn(async move {
            if let Some(answer) = io.journal.execute(call, &decision).await {
                io.answer(answer);
            }
        });
    }

    fn deploy(&mut self, deployment: Deployment) {
        let generation = deployment.generation;
        tracing::info!(%generation, restore = ?deployment.restore.checkpoint(), "deploying");
        self.was_deployed = true;
        self.early_ends.clear();
        self.view.note_deployment(&deployment);
        self.metrics.note_generation(generation);
        let (worker, commits) = (self.worker.clone(), self.commits.clone());
        self.deploying = Some(self.spawn(async move |io| match deploy(&io, &worker, &commits, deployment).await {
            Ok(event) => event,
            Err(DeployError::Fatal(reason)) => Event::Fatal { reason },
            Err(DeployError::Failed(reason)) => Event::Failed { generation, reason, random: random_unit() },
        }));
    }

    fn cancel(&mut self, reason: &str) {
        tracing::info!(reason, "ending all tasks");
        for handle in self.deploying.take().into_iter().chain(self.publishing.take().map(|(_, handle)| handle)) {
            handle.abort();
        }
        self.worker.tell(Order::Cancel(self.machine.generation().unwrap_or_default()));
    }

    fn abort(&mut self, checkpoint: CheckpointId, cause: &AbortCause) {
        tracing::warn!(%checkpoint, %cause, "checkpoint aborted");
        if let Some((_, handle)) = self.publishing.take_if(|(publishing, _)| *publishing == checkpoint) {
            handle.abort();
        }
        self.view.note_abort(cause);
        self.metrics.count_abort(cause);
        let generation = self.machine.generation().unwrap_or_default();
        self.worker.tell(Order::Abort(generation, checkpoint));
    }

    fn put_manifest(&mut self, checkpoint: CheckpointId, key: String, bytes: Bytes, guard: Option<&Decision>) {
        let guard = guard.cloned();
        let call = async move |io: Arc<Io>| put_once(&io, checkpoint, &key, bytes, guard.as_ref()).await;
        let handle = self.spawn(call);
        self.publishing = Some((checkpoint, handle));
    }

    fn copy_savepoint(&mut self, name: String, checkpoint: CheckpointEntry) {
        self.spawn(async move |io| {
            let copied = copy_savepoint(&io, &name, &checkpoint).await;
            Event::SavepointCopied(name, copied)
        });
    }

    fn delete_objects(&mut self, keys: Vec<String>, decision: &Decision) {
        let decision = decision.clone();
        tracing::debug!(objects = keys.len(), first = keys.first(), "deleting what nothing names");
        self.spawn(async move |io| sweep::delete_objects(&*io.options.objects, keys, &decision).await);
    }

    fn list_objects(&mut self, decision: &Decision) {
        let decision = decision.clone();
        let generation = self.machine.generation().unwrap_or_default();
        self.spawn(async move |io| {
            let objects = &*io.options.objects;
            let aborted = sweep::abort_uploads(objects, generation, &decision, &io.trouble).await;
            if aborted > 0 {
                tracing::info!(aborted, "aborted uploads that older generations left open");
            }
            let probes = sweep::remove_old_probes(objects, &decision).await;
            if probes > 0 {
                tracing::info!(
                    objects = probes,
                    "removed what processes left that were killed while they probed the storage"
                );
            }
            sweep::list_objects(objects, &io.trouble).await
        });
    }

    fn completed(&mut self, entry: &CheckpointEntry, now: Millis) {
        let duration_ms = now.since(entry.triggered_at);
        let (full, incremental) = (entry.bytes_full, entry.bytes_incremental);
        tracing::info!(checkpoint = %entry.id, kind = %entry.kind, duration_ms, full, incremental, "checkpoint complete");
        let retained = self.machine.head().map_or(0, |head| head.checkpoints.len());
        self.view.note_completed(entry);
        self.metrics.observe_completed(entry, retained, now);
    }
}

/// One attempt to store a manifest, unless the decision is stale; what failed or was withdrawn is answered after a wait, and
/// the coordinator asks again if it still reigns.
async fn put_once(io: &Io, checkpoint: CheckpointId, key: &str, bytes: Bytes, guard: Option<&Decision>) -> Event {
    let objects = &*io.options.objects;
    let answer = match guard {
        None => objects.put(key, bytes).await,
        // A store may make the object durable before it asks the guard; that is not worth it for one that is stale already.
        Some(decision) if decision.is_stale() => return withdrawn(io, checkpoint).await,
        Some(decision) => objects.put_guarded(key, bytes, decision.guard()).await,
    };
    match answer {
        Ok(()) => {
            io.publishing.lock().reset();
            Event::ManifestStored(checkpoint, true)
        }
        Err(error) if error.kind == StoreErrorKind::Withdrawn => withdrawn(io, checkpoint).await,
        Err(error) => {
            io.trouble.tell(&error);
            let wait = io.publishing.lock().next_wait();
            tokio::time::sleep(wait).await;
            Event::ManifestStored(checkpoint, false)
        }
    }
}

async fn withdrawn(io: &Io, checkpoint: CheckpointId) -> Event {
    tracing::debug!(%checkpoint, "a manifest was not sent, because the process stood still for a moment");
    let wait = io.publishing.lock().next_wait();
    tokio::time::sleep(wait).await;
    Event::ManifestWithdrawn(checkpoint)
}

async fn load_manifest(io: &Io, entry: CheckpointEntry) -> Event {
    let check = |bytes: &Bytes| {
        weir_protocol::stored::verify(&entry.manifest, bytes)?;
        Manifest::decode(&entry.manifest.key, bytes)
    };
    let read = read_checked(&*io.options.objects, &entry.manifest.key, &io.trouble, check).await;
    if let Err(reason) = &read {
        tracing::warn!(checkpoint = %entry.id, reason, "a retained manifest is damaged; nothing is deleted until it is dropped");
    }
    Event::ManifestLoaded(entry.id, read.ok().map(|manifest| manifest.object_keys()))
}
