//! Combines all records of a key so far.

use weir_protocol::StateKind;
use weir_state::{Key, StateDescriptor, ValueHandle};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, OneInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::record::Record;
use crate::stage::OperatorContext;

/// Keeps one combined record per key and emits it after every record.
pub struct Reduce<K: Key, T, F> {
    core: KeyedCore<K>,
    state: ValueHandle<T>,
    key: KeySelector<K, T>,
    batch_keys: BatchKeys<K>,
    f: F,
}

impl<K: Key, T: Record, F> Reduce<K, T, F> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let state =
            core.backend.value::<T>(StateDescriptor::new("reduced").kind(StateKind::Reducing)).map_err(refused(ctx))?;
        Ok(Self { core, state, key, batch_keys: BatchKeys::new(), f })
    }
}

impl<K: Key, T: Record, F: Fn(&mut T, T) + Send + 'static> KeyedOperator for Reduce<K, T, F> {
    type Key = K;
    type Out = T;

    fn core(&self) -> &KeyedCore<K> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.core
    }
}

impl<K: Key, T: Record, F: Fn(&mut T, T) + Send + 'static> OneInput<T> for Reduce<K, T, F> {
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, T>) -> Result<(), TaskError> {
        self.batch_keys.fill(&self.key, &batch.records);
        let ctx = out.ctx;
        let table = self.core.backend.value_mut(self.state);
        table.prefetch(self.batch_keys.pairs()).map_err(|error| state_error(ctx, error))?;
        let Batch { records, times } = batch;
        for (index, (record, (hash, key))) in records.drain(..).zip(self.batch_keys.pairs()).enumerate() {
            let slot = table.entry(hash, key).map_err(|error| state_error(ctx, error))?;
            let combined = match slot {
                Some(value) => {
                    (self.f)(value, record);
                    value.clone()
                }
                None => slot.insert(record).clone(),
            };
            out.emit(combined, times.get(index).copied())?;
        }
        Ok(())
    }
}
