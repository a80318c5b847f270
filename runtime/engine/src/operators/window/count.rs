//! Count windows: a window is a number of records of one key.

use weir_protocol::CheckpointId;
use weir_state::{Backend, Key, StateDescriptor, StateError, ValueHandle};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, OneInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::operators::window::contents::Contents;
use crate::record::Record;
use crate::stage::OperatorContext;
use crate::window::{Emit, Window};

/// Runs count windows. Windows that are not full when the input ends are not emitted.
pub struct CountWindows<K: Key, T, C, F, U> {
    core: KeyedCore<K>,
    /// Number of records of each key so far.
    counts: ValueHandle<u64>,
    contents: C,
    f: F,
    key: KeySelector<K, T>,
    batch_keys: BatchKeys<K>,
    records: u64,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<K: Key, T: Record, C: Contents<K, T>, F, U> CountWindows<K, T, C, F, U> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        records: u64,
        contents: &impl Fn(&mut Backend<K>, u64) -> Result<C, StateError>,
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let contents = contents(&mut core.backend, build.restored.epoch).map_err(refused(ctx))?;
        let counts = core.backend.value(StateDescriptor::new("counts")).map_err(refused(ctx))?;
        Ok(Self {
            core,
            counts,
            contents,
            f,
            key,
            batch_keys: BatchKeys::new(),
            records,
            marker: std::marker::PhantomData,
        })
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    KeyedOperator for CountWindows<K, T, C, F, U>
{
    type Key = K;
    type Out = U;

    fn core(&self) -> &KeyedCore<K> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.core
    }

    fn begin_epoch(&mut self, sealed: CheckpointId) {
        self.contents.begin_epoch(sealed.0);
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    OneInput<T> for CountWindows<K, T, C, F, U>
{
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let failed = |error| state_error(ctx, error);
        self.batch_keys.fill(&self.key, &batch.records);
        let backend = &mut self.core.backend;
        backend.prefetch(&self.batch_keys.hashes, &self.batch_keys.keys).map_err(failed)?;
        for (index, (record, (hash, key))) in batch.records.iter().zip(self.batch_keys.pairs()).enumerate() {
            let count = backend.value_mut(self.counts).entry(hash, key).map_err(failed)?.get_or_insert(0);
            let number = (*count / self.records) as i64;
            *count += 1;
            let full = count.is_multiple_of(self.records);
            self.contents.add(backend, hash, key, number, record).map_err(failed)?;
            if !full {
                continue;
            }
            let value = self.contents.get(backend, hash, key, number).map_err(failed)?;
            self.contents.remove(backend, hash, key, number).map_err(failed)?;
            if let Some(value) = value {
                let time = batch.time(index);
                let buffer = out.buffer();
                (self.f)(key, Window { start: number, end: number + 1 }, value, &mut |emitted| {
                    buffer.push(emitted, time)
                });
                out.check()?;
            }
        }
        Ok(())
    }
}
