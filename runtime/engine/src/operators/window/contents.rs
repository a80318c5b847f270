//! What a window holds: one accumulator, or all of its records.

use weir_state::{Backend, Key, MapHandle, StateDescriptor, StateError};

use crate::operators::aggregate::Aggregate;
use crate::record::Record;

/// The contents of all windows of all keys of one operator instance; windows are told apart by their start.
pub trait Contents<K: Key, T>: Send + 'static {
    /// What the window function gets.
    type Value;

    /// Adds a record; true if the window was empty before.
    ///
    /// # Errors
    /// When state fails.
    fn add(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64, record: &T)
    -> Result<bool, StateError>;

    /// The contents, if any.
    ///
    /// # Errors
    /// When state fails.
    fn get(
        &mut self,
        backend: &mut Backend<K>,
        hash: u64,
        key: &K,
        start: i64,
    ) -> Result<Option<Self::Value>, StateError>;

    /// Forgets the contents.
    ///
    /// # Errors
    /// When state fails.
    fn remove(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64) -> Result<(), StateError>;

    /// Moves the contents of window `from` into window `into`.
    ///
    /// # Errors
    /// When state fails.
    fn merge(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, from: i64, into: i64) -> Result<(), StateError>;

    /// The epoch that begins now.
    fn begin_epoch(&mut self, _epoch: u64) {}
}

/// One accumulator per window.
pub struct Folded<K: Key, A: Aggregate> {
    state: MapHandle<i64, A::Acc>,
    aggregate: A,
    marker: std::marker::PhantomData<fn() -> K>,
}

impl<K: Key, A: Aggregate> Folded<K, A> {
    pub(crate) fn factory(
        aggregate: A,
    ) -> impl Fn(&mut Backend<K>, u64) -> Result<Self, StateError> + Send + Sync + 'static {
        move |backend, _| {
            let state = backend.map(StateDescriptor::new("windows"))?;
            Ok(Self { state, aggregate: aggregate.clone(), marker: std::marker::PhantomData })
        }
    }
}

impl<K: Key, A: Aggregate> Contents<K, A::In> for Folded<K, A> {
    type Value = A::Acc;

    fn add(
        &mut self,
        backend: &mut Backend<K>,
        hash: u64,
        key: &K,
        start: i64,
        record: &A::In,
    ) -> Result<bool, StateError> {
        let slot = backend.map_mut(self.state).entry(hash, key, &start)?;
        let first = slot.is_none();
        self.aggregate.add(slot.get_or_insert_with(|| self.aggregate.create()), record);
        Ok(first)
    }

    fn get(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64) -> Result<Option<A::Acc>, StateError> {
        Ok(backend.map_mut(self.state).get(hash, key, &start)?.cloned())
    }

    fn remove(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64) -> Result<(), StateError> {
        backend.map_mut(self.state).remove(hash, key, &start)
    }

    fn merge(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, from: i64, into: i64) -> Result<(), StateError> {
        let Some(moved) = self.get(backend, hash, key, from)? else { return Ok(()) };
        self.remove(backend, hash, key, from)?;
        let slot = backend.map_mut(self.state).entry(hash, key, &into)?;
        match slot {
            Some(acc) => self.aggregate.merge(acc, moved),
            None => *slot = Some(moved),
        }
        Ok(())
    }
}

/// All records of a window, one entry each, in the order they came.
pub struct Collected<K: Key, T: Record> {
    state: MapHandle<(i64, u64), T>,
    /// Number of the next record: the epoch in the high half, so that numbers grow over restarts and rescaling.
    next: u64,
    marker: std::marker::PhantomData<fn() -> K>,
}

/// Numbers per epoch: the low half of [`Collected::next`].
const NUMBERS_PER_EPOCH: u32 = 32;

impl<K: Key, T: Record> Collected<K, T> {
    pub(crate) fn factory() -> impl Fn(&mut Backend<K>, u64) -> Result<Self, StateError> + Send + Sync + 'static {
        |backend, epoch| {
            let state = backend.map(StateDescriptor::new("records"))?;
            Ok(Self { state, next: epoch << NUMBERS_PER_EPOCH, marker: std::marker::PhantomData })
        }
    }
}

impl<K: Key, T: Record> Contents<K, T> for Collected<K, T> {
    type Value = Vec<T>;

    fn add(
        &mut self,
        backend: &mut Backend<K>,
        hash: u64,
        key: &K,
        start: i64,
        record: &T,
    ) -> Result<bool, StateError> {
        let table = backend.map_mut(self.state);
        table.insert(hash, key, (start, self.next), record.clone())?;
        self.next += 1;
        Ok(true)
    }

    fn get(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64) -> Result<Option<Vec<T>>, StateError> {
        let entries = backend.map_mut(self.state).range(hash, key, (start, 0)..=(start, u64::MAX))?;
        let records: Vec<T> = entries.into_iter().map(|(_, record)| record).collect();
        Ok((!records.is_empty()).then_some(records))
    }

    fn remove(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, start: i64) -> Result<(), StateError> {
        let table = backend.map_mut(self.state);
        for (number, _) in table.range(hash, key, (start, 0)..=(start, u64::MAX))? {
            table.remove(hash, key, &number)?;
        }
        Ok(())
    }

    fn merge(&mut self, backend: &mut Backend<K>, hash: u64, key: &K, from: i64, into: i64) -> Result<(), StateError> {
        let table = backend.map_mut(self.state);
        for (number, record) in table.range(hash, key, (from, 0)..=(from, u64::MAX))? {
            table.remove(hash, key, &number)?;
            table.insert(hash, key, (into, number.1), record)?;
        }
        Ok(())
    }

    fn begin_epoch(&mut self, epoch: u64) {
        self.next = epoch << NUMBERS_PER_EPOCH;
    }
}
