//! Interval join: both sides are kept, ordered by event time, for as long as a partner may still come.

use weir_protocol::CheckpointId;
use weir_state::{Key, MapHandle, StateDescriptor, StateError, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, TwoInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::operators::window::time::no_event_time;
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};
use crate::window::Emit;

/// Clean-up timers of one key are at least this far apart, in milliseconds, so that a busy key has few.
const CLEANUP_STEP: i64 = 1000;

type Side<T> = MapHandle<(i64, u64), T>;

/// Runs an interval join.
pub struct IntervalJoin<K: Key, A: Record, B: Record, F, U> {
    core: KeyedCore<K>,
    timers: TimerHandle,
    left: Side<A>,
    right: Side<B>,
    left_key: KeySelector<K, A>,
    right_key: KeySelector<K, B>,
    /// right time - left time, lowest and highest.
    bounds: (i64, i64),
    /// Numbers records of equal time; the epoch in the high half.
    next: u64,
    f: F,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<K: Key, A: Record, B: Record, F, U> IntervalJoin<K, A, B, F, U> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        left_key: KeySelector<K, A>,
        right_key: KeySelector<K, B>,
        bounds: (i64, i64),
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let left = core.backend.map(StateDescriptor::new("left")).map_err(refused(ctx))?;
        let right = core.backend.map(StateDescriptor::new("right")).map_err(refused(ctx))?;
        let timers = core.backend.timers("cleanup-timers").map_err(refused(ctx))?;
        let next = build.restored.epoch << 32;
        let (batch_keys, scratch, marker) = (BatchKeys::new(), Vec::new(), std::marker::PhantomData);
        Ok(Self { core, timers, left, right, left_key, right_key, bounds, next, f, batch_keys, scratch, marker })
    }

    /// The watermark from which a left (right) record of this time has no partner to come.
    fn left_until(&self, time: i64) -> i64 {
        time.saturating_add(self.bounds.1.max(0))
    }

    fn right_until(&self, time: i64) -> i64 {
        time.saturating_sub(self.bounds.0.min(0))
    }

    /// Keeps a record and sees to its removal.
    fn keep<T: Record>(
        &mut self,
        side: Side<T>,
        until: i64,
        hash: u64,
        key: &K,
        time: i64,
        record: &T,
    ) -> Result<(), StateError> {
        self.core.backend.map_mut(side).insert(hash, key, (time, self.next), record.clone())?;
        self.next += 1;
        let cleanup = until.saturating_add(CLEANUP_STEP - until.rem_euclid(CLEANUP_STEP));
        self.core.backend.timers_mut(self.timers).register(cleanup, hash, key)
    }

    /// Removes what has no partner to come at this watermark.
    fn forget(&mut self, watermark: i64, key: &K) -> Result<(), StateError> {
        let hash = hash_key(key, &mut self.scratch);
        let left_last = watermark.saturating_sub(self.bounds.1.max(0));
        let right_last = watermark.saturating_add(self.bounds.0.min(0));
        let table = self.core.backend.map_mut(self.left);
        for (at, _) in table.range(hash, key, ..=(left_last, u64::MAX))? {
            table.remove(hash, key, &at)?;
        }
        let table = self.core.backend.map_mut(self.right);
        for (at, _) in table.range(hash, key, ..=(right_last, u64::MAX))? {
            table.remove(hash, key, &at)?;
        }
        Ok(())
    }
}

impl<K: Key, A: Record, B: Record, U: Record, F: Fn(&A, &B, &mut Emit<'_, U>) + Send + 'static> KeyedOperator
    for IntervalJoin<K, A, B, F, U>
{
    type Key = K;
    type Out = U;

    fn core(&self) -> &KeyedCore<K> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.core
    }

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, U>) -> Result<Advanced, TaskError> {
        let Advance::Watermark(watermark) = to else { return Ok(Advanced::Done) };
        self.core.watermark = watermark;
        while let Some((time, key)) = self.core.backend.timers_mut(self.timers).pop_due(watermark) {
            self.forget(time, &key).map_err(|error| state_error(out.ctx, error))?;
        }
        Ok(Advanced::Done)
    }

    fn begin_epoch(&mut self, sealed: CheckpointId) {
        self.next = sealed.0 << 32;
    }
}

fn pair<U: Record>(out: &mut Collector<'_, U>, time: i64, f: impl FnOnce(&mut Emit<'_, U>)) -> Result<(), TaskError> {
    let buffer = out.buffer();
    f(&mut |record| buffer.push(record, Some(time)));
    out.check()
}

impl<K: Key, A: Record, B: Record, U: Record, F: Fn(&A, &B, &mut Emit<'_, U>) + Send + 'static> TwoInput<A, B>
    for IntervalJoin<K, A, B, F, U>
{
    fn process_left(&mut self, batch: &mut Batch<A>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let mut keys = std::mem::replace(&mut self.batch_keys, BatchKeys::new());
        keys.fill(&self.left_key, &batch.records);
        for (index, (record, (hash, key))) in batch.records.iter().zip(keys.pairs()).enumerate() {
            let time = batch.time(index).ok_or_else(|| no_event_time(ctx))?;
            if time <= self.core.watermark {
                ctx.metrics.records_late.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                continue;
            }
            let (from, to) = ((time.saturating_add(self.bounds.0), 0), (time.saturating_add(self.bounds.1), u64::MAX));
            let partners = self
                .core
                .backend
                .map_mut(self.right)
                .range(hash, key, from..=to)
                .map_err(|error| state_error(ctx, error))?;
            for ((other_time, _), other) in &partners {
                pair(out, time.max(*other_time), |emit| (self.f)(record, other, emit))?;
            }
            self.keep(self.left, self.left_until(time), hash, key, time, record)
                .map_err(|error| state_error(ctx, error))?;
        }
        self.batch_keys = keys;
        Ok(())
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let mut keys = std::mem::replace(&mut self.batch_keys, BatchKeys::new());
        keys.fill(&self.right_key, &batch.records);
        for (index, (record, (hash, key))) in batch.records.iter().zip(keys.pairs()).enumerate() {
            let time = batch.time(index).ok_or_else(|| no_event_time(ctx))?;
            if time <= self.core.watermark {
                ctx.metrics.records_late.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                continue;
            }
            let (from, to) = ((time.saturating_sub(self.bounds.1), 0), (time.saturating_sub(self.bounds.0), u64::MAX));
            let partners = self
                .core
                .backend
                .map_mut(self.left)
                .range(hash, key, from..=to)
                .map_err(|error| state_error(ctx, error))?;
            for ((other_time, _), other) in &partners {
                pair(out, time.max(*other_time), |emit| (self.f)(other, record, emit))?;
            }
            self.keep(self.right, self.right_until(time), hash, key, time, record)
                .map_err(|error| state_error(ctx, error))?;
        }
        self.batch_keys = keys;
        Ok(())
    }
}
