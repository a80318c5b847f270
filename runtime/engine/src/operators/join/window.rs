//! Window join: both sides of a window are collected and paired when it ends.

use weir_protocol::CheckpointId;
use weir_state::{Key, MapHandle, StateDescriptor, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, TwoInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::operators::window::time::no_event_time;
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};
use crate::window::{Emit, Window};

/// Records of one side by window start and number.
type Side<T> = MapHandle<(i64, u64), T>;

/// Runs a window join.
pub struct WindowJoin<K: Key, A: Record, B: Record, F, U> {
    core: KeyedCore<K>,
    timers: TimerHandle,
    left: Side<A>,
    right: Side<B>,
    left_key: KeySelector<K, A>,
    right_key: KeySelector<K, B>,
    size: i64,
    slide: i64,
    offset: i64,
    next: u64,
    f: F,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<K: Key, A: Record, B: Record, F, U> WindowJoin<K, A, B, F, U> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        left_key: KeySelector<K, A>,
        right_key: KeySelector<K, B>,
        (size, slide, offset): (i64, i64, i64),
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let left = core.backend.map(StateDescriptor::new("left")).map_err(refused(ctx))?;
        let right = core.backend.map(StateDescriptor::new("right")).map_err(refused(ctx))?;
        let timers = core.backend.timers("window-timers").map_err(refused(ctx))?;
        let next = build.restored.epoch << 32;
        let (batch_keys, scratch, marker) = (BatchKeys::new(), Vec::new(), std::marker::PhantomData);
        Ok(Self {
            core,
            timers,
            left,
            right,
            left_key,
            right_key,
            size,
            slide,
            offset,
            next,
            f,
            batch_keys,
            scratch,
            marker,
        })
    }

    /// Adds a batch of one side to the windows of its records.
    fn collect<T: Record, V>(
        &mut self,
        side: Side<T>,
        key: &KeySelector<K, T>,
        batch: &Batch<T>,
        out: &Collector<'_, V>,
    ) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let mut keys = std::mem::replace(&mut self.batch_keys, BatchKeys::new());
        keys.fill(key, &batch.records);
        for (index, (record, (hash, key))) in batch.records.iter().zip(keys.pairs()).enumerate() {
            let time = batch.time(index).ok_or_else(|| no_event_time(ctx))?;
            let mut start = time - (time - self.offset).rem_euclid(self.slide);
            let mut taken = false;
            while start > time - self.size {
                let last = start + self.size - 1;
                if last > self.core.watermark {
                    taken = true;
                    let failed = |error| state_error(ctx, error);
                    self.core
                        .backend
                        .map_mut(side)
                        .insert(hash, key, (start, self.next), record.clone())
                        .map_err(failed)?;
                    self.core.backend.timers_mut(self.timers).register(last, hash, key).map_err(failed)?;
                    self.next += 1;
                }
                start -= self.slide;
            }
            if !taken {
                ctx.metrics.records_late.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        self.batch_keys = keys;
        Ok(())
    }

    /// Takes one side of a window out of state.
    fn take<T: Record>(
        &mut self,
        side: Side<T>,
        hash: u64,
        key: &K,
        start: i64,
    ) -> Result<Vec<T>, weir_state::StateError> {
        let table = self.core.backend.map_mut(side);
        let entries = table.range(hash, key, (start, 0)..=(start, u64::MAX))?;
        for (at, _) in &entries {
            table.remove(hash, key, at)?;
        }
        Ok(entries.into_iter().map(|(_, record)| record).collect())
    }
}

impl<K: Key, A: Record, B: Record, U: Record, F: Fn(&A, &B, Window, &mut Emit<'_, U>) + Send + 'static> KeyedOperator
    for WindowJoin<K, A, B, F, U>
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
        let ctx = out.ctx;
        while let Some((time, key)) = self.core.backend.timers_mut(self.timers).pop_due(watermark) {
            let hash = hash_key(&key, &mut self.scratch);
            let window = Window { start: time + 1 - self.size, end: time + 1 };
            let left = self.take(self.left, hash, &key, window.start).map_err(|error| state_error(ctx, error))?;
            let right = self.take(self.right, hash, &key, window.start).map_err(|error| state_error(ctx, error))?;
            for a in &left {
                for b in &right {
                    let buffer = out.buffer();
                    (self.f)(a, b, window, &mut |record| buffer.push(record, Some(window.max_time())));
                    out.check()?;
                }
            }
            if out.is_full() {
                return Ok(Advanced::Paused);
            }
        }
        Ok(Advanced::Done)
    }

    fn begin_epoch(&mut self, sealed: CheckpointId) {
        self.next = sealed.0 << 32;
    }
}

impl<K: Key, A: Record, B: Record, U: Record, F: Fn(&A, &B, Window, &mut Emit<'_, U>) + Send + 'static> TwoInput<A, B>
    for WindowJoin<K, A, B, F, U>
{
    fn process_left(&mut self, batch: &mut Batch<A>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let key = self.left_key.clone();
        self.collect(self.left, &key, batch, out)
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let key = self.right_key.clone();
        self.collect(self.right, &key, batch, out)
    }
}
