//! User functions with keyed state and timers.

use std::sync::Arc;

use weir_protocol::StateKind;
use weir_state::{
    Backend, BroadcastHandle, BroadcastTable, Key, ListHandle, ListTable, MapHandle, MapTable, StateDescriptor,
    StateError, TimerHandle, Value, ValueHandle, ValueTable,
};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::{TaskError, UserError};
use crate::keyed::KeySelector;
use crate::operator::{Collector, OneInput, OutputTag};
use crate::operators::aggregate::Aggregate;
use crate::operators::keyed_core::{KeyedCore, KeyedOperator};
use crate::operators::runner::{Runner, Timers};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};

/// Which clock a timer runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeDomain {
    /// The watermark.
    Event,
    /// The machine's clock.
    Processing,
}

/// A timer that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// When it was due, milliseconds since the Unix epoch.
    pub time: i64,
    /// On which clock.
    pub domain: TimeDomain,
}

/// A function with state and timers per key. (The shape is Flink's `KeyedProcessFunction`.)
pub trait KeyedProcessFunction<K: Key, T: Record>: Send + 'static {
    /// What it emits.
    type Out: Record;

    /// Processes one record. State and timers are those of the record's key.
    ///
    /// # Errors
    /// An error stops the job into its restart strategy, or sends the record to the dead-letter output if that is
    /// consumed; changes to state that were made before the error stay.
    fn process(&mut self, record: &T, ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError>;

    /// A timer of this key is due. Fires exactly once.
    ///
    /// # Errors
    /// As [`KeyedProcessFunction::process`], but there is no record to send away.
    fn on_timer(&mut self, _timer: Timer, _ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError> {
        Ok(())
    }
}

/// Declares the states of a function, before its first record.
pub struct States<'a, K: Key> {
    pub(crate) backend: &'a mut Backend<K>,
}

impl<K: Key> States<'_, K> {
    /// One value per key.
    ///
    /// # Errors
    /// When the restored state of this name has another type, kind or version.
    pub fn value<V: Value>(&mut self, state: impl Into<StateDescriptor>) -> Result<ValueHandle<V>, StateError> {
        self.backend.value(state.into())
    }

    /// An ordered map per key.
    ///
    /// # Errors
    /// As [`States::value`].
    pub fn map<UK: Key, UV: Value>(
        &mut self,
        state: impl Into<StateDescriptor>,
    ) -> Result<MapHandle<UK, UV>, StateError> {
        self.backend.map(state.into())
    }

    /// A list per key.
    ///
    /// # Errors
    /// As [`States::value`].
    pub fn list<V: Value>(&mut self, state: impl Into<StateDescriptor>) -> Result<ListHandle<V>, StateError> {
        self.backend.list(state.into())
    }

    /// A map that every subtask holds in full; see [`BroadcastProcessFunction`](crate::operators::broadcast::BroadcastProcessFunction).
    ///
    /// # Errors
    /// As [`States::value`].
    pub fn broadcast<UK: Key, UV: Value>(
        &mut self,
        state: impl Into<StateDescriptor>,
    ) -> Result<BroadcastHandle<UK, UV>, StateError> {
        self.backend.broadcast(state.into())
    }

    /// One value per key, combined by `f`.
    ///
    /// # Errors
    /// As [`States::value`].
    pub fn reducing<V: Value>(
        &mut self,
        state: impl Into<StateDescriptor>,
        f: impl Fn(&mut V, V) + Send + Sync + 'static,
    ) -> Result<ReducingHandle<V>, StateError> {
        Ok(ReducingHandle { value: self.backend.value(state.into().kind(StateKind::Reducing))?, f: Arc::new(f) })
    }

    /// One accumulator per key.
    ///
    /// # Errors
    /// As [`States::value`].
    pub fn aggregating<A: Aggregate>(
        &mut self,
        state: impl Into<StateDescriptor>,
        aggregate: A,
    ) -> Result<AggregatingHandle<A>, StateError> {
        Ok(AggregatingHandle { value: self.backend.value(state.into().kind(StateKind::Aggregating))?, aggregate })
    }
}

/// Combines a record into the one that a reducing state holds.
type Combine<V> = dyn Fn(&mut V, V) + Send + Sync;

/// Names a reducing state.
#[derive(Clone)]
pub struct ReducingHandle<V> {
    value: ValueHandle<V>,
    f: Arc<Combine<V>>,
}

/// Names an aggregating state.
#[derive(Clone)]
pub struct AggregatingHandle<A: Aggregate> {
    value: ValueHandle<A::Acc>,
    aggregate: A,
}

/// What a function may do while it processes a record or a timer: state and timers of the current key, and output.
pub struct ProcessContext<'a, 'b, K: Key, Out> {
    pub(crate) backend: &'a mut Backend<K>,
    pub(crate) out: &'a mut Collector<'b, Out>,
    pub(crate) key: &'a K,
    pub(crate) hash: u64,
    pub(crate) time: Option<i64>,
    pub(crate) watermark: i64,
    pub(crate) timers: Timers,
}

impl<K: Key, Out: Record> ProcessContext<'_, '_, K, Out> {
    /// The current key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// Event time of the record, or the time of the timer, in milliseconds; `None` for streams without event time.
    pub fn time(&self) -> Option<i64> {
        self.time
    }

    /// The watermark in milliseconds; `i64::MIN` before the first.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// Processing time in milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.out.now()
    }

    /// Emits a record with the current event time.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails.
    pub fn emit(&mut self, record: Out) -> Result<(), UserError> {
        self.out.emit(record, self.time).map_err(Into::into)
    }

    /// Emits a record to a side output, with the current event time.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails.
    pub fn side<U: Record>(&mut self, tag: &OutputTag<U>, record: U) -> Result<(), UserError> {
        self.out.side(tag, record, self.time).map_err(Into::into)
    }

    /// A value state of the current key.
    pub fn value<V: Value>(&mut self, state: ValueHandle<V>) -> ValueState<'_, K, V> {
        ValueState { table: self.backend.value_mut(state), key: self.key, hash: self.hash }
    }

    /// A map state of the current key.
    pub fn map<UK: Key, UV: Value>(&mut self, state: MapHandle<UK, UV>) -> MapState<'_, K, UK, UV> {
        MapState { table: self.backend.map_mut(state), key: self.key, hash: self.hash }
    }

    /// A broadcast state, for reading.
    pub fn broadcast<UK: Key, UV: Value>(&mut self, state: BroadcastHandle<UK, UV>) -> &BroadcastTable<UK, UV> {
        self.backend.broadcast_mut(state)
    }

    /// A list state of the current key.
    pub fn list<V: Value>(&mut self, state: ListHandle<V>) -> ListState<'_, K, V> {
        ListState { table: self.backend.list_mut(state), key: self.key, hash: self.hash }
    }

    /// Combines `value` into a reducing state; returns the combination.
    ///
    /// # Errors
    /// When state fails.
    pub fn reduce<V: Value>(&mut self, state: &ReducingHandle<V>, value: V) -> Result<&V, StateError> {
        let slot = self.backend.value_mut(state.value).entry(self.hash, self.key)?;
        match slot {
            Some(combined) => (state.f)(combined, value),
            None => *slot = Some(value),
        }
        Ok(slot.as_ref().expect("just set"))
    }

    /// Folds a record into an aggregating state; returns the result so far.
    ///
    /// # Errors
    /// When state fails.
    pub fn aggregate<A: Aggregate>(
        &mut self,
        state: &AggregatingHandle<A>,
        record: &A::In,
    ) -> Result<A::Out, StateError> {
        let acc = self
            .backend
            .value_mut(state.value)
            .entry(self.hash, self.key)?
            .get_or_insert_with(|| state.aggregate.create());
        state.aggregate.add(acc, record);
        Ok(state.aggregate.result(acc))
    }

    /// Forgets a reducing state of the current key.
    ///
    /// # Errors
    /// When state fails.
    pub fn clear_reducing<V: Value>(&mut self, state: &ReducingHandle<V>) -> Result<(), StateError> {
        self.backend.value_mut(state.value).remove(self.hash, self.key)
    }

    /// Forgets an aggregating state of the current key.
    ///
    /// # Errors
    /// When state fails.
    pub fn clear_aggregating<A: Aggregate>(&mut self, state: &AggregatingHandle<A>) -> Result<(), StateError> {
        self.backend.value_mut(state.value).remove(self.hash, self.key)
    }

    /// Sets a timer of the current key; setting it twice is setting it once. A timer that is already due fires at the
    /// next progress of its clock.
    ///
    /// When a bounded input ends, the watermark goes to `i64::MAX` and event-time timers fire whatever their time, also
    /// those that such timers set: a timer that always sets the next must look at [`ProcessContext::watermark`] to end.
    /// Then the processing-time timers that are set by then fire, each once, ahead of their time; one that is set from then
    /// on is not kept.
    ///
    /// # Errors
    /// When state fails.
    pub fn set_timer(&mut self, domain: TimeDomain, time: i64) -> Result<(), StateError> {
        if !self.timers.takes(domain) {
            return Ok(());
        }
        self.backend.timers_mut(self.timers.handle(domain)).register(time, self.hash, self.key)
    }

    /// Removes a timer of the current key, if it is set.
    ///
    /// # Errors
    /// When state fails.
    pub fn delete_timer(&mut self, domain: TimeDomain, time: i64) -> Result<(), StateError> {
        self.backend.timers_mut(self.timers.handle(domain)).delete(time, self.hash, self.key)
    }
}

/// A value of the current key.
pub struct ValueState<'a, K: Key, V: Value> {
    table: &'a mut ValueTable<K, V>,
    key: &'a K,
    hash: u64,
}

impl<'a, K: Key, V: Value> ValueState<'a, K, V> {
    /// The value, if there is one.
    ///
    /// # Errors
    /// When state fails.
    pub fn get(self) -> Result<Option<&'a V>, StateError> {
        self.table.get(self.hash, self.key)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// When state fails.
    pub fn set(self, value: V) -> Result<(), StateError> {
        self.table.set(self.hash, self.key, value)
    }

    /// Removes the value.
    ///
    /// # Errors
    /// When state fails.
    pub fn clear(self) -> Result<(), StateError> {
        self.table.remove(self.hash, self.key)
    }

    /// The value for changing in place; `None` is absence, both ways.
    ///
    /// # Errors
    /// When state fails.
    pub fn entry(self) -> Result<&'a mut Option<V>, StateError> {
        self.table.entry(self.hash, self.key)
    }
}

/// An ordered map of the current key.
pub struct MapState<'a, K: Key, UK: Key, UV: Value> {
    table: &'a mut MapTable<K, UK, UV>,
    key: &'a K,
    hash: u64,
}

impl<'a, K: Key, UK: Key, UV: Value> MapState<'a, K, UK, UV> {
    /// The value of `user_key`.
    ///
    /// # Errors
    /// When state fails.
    pub fn get(self, user_key: &UK) -> Result<Option<UV>, StateError> {
        self.table.get(self.hash, self.key, user_key).map(|value| value.cloned())
    }

    /// Sets the value of `user_key`.
    ///
    /// # Errors
    /// When state fails.
    pub fn insert(self, user_key: UK, value: UV) -> Result<(), StateError> {
        self.table.insert(self.hash, self.key, user_key, value)
    }

    /// Removes `user_key`.
    ///
    /// # Errors
    /// When state fails.
    pub fn remove(self, user_key: &UK) -> Result<(), StateError> {
        self.table.remove(self.hash, self.key, user_key)
    }

    /// The entries within `bounds`, in order of their user keys.
    ///
    /// # Errors
    /// When state fails.
    pub fn range(self, bounds: impl std::ops::RangeBounds<UK>) -> Result<Vec<(UK, UV)>, StateError> {
        self.table.range(self.hash, self.key, bounds)
    }

    /// All entries, in order of their user keys.
    ///
    /// # Errors
    /// When state fails.
    pub fn entries(self) -> Result<Vec<(UK, UV)>, StateError> {
        self.table.range(self.hash, self.key, ..)
    }

    /// True if there is no entry.
    ///
    /// # Errors
    /// When state fails.
    pub fn is_empty(self) -> Result<bool, StateError> {
        self.table.is_empty(self.hash, self.key)
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// When state fails.
    pub fn clear(self) -> Result<(), StateError> {
        self.table.clear(self.hash, self.key)
    }
}

/// A list of the current key.
pub struct ListState<'a, K: Key, V: Value> {
    table: &'a mut ListTable<K, V>,
    key: &'a K,
    hash: u64,
}

impl<'a, K: Key, V: Value> ListState<'a, K, V> {
    /// Appends an element.
    ///
    /// # Errors
    /// When state fails.
    pub fn push(self, value: V) -> Result<(), StateError> {
        self.table.push(self.hash, self.key, value)
    }

    /// All elements in the order they were appended.
    ///
    /// # Errors
    /// When state fails.
    pub fn get(self) -> Result<Vec<V>, StateError> {
        self.table.get(self.hash, self.key)
    }

    /// Removes all elements.
    ///
    /// # Errors
    /// When state fails.
    pub fn clear(self) -> Result<(), StateError> {
        self.table.clear(self.hash, self.key)
    }
}

/// Runs a [`KeyedProcessFunction`].
pub struct KeyedProcess<K: Key, T, P> {
    runner: Runner<K>,
    function: P,
    key: KeySelector<K, T>,
}

impl<K: Key, T: Record, P: KeyedProcessFunction<K, T>> KeyedProcess<K, T, P> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<Self, BuildError> {
        let (runner, function) = Runner::open(ctx, build, open)?;
        Ok(Self { runner, function, key })
    }
}

impl<K: Key, T: Record, P: KeyedProcessFunction<K, T>> KeyedOperator for KeyedProcess<K, T, P> {
    type Key = K;
    type Out = P::Out;

    fn core(&self) -> &KeyedCore<K> {
        &self.runner.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.runner.core
    }

    fn processing_timers(&self) -> Option<TimerHandle> {
        Some(self.runner.timers.processing)
    }

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, P::Out>) -> Result<Advanced, TaskError> {
        self.runner.fire(to, out, |timer, context| self.function.on_timer(timer, context))
    }
}

impl<K: Key, T: Record, P: KeyedProcessFunction<K, T>> OneInput<T> for KeyedProcess<K, T, P> {
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.runner.run(&self.key, batch, out, |record, context| self.function.process(record, context))
    }
}
