//! The books of a worker's store: which epochs are open, which runs are being written, which files make up the chain, and which are
//! no longer needed. No I/O: events come in as calls, what is to be done comes back.
//!
//! Runs are numbered in the order they are given to the builder, and built in that order. Two changes of one key come from one
//! subtask, which hands its layers over in order; so the number orders them, and within the chain epoch and number do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use weir_protocol::{CheckpointId, KeyGroupRange, ObjectRef, RunKind, RunRef, WorkerIndex};

use crate::backend::SealedSubtask;
use crate::error::StateError;
use crate::layers::SealedPart;
use crate::sst::WrittenFile;
use crate::store::parts::{BasePlan, BasePolicy, Cut, Parts};
use crate::store::{Done, EpochResult};

/// Layers that are to become one run.
pub(crate) struct BuildJob {
    pub(crate) sequence: u64,
    pub(crate) parts: Vec<SealedPart>,
}

/// A file of the chain.
#[derive(Debug, Clone)]
pub(crate) struct ChainFile {
    pub(crate) run: RunRef,
    pub(crate) local: PathBuf,
    /// Number of the run; a base has the number of the newest run in it.
    pub(crate) sequence: u64,
    /// False while an early run waits for the barrier that names its epoch.
    named: bool,
    /// The subtask of an early run.
    backend: Option<u64>,
    uploaded: bool,
}

#[derive(Debug, Clone, Copy)]
struct Job {
    epoch: Option<CheckpointId>,
    backend: Option<u64>,
}

struct Epoch {
    expected: usize,
    submitted: usize,
    parts: Vec<SealedPart>,
    /// Subtasks with parts in `parts`.
    members: BTreeSet<u64>,
    closed: bool,
    started_us: i64,
    done: Option<Done>,
}

/// A file that the chain no longer names.
struct Retired {
    file: ChainFile,
    /// The first version of the chain without it.
    version: u64,
}

/// What an acknowledgement allows.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// Local files that nothing needs any more.
    pub(crate) unneeded: Vec<PathBuf>,
    /// The base to build now, if one is due.
    pub(crate) base: Option<BasePlan>,
}

pub(crate) struct Ledger {
    worker: WorkerIndex,
    sequence: u64,
    jobs: BTreeMap<u64, Job>,
    files: Vec<ChainFile>,
    epochs: BTreeMap<CheckpointId, Epoch>,
    /// Counts changes of the chain that drop files.
    version: u64,
    /// Version of the chain in each result that may still be acknowledged.
    results: BTreeMap<CheckpointId, u64>,
    retired: Vec<Retired>,
    disowned: Vec<ObjectRef>,
    parts: Parts,
    /// The base that is being built or uploaded.
    cut: Option<Cut>,
    /// Its files, once they are written.
    base: Option<Vec<ChainFile>>,
    uploaded_bytes: u64,
    written_entries: u64,
    build: Duration,
    upload: Duration,
    failed: Option<StateError>,
}

impl Ledger {
    pub(crate) fn new(worker: WorkerIndex, policy: BasePolicy) -> Self {
        Self {
            worker,
            sequence: 0,
            jobs: BTreeMap::new(),
            files: Vec::new(),
            epochs: BTreeMap::new(),
            version: 0,
            results: BTreeMap::new(),
            retired: Vec::new(),
            disowned: Vec::new(),
            parts: Parts::new(policy),
            cut: None,
            base: None,
            uploaded_bytes: 0,
            written_entries: 0,
            build: Duration::ZERO,
            upload: Duration::ZERO,
            failed: None,
        }
    }

    /// Takes over the chain of a checkpoint, whose files are local now.
    pub(crate) fn restore(&mut self, chain: Vec<(RunRef, PathBuf)>) {
        let file = |(run, local)| ChainFile { run, local, sequence: 0, named: true, backend: None, uploaded: true };
        self.files = chain.into_iter().map(file).collect();
        self.parts.restored(self.files.iter().map(|file| &file.run));
    }

    /// Says into which parts the key groups are divided, each with a base of its own; only the first call counts.
    pub(crate) fn divide(&mut self, parts: impl FnOnce() -> Vec<KeyGroupRange>) {
        self.parts.divide(parts);
    }

    /// Opens an epoch that `expected` subtasks will submit to.
    pub(crate) fn begin(&mut self, epoch: CheckpointId, expected: usize, started_us: i64, done: Done) {
        let opened = Epoch {
            expected,
            submitted: 0,
            parts: Vec::new(),
            members: BTreeSet::new(),
            closed: expected == 0,
            started_us,
            done: Some(done),
        };
        self.epochs.insert(epoch, opened);
    }

    /// Takes what a subtask sealed at the barrier of `epoch`. Returns the runs to build, once all have submitted. What comes for an
    /// epoch that is not open (aborted, say) becomes a run of its own.
    pub(crate) fn submit(&mut self, epoch: CheckpointId, sealed: SealedSubtask) -> Vec<BuildJob> {
        let SealedSubtask { parts, backend } = sealed;
        if let Some(backend) = backend {
            self.name_early_runs(backend, epoch);
        }
        let Some(open) = self.epochs.get_mut(&epoch).filter(|open| !open.closed) else {
            let mut jobs = self.flush_of(backend);
            jobs.extend(self.job(Some(epoch), None, parts));
            return jobs;
        };
        open.submitted += 1;
        open.closed = open.submitted == open.expected;
        if !parts.is_empty() {
            open.members.extend(backend);
            open.parts.extend(parts);
        }
        if open.closed { self.flush_through(epoch) } else { Vec::new() }
    }

    /// Takes what a subtask spilled before its barrier. What the same subtask submitted earlier is built first.
    pub(crate) fn submit_early(&mut self, sealed: SealedSubtask) -> Vec<BuildJob> {
        let SealedSubtask { parts, backend } = sealed;
        let mut jobs = self.flush_of(backend);
        jobs.extend(self.job(None, backend, parts));
        jobs
    }

    /// Who is to be told what becomes of an epoch; nobody else is told then.
    pub(crate) fn take_done(&mut self, epoch: CheckpointId) -> Option<Done> {
        self.epochs.get_mut(&epoch)?.done.take()
    }

    /// Closes an epoch that will not become a checkpoint; what was submitted is built and stays in the chain.
    pub(crate) fn abort(&mut self, epoch: CheckpointId) -> Vec<BuildJob> {
        let jobs = self.flush_through(epoch);
        self.epochs.remove(&epoch);
        jobs
    }

    /// Makes runs of everything that a subtask has submitted so far, and of what must be built before.
    fn flush_of(&mut self, backend: Option<u64>) -> Vec<BuildJob> {
        let holds = |open: &Epoch| backend.is_some_and(|backend| open.members.contains(&backend));
        let newest = self.epochs.iter().rfind(|(_, open)| holds(open)).map(|(epoch, _)| *epoch);
        newest.map_or_else(Vec::new, |newest| self.flush_through(newest))
    }

    /// Makes runs of what was submitted to the epochs up to `epoch`, the oldest first: a subtask that submitted to one of them
    /// submitted to the older ones before, and its changes are numbered in that order.
    fn flush_through(&mut self, epoch: CheckpointId) -> Vec<BuildJob> {
        let open = self.epochs.range_mut(..=epoch).map(|(epoch, open)| {
            open.members.clear();
            (*epoch, std::mem::take(&mut open.parts))
        });
        let open: Vec<_> = open.collect();
        open.into_iter().filter_map(|(epoch, parts)| self.job(Some(epoch), None, parts)).collect()
    }

    fn job(&mut self, epoch: Option<CheckpointId>, backend: Option<u64>, parts: Vec<SealedPart>) -> Option<BuildJob> {
        if parts.is_empty() {
            return None;
        }
        self.sequence += 1;
        self.jobs.insert(self.sequence, Job { epoch, backend });
        Some(BuildJob { sequence: self.sequence, parts })
    }

    fn name_early_runs(&mut self, backend: u64, epoch: CheckpointId) {
        for job in self.jobs.values_mut().filter(|job| job.epoch.is_none() && job.backend == Some(backend)) {
            job.epoch = Some(epoch);
        }
        for file in self.files.iter_mut().filter(|file| !file.named && file.backend == Some(backend)) {
            file.named = true;
            file.run.epoch = epoch;
        }
        self.order();
    }

    /// Brings the chain into epoch order; files without a name come last. A base comes after the last run that it contains, because
    /// it hides whatever comes before it in its key groups.
    fn order(&mut self) {
        let is_base = |file: &ChainFile| file.run.kind == RunKind::Base;
        self.files.sort_by_key(|file| (!file.named, file.run.epoch, is_base(file), file.sequence));
    }

    /// Takes a run that was written; returns its files, to be uploaded.
    ///
    /// # Panics
    /// When an earlier run is still to be built: its changes would hide this one's.
    pub(crate) fn built(
        &mut self,
        sequence: u64,
        files: Vec<WrittenFile>,
        growth: i64,
        build: Duration,
    ) -> Vec<ChainFile> {
        let first = self.jobs.keys().next().copied();
        assert_eq!(first, Some(sequence), "runs are built in the order of their numbers");
        let Some(Job { epoch, backend }) = self.jobs.remove(&sequence) else { return Vec::new() };
        self.parts.grow(growth);
        self.build += build;
        let files: Vec<_> = files
            .into_iter()
            .map(|file| {
                self.written_entries += file.entries;
                self.chain_file(file, RunKind::Run, epoch, sequence, backend)
            })
            .collect();
        self.files.extend(files.iter().cloned());
        self.order();
        files
    }

    fn chain_file(
        &self,
        file: WrittenFile,
        kind: RunKind,
        epoch: Option<CheckpointId>,
        sequence: u64,
        backend: Option<u64>,
    ) -> ChainFile {
        let WrittenFile { object, local, entries, key_groups } = file;
        let run = RunRef {
            kind,
            epoch: epoch.unwrap_or_default(),
            worker: self.worker,
            key_groups,
            entries,
            file_bytes: object.length,
            object,
        };
        ChainFile { run, local, sequence, named: epoch.is_some(), backend, uploaded: false }
    }

    /// Notes that an object is durable in the store.
    pub(crate) fn uploaded(&mut self, key: &str, took: Duration) {
        let base = self.base.iter_mut().flatten();
        for file in self.files.iter_mut().chain(base).filter(|file| file.run.object.key == key && !file.uploaded) {
            file.uploaded = true;
            self.uploaded_bytes += file.run.object.length;
            self.upload += took;
        }
        self.replace_by_base();
    }

    /// Takes the base that was written; returns its files, to be uploaded. It replaces what it contains once it is durable.
    pub(crate) fn base_built(&mut self, files: Vec<WrittenFile>) -> Vec<ChainFile> {
        let Some(Cut { epoch, .. }) = self.cut else { return Vec::new() };
        let newest = self.files.iter().filter(|file| file.named && file.run.epoch <= epoch);
        let sequence = newest.map(|file| file.sequence).max().unwrap_or(0);
        let files: Vec<_> =
            files.into_iter().map(|file| self.chain_file(file, RunKind::Base, Some(epoch), sequence, None)).collect();
        self.base = Some(files.clone());
        self.replace_by_base();
        files
    }

    /// Notes that a base will not be finished.
    pub(crate) fn base_failed(&mut self) {
        self.cut = None;
    }

    fn replace_by_base(&mut self) {
        let Some(files) = self.base.take_if(|files| files.iter().all(|file| file.uploaded)) else { return };
        let Some(cut) = self.cut.take() else { return };
        self.parts.cut(&cut, files.iter().map(|file| file.run.object.length).sum());
        self.files.extend(files);
        self.version += 1;
        let parts = &self.parts;
        let (needed, replaced): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.files).into_iter().partition(|file| !file.named || parts.need(&file.run));
        let version = self.version;
        self.retired.extend(replaced.into_iter().map(|file| Retired { file, version }));
        self.files = needed;
        self.order();
    }

    /// Makes every open and later epoch fail: changes were lost that a later checkpoint would need.
    pub(crate) fn fail(&mut self, error: StateError) {
        self.failed.get_or_insert(error);
    }

    /// The epochs that are complete now, with their results.
    pub(crate) fn take_finished(
        &mut self,
        now_us: i64,
        states: impl FnOnce() -> Vec<weir_protocol::StateInfo>,
    ) -> Vec<(Done, Result<EpochResult, StateError>)> {
        if let Some(error) = &self.failed {
            let open = std::mem::take(&mut self.epochs).into_values();
            return open.filter_map(|open| open.done).map(|done| (done, Err(error.clone()))).collect();
        }
        let mut finished = Vec::new();
        let complete: Vec<_> = self.epochs.keys().copied().take_while(|epoch| self.is_complete(*epoch)).collect();
        if complete.is_empty() {
            return finished;
        }
        let states = states();
        for epoch in complete {
            let Some(open) = self.epochs.remove(&epoch) else { continue };
            let chain: Vec<RunRef> = self
                .files
                .iter()
                .filter(|file| file.named && file.run.epoch <= epoch)
                .map(|file| file.run.clone())
                .collect();
            self.results.insert(epoch, self.version);
            let result = EpochResult {
                epoch,
                bytes_full: chain.iter().map(|run| run.object.length).sum(),
                chain,
                states: states.clone(),
                bytes_uploaded: std::mem::take(&mut self.uploaded_bytes),
                entries: std::mem::take(&mut self.written_entries),
                build: std::mem::take(&mut self.build),
                upload: std::mem::take(&mut self.upload),
                started_at_us: open.started_us,
                finished_at_us: now_us,
            };
            finished.extend(open.done.map(|done| (done, Ok(result))));
        }
        finished
    }

    fn is_complete(&self, epoch: CheckpointId) -> bool {
        let is_old = |of: Option<CheckpointId>| of.is_some_and(|of| of <= epoch);
        self.epochs.get(&epoch).is_some_and(|open| open.closed)
            && !self.jobs.values().any(|job| is_old(job.epoch))
            && !self.files.iter().any(|file| file.named && file.run.epoch <= epoch && !file.uploaded)
    }

    /// Notes that the checkpoint of `epoch` exists.
    pub(crate) fn acknowledge(&mut self, epoch: CheckpointId) -> Acknowledged {
        let mut acknowledged = Acknowledged::default();
        if let Some(version) = self.results.get(&epoch).copied() {
            let (gone, kept): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.retired).into_iter().partition(|retired| retired.version <= version);
            self.retired = kept;
            for Retired { file, .. } in gone {
                self.disowned.push(file.run.object);
                acknowledged.unneeded.push(file.local);
            }
        }
        self.results.retain(|of, _| *of > epoch);
        acknowledged.base = self.plan_base(epoch);
        acknowledged
    }

    fn plan_base(&mut self, epoch: CheckpointId) -> Option<BasePlan> {
        if self.cut.is_some() {
            return None;
        }
        let acknowledged = |file: &&ChainFile| file.named && file.run.epoch <= epoch;
        let cut = self.parts.due(epoch, self.files.iter().filter(acknowledged).map(|file| &file.run))?;
        let contained = |file: &&ChainFile| {
            let live = self.parts.policy().from_live_state;
            live || (acknowledged(file) && self.parts.need_within(&file.run, cut.groups))
        };
        let place = |file: &ChainFile| (file.run.object.clone(), file.local.clone());
        let files = self.files.iter().filter(contained).map(place).collect();
        self.cut = Some(cut);
        Some(BasePlan { cut, files })
    }

    /// Objects that no later chain of this worker names.
    pub(crate) fn take_disowned(&mut self) -> Vec<ObjectRef> {
        std::mem::take(&mut self.disowned)
    }

    /// All files in the order they must be ingested, which is the chain's, and the number up to which this is everything.
    pub(crate) fn everything_built(&self) -> (Vec<PathBuf>, u64) {
        let pending = self.jobs.keys().next().map(|first| first - 1);
        (self.files.iter().map(|file| file.local.clone()).collect(), pending.unwrap_or(self.sequence))
    }

    /// Bytes of files that are not in the object store yet.
    pub(crate) fn pending_bytes(&self) -> u64 {
        let base = self.base.iter().flatten();
        self.files.iter().chain(base).filter(|file| !file.uploaded).map(|file| file.run.object.length).sum()
    }

    /// Number of files and bytes of the chain, and whether a base is being built.
    pub(crate) fn totals(&self) -> (usize, u64, bool) {
        (self.files.len(), self.files.iter().map(|file| file.run.object.length).sum(), self.cut.is_some())
    }
}

#[cfg(test)]
mod tests;
