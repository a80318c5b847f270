//! A subtask's keyed state: its tables, and what happens to them at barriers and between batches.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use weir_protocol::{CheckpointId, KeyGroup, KeyGroupRange, OperatorId, StateKind};

use crate::descriptor::{BroadcastHandle, ListHandle, MapHandle, StateDescriptor, TimerHandle, ValueHandle};
use crate::error::{StateError, StateName};
use crate::key::Key;
use crate::layers::{SealedPart, StateFacts};
use crate::schema::Declaration;
use crate::shared::Published;
use crate::store::WorkerStore;
use crate::table::broadcast::BroadcastTable;
use crate::table::list::ListTable;
use crate::table::map::MapTable;
use crate::table::timer::TimerTable;
use crate::table::value::ValueTable;
use crate::table::{Core, Table, Usage};
use crate::value::{Value, type_fingerprint};

/// Sealed layers a subtask may have waiting before it stops reading.
pub const MAX_SEALED_LAYERS: usize = 8;
/// Changes of fewer bytes are not worth an early run.
const MIN_SPILL_BYTES: usize = 4 << 10;
/// No dirty table grows beyond this: positions in run builders are 32 bits wide.
const MAX_DIRTY_BYTES: usize = 2 << 30;

/// What one subtask sealed at a barrier; goes to [`WorkerStore::submit`]. The default is a subtask without state.
#[derive(Default)]
pub struct SealedSubtask {
    pub(crate) parts: Vec<SealedPart>,
    /// The subtask, if it has state.
    pub(crate) backend: Option<u64>,
}

impl std::fmt::Debug for SealedSubtask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealedSubtask({} layers)", self.parts.len())
    }
}

/// The keyed state of one subtask. Owned by it; nothing here takes a lock on the record path.
pub struct Backend<K: Key> {
    store: Arc<WorkerStore>,
    id: u64,
    operator: OperatorId,
    subtask: u32,
    groups: KeyGroupRange,
    tables: Vec<Box<dyn Table>>,
    names: Vec<String>,
    clock: Arc<AtomicI64>,
    write_bytes: Published,
    clean_bytes: Published,
    pinned_bytes: Published,
    sealed_layers: usize,
    key: PhantomData<fn() -> K>,
}

impl<K: Key> Backend<K> {
    pub(crate) fn new(
        store: Arc<WorkerStore>,
        id: u64,
        operator: OperatorId,
        subtask: u32,
        groups: KeyGroupRange,
    ) -> Self {
        store.shared.backends.fetch_add(1, Ordering::Relaxed);
        Self {
            store,
            id,
            operator,
            subtask,
            groups,
            tables: Vec::new(),
            names: Vec::new(),
            clock: Arc::new(AtomicI64::new(0)),
            write_bytes: Published::default(),
            clean_bytes: Published::default(),
            pinned_bytes: Published::default(),
            sealed_layers: 0,
            key: PhantomData,
        }
    }

    /// The key groups this subtask owns.
    pub fn key_groups(&self) -> KeyGroupRange {
        self.groups
    }

    /// Declares a state with one value per key (also for reducing and aggregating states, by the descriptor's kind).
    ///
    /// # Errors
    /// When the checkpoint holds the state with another declaration, or the name is taken.
    pub fn value<V: Value>(&mut self, descriptor: StateDescriptor) -> Result<ValueHandle<V>, StateError> {
        let kind = match descriptor.kind {
            kind @ (StateKind::Reducing | StateKind::Aggregating) => kind,
            _ => StateKind::Value,
        };
        let types = Types { kind, key: type_fingerprint::<K>(), value: type_fingerprint::<V>(), user_key: None };
        let (core, restored) = self.declare(descriptor, types)?;
        self.add(ValueTable::<K, V>::new(core), restored).map(ValueHandle::new)
    }

    /// Declares a state with an ordered map per key.
    ///
    /// # Errors
    /// When the checkpoint holds the state with another declaration, or the name is taken.
    pub fn map<UK: Key, UV: Value>(&mut self, descriptor: StateDescriptor) -> Result<MapHandle<UK, UV>, StateError> {
        let types = Types {
            kind: StateKind::Map,
            key: type_fingerprint::<K>(),
            value: type_fingerprint::<UV>(),
            user_key: Some(type_fingerprint::<UK>()),
        };
        let (core, restored) = self.declare(descriptor, types)?;
        self.add(MapTable::<K, UK, UV>::new(core), restored).map(MapHandle::new)
    }

    /// Declares a state with a list per key.
    ///
    /// # Errors
    /// When the checkpoint holds the state with another declaration, or the name is taken.
    pub fn list<V: Value>(&mut self, descriptor: StateDescriptor) -> Result<ListHandle<V>, StateError> {
        let types = Types {
            kind: StateKind::List,
            key: type_fingerprint::<K>(),
            value: type_fingerprint::<V>(),
            user_key: None,
        };
        let (core, restored) = self.declare(descriptor, types)?;
        let epoch = self.store.last_epoch();
        self.add(ListTable::<K, V>::new(core, epoch), restored).map(ListHandle::new)
    }

    /// Declares timers.
    ///
    /// # Errors
    /// When the checkpoint holds the state with another declaration, or the name is taken.
    pub fn timers(&mut self, name: &str) -> Result<TimerHandle, StateError> {
        let types = Types {
            kind: StateKind::Timers,
            key: type_fingerprint::<K>(),
            value: type_fingerprint::<()>(),
            user_key: None,
        };
        let (mut core, restored) = self.declare(StateDescriptor::new(name), types)?;
        core.resident = true;
        self.add(TimerTable::<K>::new(core), restored).map(TimerHandle::new)
    }

    /// Declares broadcast state: a map that every subtask holds in full; the subtask with index 0 writes it.
    ///
    /// # Errors
    /// When the checkpoint holds the state with another declaration, or the name is taken.
    pub fn broadcast<UK: Key, UV: Value>(
        &mut self,
        descriptor: StateDescriptor,
    ) -> Result<BroadcastHandle<UK, UV>, StateError> {
        let types = Types {
            kind: StateKind::Broadcast,
            key: type_fingerprint::<()>(),
            value: type_fingerprint::<UV>(),
            user_key: Some(type_fingerprint::<UK>()),
        };
        let (mut core, restored) = self.declare(descriptor, types)?;
        core.resident = true;
        let writes = self.subtask == 0;
        self.add(BroadcastTable::<UK, UV>::new(core, writes), restored).map(BroadcastHandle::new)
    }

    fn declare(&mut self, descriptor: StateDescriptor, types: Types) -> Result<(Core, bool), StateError> {
        let StateDescriptor { name, version, ttl, kind: _ } = descriptor;
        let mut state = StateName { operator: self.operator.clone(), name: name.clone(), id: None };
        if self.names.contains(&name) {
            return Err(StateError::DeclaredTwice { state });
        }
        let (id, restored) = self.store.register(Declaration {
            operator: self.operator.clone(),
            name: name.clone(),
            kind: types.kind,
            key_type: types.key,
            value_type: types.value,
            user_key_type: types.user_key,
            version,
        })?;
        state.id = Some(id);
        self.names.push(name);
        let shared = Arc::clone(&self.store.shared);
        let core = Core {
            facts: Arc::new(StateFacts { name: state, id, max: shared.max }),
            groups: self.groups,
            ttl,
            clock: Arc::clone(&self.clock),
            // What is evicted can be read from the past; everything else is in memory.
            resident: !(restored && shared.evicts && shared.past().is_some()),
            shared,
            key: Vec::new(),
        };
        Ok((core, restored))
    }

    fn add<T: Table + LoadsAtRestore + 'static>(&mut self, mut table: T, restored: bool) -> Result<usize, StateError> {
        if restored && (T::ALWAYS || !self.store.shared.evicts) {
            let name = self.names.last().cloned().unwrap_or_default();
            let state = StateName { operator: self.operator.clone(), name, id: None };
            if let Some(past) = self.store.restored(state)? {
                table.load(&*past)?;
            }
        }
        self.tables.push(Box::new(table));
        Ok(self.tables.len() - 1)
    }

    /// The table of a value state.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn value_mut<V: Value>(&mut self, handle: ValueHandle<V>) -> &mut ValueTable<K, V> {
        self.table(handle.index)
    }

    /// The table of a map state.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn map_mut<UK: Key, UV: Value>(&mut self, handle: MapHandle<UK, UV>) -> &mut MapTable<K, UK, UV> {
        self.table(handle.index)
    }

    /// The table of a list state.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn list_mut<V: Value>(&mut self, handle: ListHandle<V>) -> &mut ListTable<K, V> {
        self.table(handle.index)
    }

    /// The table of a timer state.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn timers_mut(&mut self, handle: TimerHandle) -> &mut TimerTable<K> {
        self.table(handle.index)
    }

    /// The table of a timer state, for looking at.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn timers_ref(&self, handle: TimerHandle) -> &TimerTable<K> {
        self.tables[handle.index].as_any().downcast_ref().expect("a handle is used with the backend that gave it")
    }

    /// Reads what value states miss of a batch's keys into memory, with one multi-get per state; does nothing while
    /// everything is in memory. `hashes` and `keys` belong together.
    ///
    /// # Errors
    /// When the disk cannot be read.
    #[expect(clippy::ptr_arg, reason = "it goes to the tables as `dyn Any`, which a slice cannot")]
    pub fn prefetch(&mut self, hashes: &[u64], keys: &Vec<K>) -> Result<(), StateError> {
        self.tables.iter_mut().try_for_each(|table| table.prefetch(hashes, keys))
    }

    /// The table of a broadcast state.
    ///
    /// # Panics
    /// When the handle comes from another backend.
    #[inline]
    pub fn broadcast_mut<UK: Key, UV: Value>(
        &mut self,
        handle: BroadcastHandle<UK, UV>,
    ) -> &mut BroadcastTable<UK, UV> {
        self.table(handle.index)
    }

    #[inline]
    fn table<T: 'static>(&mut self, index: usize) -> &mut T {
        let table = self.tables[index].as_any_mut();
        table.downcast_mut().expect("a handle is used with the backend that gave it")
    }

    /// Sets the time against which expiries are compared: milliseconds since the Unix epoch, processing time. To be called
    /// before the first state is declared, before each batch, before timers fire, and now and then without any input, so that
    /// compaction drops what expires.
    #[inline]
    pub fn set_now(&mut self, millis: i64) {
        self.clock.store(millis, Ordering::Relaxed);
        self.store.shared.clock.fetch_max(millis, Ordering::Relaxed);
    }

    /// Freezes what changed since the last barrier: O(1) in the size of the state. `epoch` is the checkpoint whose barrier has
    /// arrived. The result must be submitted before anything later of this subtask.
    pub fn seal(&mut self, epoch: CheckpointId) -> SealedSubtask {
        let parts: Vec<SealedPart> = self.tables.iter_mut().filter_map(|table| table.seal()).collect();
        self.tables.iter_mut().for_each(|table| table.sealed_epoch(epoch));
        self.publish();
        SealedSubtask { parts, backend: Some(self.id) }
    }

    /// Called between batches: moves a slice of written layers to the cache, shrinks the cache, and spills changes as an early
    /// run when they outgrow their budget. Cheap when there is nothing to do. Returns true if another call has work to do.
    pub fn maintain(&mut self) -> bool {
        let store = &self.store;
        let discard = |garbage: Box<dyn Send>| store.discard(garbage);
        let more = self.tables.iter_mut().fold(false, |more, table| table.maintain(&discard) | more);
        let usage = self.publish();
        self.store.wake_if_ingest_is_wanted();
        // While the worker is over its budget, whoever has nothing on its way gives what it has: someone must.
        let stuck = self.sealed_layers == 0 && usage.dirty > 0 && self.is_over_budget();
        if stuck || usage.dirty > self.spill_at() {
            self.spill();
        }
        more
    }

    /// True while a bound is reached and the subtask must stop reading (and go on calling [`Self::maintain`]): too many sealed
    /// layers wait, changes fill their budget, or the store cannot get rid of its runs.
    pub fn must_pause(&self) -> bool {
        let shared = &self.store.shared;
        self.sealed_layers > MAX_SEALED_LAYERS || self.is_over_budget() || shared.blocked.load(Ordering::Relaxed)
    }

    fn is_over_budget(&self) -> bool {
        self.store.shared.writes_are_over()
    }

    /// Bytes of dirty at which this subtask spills: half its fair share, so that the other half can be sealed meanwhile.
    fn spill_at(&self) -> usize {
        let shared = &self.store.shared;
        let backends = shared.backends.load(Ordering::Relaxed).max(1);
        (shared.write_budget() / 2 / backends).clamp(MIN_SPILL_BYTES, MAX_DIRTY_BYTES)
    }

    fn spill(&mut self) {
        if self.sealed_layers > MAX_SEALED_LAYERS / 2 {
            return;
        }
        let parts: Vec<SealedPart> = self.tables.iter_mut().filter_map(|table| table.seal()).collect();
        self.store.submit_early(SealedSubtask { parts, backend: Some(self.id) });
        self.publish();
    }

    fn publish(&mut self) -> Usage {
        let mut total = Usage::default();
        self.sealed_layers = 0;
        for table in &self.tables {
            let Usage { dirty, sealed, clean, pinned } = table.usage();
            total.dirty += dirty;
            total.sealed += sealed;
            total.clean += clean;
            total.pinned += pinned;
            self.sealed_layers = self.sealed_layers.max(table.sealed_layers());
        }
        let shared = &self.store.shared;
        self.write_bytes.set(&shared.write_bytes, total.dirty + total.sealed);
        self.clean_bytes.set(&shared.clean_bytes, total.clean);
        self.pinned_bytes.set(&shared.pinned_bytes, total.pinned);
        total
    }
}

impl<K: Key> Drop for Backend<K> {
    fn drop(&mut self) {
        let shared = &self.store.shared;
        self.write_bytes.set(&shared.write_bytes, 0);
        self.clean_bytes.set(&shared.clean_bytes, 0);
        self.pinned_bytes.set(&shared.pinned_bytes, 0);
        shared.backends.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Type fingerprints of a declaration.
struct Types {
    kind: StateKind,
    key: String,
    value: String,
    user_key: Option<String>,
}

/// Whether a kind of table keeps everything in memory with either backend.
trait LoadsAtRestore {
    const ALWAYS: bool;
}

impl<K: Key, V: Value> LoadsAtRestore for ValueTable<K, V> {
    const ALWAYS: bool = false;
}

impl<K: Key, UK: Key, UV: Value> LoadsAtRestore for MapTable<K, UK, UV> {
    const ALWAYS: bool = false;
}

impl<K: Key, V: Value> LoadsAtRestore for ListTable<K, V> {
    const ALWAYS: bool = false;
}

impl<K: Key> LoadsAtRestore for TimerTable<K> {
    const ALWAYS: bool = true;
}

impl<UK: Key, UV: Value> LoadsAtRestore for BroadcastTable<UK, UV> {
    const ALWAYS: bool = true;
}

/// Keeps the broadcast group out of every subtask's range.
const _: () = assert!(KeyGroup::BROADCAST.0 as u32 >= weir_protocol::MaxParallelism::LIMIT);
