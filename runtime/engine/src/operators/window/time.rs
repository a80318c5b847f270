//! Tumbling and sliding windows.

use weir_protocol::CheckpointId;
use weir_state::{Backend, Key, StateError, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::element::MAX_WATERMARK;
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, OneInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::operators::process::TimeDomain;
use crate::operators::window::contents::Contents;
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};
use crate::window::{Emit, Window, WindowSpec};

/// Runs aligned windows.
pub struct TimeWindows<K: Key, T, C, F, U> {
    core: KeyedCore<K>,
    timers: TimerHandle,
    contents: C,
    f: F,
    key: KeySelector<K, T>,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
    size: i64,
    slide: i64,
    offset: i64,
    spec: WindowSpec<T>,
    marker: std::marker::PhantomData<fn() -> U>,
}

/// The up-to time of an advance on `domain`, if it concerns that clock.
pub(crate) fn due_until(domain: TimeDomain, to: Advance, now: i64) -> Option<i64> {
    match (domain, to) {
        (TimeDomain::Event, Advance::Watermark(watermark)) => Some(watermark),
        (TimeDomain::Processing, Advance::ProcessingTime) => Some(now),
        // The input ended. Those downstream are told afterwards, so that what fires now is not late for them.
        (TimeDomain::Processing, Advance::Watermark(MAX_WATERMARK)) => Some(i64::MAX),
        (TimeDomain::Event, Advance::ProcessingTime)
        | (TimeDomain::Processing, Advance::Watermark(_))
        | (TimeDomain::Event | TimeDomain::Processing, Advance::End) => None,
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, F, U> TimeWindows<K, T, C, F, U> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        (size, slide, offset): (i64, i64, i64),
        spec: WindowSpec<T>,
        contents: &impl Fn(&mut Backend<K>, u64) -> Result<C, StateError>,
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let contents = contents(&mut core.backend, build.restored.epoch).map_err(refused(ctx))?;
        let timers = core.backend.timers("window-timers").map_err(refused(ctx))?;
        Ok(Self {
            core,
            timers,
            contents,
            f,
            key,
            batch_keys: BatchKeys::new(),
            scratch: Vec::new(),
            size,
            slide,
            offset,
            spec,
            marker: std::marker::PhantomData,
        })
    }

    /// Start of the last window that contains `time`.
    fn last_start(&self, time: i64) -> i64 {
        time - (time - self.offset).rem_euclid(self.slide)
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    TimeWindows<K, T, C, F, U>
{
    fn fire(&mut self, hash: u64, key: &K, start: i64, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let found =
            self.contents.get(&mut self.core.backend, hash, key, start).map_err(|error| state_error(ctx, error))?;
        let Some(value) = found else { return Ok(()) };
        let window = Window { start, end: start + self.size };
        let buffer = out.buffer();
        (self.f)(key, window, value, &mut |record| buffer.push(record, Some(window.max_time())));
        out.check()
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    KeyedOperator for TimeWindows<K, T, C, F, U>
{
    type Key = K;
    type Out = U;

    fn core(&self) -> &KeyedCore<K> {
        &self.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.core
    }

    fn processing_timers(&self) -> Option<TimerHandle> {
        (self.spec.domain == TimeDomain::Processing).then_some(self.timers)
    }

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, U>) -> Result<Advanced, TaskError> {
        if let Advance::Watermark(watermark) = to {
            self.core.watermark = watermark;
        }
        let Some(up_to) = due_until(self.spec.domain, to, out.now()) else { return Ok(Advanced::Done) };
        while let Some((time, key)) = self.core.backend.timers_mut(self.timers).pop_due(up_to) {
            let hash = hash_key(&key, &mut self.scratch);
            let ctx = out.ctx;
            // The window that ends here fires; the one whose lateness ends here is forgotten. Without lateness both are one.
            self.fire(hash, &key, time + 1 - self.size, out)?;
            let forgotten = time + 1 - self.size - self.spec.lateness;
            self.contents
                .remove(&mut self.core.backend, hash, &key, forgotten)
                .map_err(|error| state_error(ctx, error))?;
            if out.is_full() {
                return Ok(Advanced::Paused);
            }
        }
        Ok(Advanced::Done)
    }

    fn begin_epoch(&mut self, sealed: CheckpointId) {
        self.contents.begin_epoch(sealed.0);
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    OneInput<T> for TimeWindows<K, T, C, F, U>
{
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let failed = |error| state_error(ctx, error);
        self.batch_keys.fill(&self.key, &batch.records);
        self.core.backend.prefetch(&self.batch_keys.hashes, &self.batch_keys.keys).map_err(failed)?;
        let current = match self.spec.domain {
            TimeDomain::Event => self.core.watermark,
            TimeDomain::Processing => i64::MIN,
        };
        let keys = std::mem::replace(&mut self.batch_keys, BatchKeys::new());
        for (index, (record, (hash, key))) in batch.records.iter().zip(keys.pairs()).enumerate() {
            let time = match self.spec.domain {
                TimeDomain::Event => batch.time(index).ok_or_else(|| no_event_time(ctx))?,
                TimeDomain::Processing => out.now(),
            };
            let mut taken = false;
            let mut start = self.last_start(time);
            while start > time - self.size {
                let last = start + self.size - 1;
                if last.saturating_add(self.spec.lateness) > current {
                    taken = true;
                    let first = self.contents.add(&mut self.core.backend, hash, key, start, record).map_err(failed)?;
                    if last <= current {
                        self.fire(hash, key, start, out)?;
                    }
                    if first {
                        let timers = self.core.backend.timers_mut(self.timers);
                        if last > current {
                            timers.register(last, hash, key).map_err(failed)?;
                        }
                        if self.spec.lateness > 0 {
                            timers.register(last.saturating_add(self.spec.lateness), hash, key).map_err(failed)?;
                        }
                    }
                }
                start -= self.slide;
            }
            if !taken {
                late(record, time, &self.spec, out)?;
            }
        }
        self.batch_keys = keys;
        Ok(())
    }
}

/// Counts a late record and hands it to the late output, if there is one.
pub(crate) fn late<T: Record, U: Record>(
    record: &T,
    time: i64,
    spec: &WindowSpec<T>,
    out: &mut Collector<'_, U>,
) -> Result<(), TaskError> {
    out.ctx.metrics.records_late.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    match &spec.late {
        Some(tag) => out.side(tag, record.clone(), Some(time)),
        None => Ok(()),
    }
}

#[cold]
pub(crate) fn no_event_time(ctx: &OperatorContext) -> TaskError {
    let message = "records have no event time: give the source a WatermarkStrategy, or use processing_time()";
    ctx.error(crate::error::FailureKind::UserCode, message, None)
}
