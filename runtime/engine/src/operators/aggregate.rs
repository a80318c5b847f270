//! Incremental aggregation: the function, and the operator that applies it to all records of a key so far.

use weir_protocol::StateKind;
use weir_state::{Key, StateDescriptor, Value, ValueHandle};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, OneInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::record::Record;
use crate::stage::OperatorContext;

/// Folds records into an accumulator. (The shape is Flink's `AggregateFunction`.)
pub trait Aggregate: Clone + Send + Sync + 'static {
    /// What is folded.
    type In: Record;
    /// The accumulator; stored in checkpoints.
    type Acc: Value;
    /// What is emitted.
    type Out: Record;

    /// An accumulator of no record.
    fn create(&self) -> Self::Acc;

    /// Folds one record in.
    fn add(&self, acc: &mut Self::Acc, record: &Self::In);

    /// Folds another accumulator in; used when session windows merge.
    fn merge(&self, acc: &mut Self::Acc, other: Self::Acc);

    /// The result so far.
    fn result(&self, acc: &Self::Acc) -> Self::Out;
}

/// Counts records.
#[derive(Debug, Clone, Copy)]
pub struct Count<T>(std::marker::PhantomData<fn(T)>);

impl<T> Count<T> {
    /// The count of records of any type.
    pub fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T> Default for Count<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Record> Aggregate for Count<T> {
    type In = T;
    type Acc = u64;
    type Out = u64;

    fn create(&self) -> u64 {
        0
    }

    fn add(&self, acc: &mut u64, _record: &T) {
        *acc += 1;
    }

    fn merge(&self, acc: &mut u64, other: u64) {
        *acc += other;
    }

    fn result(&self, acc: &u64) -> u64 {
        *acc
    }
}

/// Combines records with a function; the first record is the first accumulator.
#[derive(Debug)]
pub struct Reducing<T, F> {
    f: F,
    marker: std::marker::PhantomData<fn(T)>,
}

impl<T, F: Clone> Clone for Reducing<T, F> {
    fn clone(&self) -> Self {
        Self { f: self.f.clone(), marker: std::marker::PhantomData }
    }
}

impl<T, F> Reducing<T, F> {
    /// Combines with `f`.
    pub fn new(f: F) -> Self {
        Self { f, marker: std::marker::PhantomData }
    }
}

impl<T: Record, F: Fn(&mut T, T) + Clone + Send + Sync + 'static> Aggregate for Reducing<T, F> {
    type In = T;
    type Acc = Option<T>;
    type Out = Option<T>;

    fn create(&self) -> Option<T> {
        None
    }

    fn add(&self, acc: &mut Option<T>, record: &T) {
        self.merge(acc, Some(record.clone()));
    }

    fn merge(&self, acc: &mut Option<T>, other: Option<T>) {
        match (acc.as_mut(), other) {
            (Some(combined), Some(other)) => (self.f)(combined, other),
            (None, other) => *acc = other,
            (Some(_), None) => {}
        }
    }

    fn result(&self, acc: &Option<T>) -> Option<T> {
        acc.clone()
    }
}

/// Keeps one accumulator per key and emits its result after every record.
pub struct RunningAggregate<K: Key, A: Aggregate> {
    core: KeyedCore<K>,
    state: ValueHandle<A::Acc>,
    key: KeySelector<K, A::In>,
    batch_keys: BatchKeys<K>,
    aggregate: A,
}

impl<K: Key, A: Aggregate> RunningAggregate<K, A> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, A::In>,
        aggregate: A,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let state = core
            .backend
            .value::<A::Acc>(StateDescriptor::new("accumulator").kind(StateKind::Aggregating))
            .map_err(refused(ctx))?;
        Ok(Self { core, state, key, batch_keys: BatchKeys::new(), aggregate })
    }
}

impl<K: Key, A: Aggregate> KeyedOperator for RunningAggregate<K, A> {
    type Key = K;
    type Out = (K, A::Out);

    fn core(&self) -> &KeyedCore<K> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.core
    }
}

impl<K: Key, A: Aggregate> OneInput<A::In> for RunningAggregate<K, A> {
    fn process(&mut self, batch: &mut Batch<A::In>, out: &mut Collector<'_, (K, A::Out)>) -> Result<(), TaskError> {
        self.batch_keys.fill(&self.key, &batch.records);
        let ctx = out.ctx;
        let table = self.core.backend.value_mut(self.state);
        table.prefetch(self.batch_keys.pairs()).map_err(|error| state_error(ctx, error))?;
        for (index, (record, (hash, key))) in batch.records.iter().zip(self.batch_keys.pairs()).enumerate() {
            let acc = table
                .entry(hash, key)
                .map_err(|error| state_error(ctx, error))?
                .get_or_insert_with(|| self.aggregate.create());
            self.aggregate.add(acc, record);
            let result = self.aggregate.result(acc);
            out.emit((key.clone(), result), batch.times.get(index).copied())?;
        }
        Ok(())
    }
}
