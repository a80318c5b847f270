//! A worker's store: takes sealed layers, writes them as runs, uploads and ingests these, and keeps the chain that a checkpoint names.
//!
//! One per worker process. Threads of its own: the *builder* encodes and writes runs, one after the other; the *keeper* ingests
//! them into RocksDB and disposes of what is no longer needed; a base is built on a thread that lives as long as the
//! building. Uploads run on the runtime. Nothing here is called on the record path except O(1) hand-overs.

mod base;
mod build;
mod encoded;
mod keep;
mod ledger;
mod parts;
mod restore;
mod upload;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use weir_protocol::{CheckpointId, KeyGroupRange, ObjectRef, OperatorId, RunRef, StateId, StateInfo};

use crate::backend::{Backend, SealedSubtask};
use crate::config::{BackendKind, RestoreChain, StoreConfig};
use crate::error::{StateError, StateName};
use crate::key::Key;
use crate::past::Past;
use crate::schema::{Declaration, Schema};
use crate::shared::{Shared, Squeeze};
use base::Ownership;
use build::BuilderMessage;
use keep::KeeperMessage;
use ledger::Ledger;
use parts::BasePolicy;

/// Called once with what an epoch came to.
pub type Done = Box<dyn FnOnce(Result<EpochResult, StateError>) + Send>;

/// What a worker contributes to a checkpoint.
#[derive(Debug, Clone)]
pub struct EpochResult {
    /// The epoch.
    pub epoch: CheckpointId,
    /// This worker's whole chain, in epoch order.
    pub chain: Vec<RunRef>,
    /// All states, declared or restored.
    pub states: Vec<StateInfo>,
    /// Bytes uploaded since the previous result, bases included.
    pub bytes_uploaded: u64,
    /// Bytes of the whole chain.
    pub bytes_full: u64,
    /// Entries written since the previous result.
    pub entries: u64,
    /// Time spent encoding, sorting and writing since the previous result.
    pub build: Duration,
    /// Time spent uploading since the previous result, summed over files.
    pub upload: Duration,
    /// When the epoch began, microseconds since the Unix epoch.
    pub started_at_us: i64,
    /// When its last file was durable, microseconds since the Unix epoch.
    pub finished_at_us: i64,
}

/// A look at a store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Estimated bytes of dirty and sealed layers.
    pub write_bytes: usize,
    /// Estimated bytes of clean.
    pub clean_bytes: usize,
    /// Estimated bytes of timers and broadcast state.
    pub pinned_bytes: usize,
    /// Files of the chain.
    pub chain_files: usize,
    /// Bytes of the chain.
    pub chain_bytes: u64,
    /// Bytes of runs that are not in the object store yet.
    pub pending_bytes: u64,
    /// True while a base is being built.
    pub base_running: bool,
    /// Bases built since the start.
    pub bases_built: u64,
    /// Failed attempts to upload since the start.
    pub upload_failures: u64,
    /// Uploads that failed and have not succeeded since.
    pub uploads_waiting: u64,
    /// Failed attempts to write a run since the start.
    pub build_failures: u64,
    /// True once runs are ingested into RocksDB; before, all state is in memory.
    pub ingesting: bool,
    /// Bytes of live data in RocksDB, estimated by it.
    pub past_bytes: u64,
    /// Bytes RocksDB holds in memory: tables' index and filter blocks.
    pub past_memory: u64,
    /// Bytes RocksDB still has to compact, estimated by it.
    pub past_compaction_bytes: u64,
}

/// What restored tables are loaded from.
pub(crate) enum RestoredPast {
    /// Nothing was restored.
    Nothing,
    Held(Arc<dyn Past>),
    /// Everything was loaded into memory, where it stays.
    LetGo,
}

/// What all threads of a store share.
pub(crate) struct Inner {
    pub(crate) config: StoreConfig,
    pub(crate) shared: Arc<Shared>,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) schema: Mutex<Schema>,
    pub(crate) ownership: Mutex<Ownership>,
    pub(crate) restored: Mutex<RestoredPast>,
    pub(crate) rocks: OnceLock<Arc<crate::rocks::Rocks>>,
    pub(crate) last_epoch: AtomicU64,
    pub(crate) stopping: AtomicBool,
    pub(crate) stop: tokio::sync::watch::Sender<bool>,
    pub(crate) uploads: tokio::sync::Semaphore,
    keeper: Sender<KeeperMessage>,
    pub(crate) directory: restore::Directory,
    pub(crate) file_names: restore::FileNames,
    pub(crate) upload_failures: AtomicU64,
    pub(crate) uploads_waiting: AtomicU64,
    /// An upload succeeded; for those that wait after a failure.
    pub(crate) uploaded: tokio::sync::Notify,
    pub(crate) build_failures: AtomicU64,
    pub(crate) bases_built: AtomicU64,
    pub(crate) base_thread: Mutex<Option<JoinHandle<()>>>,
}

/// The state store of one worker process.
pub struct WorkerStore {
    pub(crate) shared: Arc<Shared>,
    inner: Arc<Inner>,
    builder: Sender<BuilderMessage>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_backend: AtomicU64,
}

impl std::fmt::Debug for WorkerStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WorkerStore({})", self.inner.config.dir.display())
    }
}

/// Files that are uploaded at the same time.
const PARALLEL_UPLOADS: usize = 4;

impl WorkerStore {
    /// Opens the store of a worker, empty or with the state of a checkpoint. Everything local that the checkpoint does not name is
    /// discarded. Blocks until all files are there and verified; must not be called on a thread of `config.runtime` that nothing
    /// else can stand in for.
    ///
    /// # Errors
    /// When the work directory cannot be used, or an object of the chain is missing or damaged; names it.
    pub fn open(config: StoreConfig, restore: Option<RestoreChain>) -> Result<Arc<Self>, StateError> {
        let evicts = config.backend == BackendKind::RocksDb;
        let shared = Arc::new(Shared::new(config.max_parallelism, config.memory, evicts, config.defects));
        let restore = restore.unwrap_or_default();
        let directory = restore::Directory::prepare(&config)?;
        let restored = restore::restore(&config, &shared, &directory, &restore)?;
        let mut ledger = Ledger::new(
            config.worker,
            BasePolicy {
                factor: config.base_factor,
                max_runs: config.base_max_runs,
                min_bytes: config.base_min_bytes,
                part_bytes: config.base_part_bytes,
                from_live_state: config.defects.base_from_live_state,
            },
        );
        ledger.restore(restored.files);
        let (keeper, kept) = channel();
        let (builder, jobs) = channel();
        let inner = Arc::new(Inner {
            shared: Arc::clone(&shared),
            ledger: Mutex::new(ledger),
            schema: Mutex::new(Schema::restored(restore.states)),
            ownership: Mutex::new(Ownership::default()),
            restored: Mutex::new(restored.past.map_or(RestoredPast::Nothing, RestoredPast::Held)),
            rocks: restored.serving.map_or_else(OnceLock::new, OnceLock::from),
            last_epoch: AtomicU64::new(restore.epoch.0),
            stopping: AtomicBool::new(false),
            stop: tokio::sync::watch::Sender::new(false),
            uploads: tokio::sync::Semaphore::new(PARALLEL_UPLOADS),
            keeper,
            file_names: directory.file_names(&config),
            directory: directory.clone(),
            upload_failures: AtomicU64::new(0),
            uploads_waiting: AtomicU64::new(0),
            uploaded: tokio::sync::Notify::new(),
            build_failures: AtomicU64::new(0),
            bases_built: AtomicU64::new(0),
            base_thread: Mutex::new(None),
            config,
        });
        let threads = vec![build::start(Arc::clone(&inner), jobs)?, keep::start(Arc::clone(&inner), kept, directory)?];
        Ok(Arc::new(Self { shared, inner, builder, threads: Mutex::new(threads), next_backend: AtomicU64::new(0) }))
    }

    /// The keyed state of one subtask.
    pub fn backend<K: Key>(
        self: &Arc<Self>,
        operator: &OperatorId,
        subtask: u32,
        key_groups: KeyGroupRange,
    ) -> Backend<K> {
        let id = self.next_backend.fetch_add(1, Ordering::Relaxed);
        self.inner.ownership.lock().add(operator, subtask, key_groups);
        Backend::new(Arc::clone(self), id, operator.clone(), subtask, key_groups)
    }

    /// Opens an epoch before its barrier is injected. `done` runs on a thread of the store or the runtime once `subtasks` subtasks
    /// have submitted and every run of this and earlier epochs is in the object store, or with an error when that cannot be.
    pub fn begin_epoch(&self, epoch: CheckpointId, subtasks: usize, done: Done) {
        self.inner.ledger.lock().begin(epoch, subtasks, now_us(), done);
        self.inner.finish_epochs();
    }

    /// Says how much of its memory the store may use from now on.
    pub fn squeeze(&self, squeeze: Squeeze) {
        self.inner.shared.squeeze(squeeze);
    }

    /// Bytes that the store may take within milliseconds, whatever its budgets say: the changes that are spilled or sealed next are there
    /// twice while they are encoded.
    pub fn imminent_bytes(&self) -> usize {
        let shared = &self.inner.shared;
        let changes = shared.write_bytes.load(Ordering::Relaxed).min(shared.write_budget() / 2);
        changes.saturating_sub(shared.encoded_bytes.load(Ordering::Relaxed))
    }

    /// Takes what a subtask sealed at its barrier. O(1), and waits for nobody.
    pub fn submit(&self, epoch: CheckpointId, sealed: SealedSubtask) {
        self.inner.last_epoch.fetch_max(epoch.0, Ordering::Relaxed);
        self.tell_builder(BuilderMessage::Submit(epoch, sealed));
    }

    pub(crate) fn submit_early(&self, sealed: SealedSubtask) {
        self.tell_builder(BuilderMessage::SubmitEarly(sealed));
    }

    /// Gives an epoch up: it will not become a checkpoint. Its runs stay in the chain and belong to the next one.
    pub fn abort_epoch(&self, epoch: CheckpointId) {
        let done = self.inner.ledger.lock().take_done(epoch);
        self.tell_builder(BuilderMessage::Abort(epoch));
        if let Some(done) = done {
            done(Err(StateError::Aborted { epoch }));
        }
    }

    /// Says that the checkpoint of `epoch` exists: its journal entry is written. Starts a base when one is due, and lets go of local
    /// files that no checkpoint from now on needs.
    pub fn acknowledge(&self, epoch: CheckpointId) {
        let acknowledged = {
            let mut ledger = self.inner.ledger.lock();
            // By now every subtask has said which key groups it owns.
            ledger.divide(|| self.inner.ownership.lock().parts(self.inner.config.base_parts));
            ledger.acknowledge(epoch)
        };
        if !acknowledged.unneeded.is_empty() {
            let _ = self.inner.keeper.send(KeeperMessage::Delete(acknowledged.unneeded));
        }
        if !self.shared.evicts {
            self.let_restored_go();
        }
        if let Some(plan) = acknowledged.base {
            base::start(&self.inner, plan);
        }
    }

    /// Objects that no later chain of this worker names. Checkpoints taken before may still name them.
    pub fn take_disowned(&self) -> Vec<ObjectRef> {
        self.inner.ledger.lock().take_disowned()
    }

    /// All states, declared or restored.
    pub fn states(&self) -> Vec<StateInfo> {
        self.inner.schema.lock().states()
    }

    /// States that the checkpoint holds and that no subtask of this worker has declared.
    pub fn unclaimed_states(&self) -> Vec<StateInfo> {
        self.inner.schema.lock().unclaimed()
    }

    /// Counters and sizes.
    pub fn stats(&self) -> StoreStats {
        let inner = &self.inner;
        let (chain_files, chain_bytes, base_running) = inner.ledger.lock().totals();
        let property = |name: &str| inner.rocks.get().map_or(0, |rocks| rocks.property(name));
        StoreStats {
            write_bytes: self.shared.write_bytes.load(Ordering::Relaxed),
            clean_bytes: self.shared.clean_bytes.load(Ordering::Relaxed),
            pinned_bytes: self.shared.pinned_bytes.load(Ordering::Relaxed),
            chain_files,
            chain_bytes,
            pending_bytes: inner.ledger.lock().pending_bytes(),
            base_running,
            bases_built: inner.bases_built.load(Ordering::Relaxed),
            upload_failures: inner.upload_failures.load(Ordering::Relaxed),
            uploads_waiting: inner.uploads_waiting.load(Ordering::Relaxed),
            build_failures: inner.build_failures.load(Ordering::Relaxed),
            ingesting: self.shared.ingesting.load(Ordering::Relaxed),
            past_bytes: property("rocksdb.estimate-live-data-size"),
            past_memory: property("rocksdb.estimate-table-readers-mem"),
            past_compaction_bytes: property("rocksdb.estimate-pending-compaction-bytes"),
        }
    }

    /// Stops all threads and uploads; epochs that are open end with an error. Runs that are not uploaded are lost with the
    /// process, as after a crash.
    pub fn shutdown(&self) {
        let inner = &self.inner;
        if inner.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        inner.stop.send_replace(true);
        let _ = self.builder.send(BuilderMessage::Stop);
        let _ = inner.keeper.send(KeeperMessage::Stop);
        let threads = std::mem::take(&mut *self.threads.lock());
        let base = inner.base_thread.lock().take();
        for thread in threads.into_iter().chain(base) {
            if thread.join().is_err() {
                tracing::error!("a thread of the state store panicked");
            }
        }
        if let Some(rocks) = inner.rocks.get() {
            rocks.cancel();
        }
        inner.ledger.lock().fail(StateError::ShutDown);
        inner.finish_epochs();
    }

    pub(crate) fn register(&self, declaration: Declaration) -> Result<(StateId, bool), StateError> {
        self.inner.schema.lock().register(declaration)
    }

    /// What restored tables are loaded from; `None` if nothing was restored.
    ///
    /// # Errors
    /// When it has been let go of; names `state`.
    pub(crate) fn restored(&self, state: StateName) -> Result<Option<Arc<dyn Past>>, StateError> {
        match &*self.inner.restored.lock() {
            RestoredPast::Nothing => Ok(None),
            RestoredPast::Held(past) => Ok(Some(Arc::clone(past))),
            RestoredPast::LetGo => Err(StateError::DeclaredLate { state }),
        }
    }

    /// Lets go of what was restored, once no state of it can be declared any more that has not been loaded. Subtasks of one operator
    /// are opened together, so by the time of a checkpoint a state is loaded for all of them or for none.
    fn let_restored_go(&self) {
        let mut restored = self.inner.restored.lock();
        if matches!(&*restored, RestoredPast::Held(_)) && self.inner.schema.lock().unclaimed().is_empty() {
            self.discard(Box::new(std::mem::replace(&mut *restored, RestoredPast::LetGo)));
        }
    }

    pub(crate) fn last_epoch(&self) -> CheckpointId {
        CheckpointId(self.inner.last_epoch.load(Ordering::Relaxed))
    }

    /// Drops something large elsewhere.
    pub(crate) fn discard(&self, garbage: Box<dyn Send>) {
        let _ = self.inner.keeper.send(KeeperMessage::Discard(garbage));
    }

    /// Passes a backend's wish to evict on to the keeper, once.
    #[inline]
    pub(crate) fn wake_if_ingest_is_wanted(&self) {
        if self.shared.wants_ingest.load(Ordering::Relaxed)
            && self.shared.wants_ingest.swap(false, Ordering::Relaxed)
            && !self.shared.ingesting.load(Ordering::Acquire)
        {
            let _ = self.inner.keeper.send(KeeperMessage::BeginIngest);
        }
    }

    fn tell_builder(&self, message: BuilderMessage) {
        if self.builder.send(message).is_err() {
            self.inner.ledger.lock().fail(StateError::ShutDown);
            self.inner.finish_epochs();
        }
    }
}

impl Drop for WorkerStore {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Inner {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Reports epochs that are complete now. Called after every change of the ledger that may complete one.
    pub(crate) fn finish_epochs(&self) {
        let finished = {
            let mut ledger = self.ledger.lock();
            let blocked = ledger.pending_bytes() > self.config.max_pending_bytes;
            self.shared.blocked.store(blocked, Ordering::Relaxed);
            ledger.take_finished(now_us(), || self.schema.lock().states())
        };
        finished.into_iter().for_each(|(done, result)| done(result));
    }

    /// Waits, but not beyond the end of the store. For back-off on the store's own threads.
    pub(crate) fn pause(&self, time: Duration) {
        let deadline = std::time::Instant::now() + time;
        while !self.is_stopping() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
    }
}

/// Lives on the stack of a thread that the store cannot do without. If the thread panics, nothing is waited for in vain: every epoch
/// fails from then on.
struct Indispensable(Arc<Inner>);

impl Drop for Indispensable {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ledger.lock().fail(StateError::Panicked);
            self.0.finish_epochs();
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
