//! Session windows: a window ends when nothing came for a gap; records between two windows merge them.

use weir_protocol::CheckpointId;
use weir_state::{Backend, Key, MapHandle, StateDescriptor, StateError, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::TaskError;
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, OneInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator, refused, state_error};
use crate::operators::process::TimeDomain;
use crate::operators::window::contents::Contents;
use crate::operators::window::time::{due_until, late, no_event_time};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};
use crate::window::{Emit, Window, WindowSpec};

/// Runs session windows.
pub struct SessionWindows<K: Key, T, C, F, U> {
    core: KeyedCore<K>,
    timers: TimerHandle,
    /// End of each window by its start.
    sessions: MapHandle<i64, i64>,
    contents: C,
    f: F,
    key: KeySelector<K, T>,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
    gap: i64,
    spec: WindowSpec<T>,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<K: Key, T: Record, C: Contents<K, T>, F, U> SessionWindows<K, T, C, F, U> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        gap: i64,
        spec: WindowSpec<T>,
        contents: &impl Fn(&mut Backend<K>, u64) -> Result<C, StateError>,
        f: F,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let contents = contents(&mut core.backend, build.restored.epoch).map_err(refused(ctx))?;
        let sessions = core.backend.map(StateDescriptor::new("sessions")).map_err(refused(ctx))?;
        let timers = core.backend.timers("window-timers").map_err(refused(ctx))?;
        Ok(Self {
            core,
            timers,
            sessions,
            contents,
            f,
            key,
            batch_keys: BatchKeys::new(),
            scratch: Vec::new(),
            gap,
            spec,
            marker: std::marker::PhantomData,
        })
    }

    /// Adds a record's window, merged with all it touches. Returns the window, or `None` if it is too late for any.
    fn add(&mut self, hash: u64, key: &K, time: i64, current: i64, record: &T) -> Result<Option<Window>, StateError> {
        let backend = &mut self.core.backend;
        let (mut start, mut end) = (time, time.saturating_add(self.gap));
        // Windows that touch [time, time + gap): they start no later than its end, and end no earlier than its start.
        let mut touched = backend.map_mut(self.sessions).range(hash, key, ..=end)?;
        touched.retain(|&(_, other_end)| other_end >= time);
        for &(other_start, other_end) in &touched {
            start = start.min(other_start);
            end = end.max(other_end);
        }
        if end.saturating_sub(1).saturating_add(self.spec.lateness) <= current {
            return Ok(None);
        }
        let known = touched.len() == 1 && touched[0] == (start, end);
        for &(other_start, _) in touched.iter().filter(|&&(other_start, _)| other_start != start) {
            backend.map_mut(self.sessions).remove(hash, key, &other_start)?;
            self.contents.merge(backend, hash, key, other_start, start)?;
        }
        self.contents.add(backend, hash, key, start, record)?;
        if !known {
            backend.map_mut(self.sessions).insert(hash, key, start, end)?;
            let timers = backend.timers_mut(self.timers);
            if end - 1 > current {
                timers.register(end - 1, hash, key)?;
            }
            if self.spec.lateness > 0 {
                timers.register((end - 1).saturating_add(self.spec.lateness), hash, key)?;
            }
        }
        Ok(Some(Window { start, end }))
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    SessionWindows<K, T, C, F, U>
{
    fn fire(&mut self, hash: u64, key: &K, window: Window, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let found = self
            .contents
            .get(&mut self.core.backend, hash, key, window.start)
            .map_err(|error| state_error(ctx, error))?;
        let Some(value) = found else { return Ok(()) };
        let buffer = out.buffer();
        (self.f)(key, window, value, &mut |record| buffer.push(record, Some(window.max_time())));
        out.check()
    }

    /// A timer of this key: its windows that end here fire, those whose lateness ends here are forgotten. Windows that
    /// grew meanwhile have a later timer.
    fn timer(&mut self, time: i64, key: &K, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let failed = |error| state_error(ctx, error);
        let hash = hash_key(key, &mut self.scratch);
        for (start, end) in self.core.backend.map_mut(self.sessions).range(hash, key, ..).map_err(failed)? {
            if end - 1 == time {
                self.fire(hash, key, Window { start, end }, out)?;
            }
            if (end - 1).saturating_add(self.spec.lateness) == time {
                self.core.backend.map_mut(self.sessions).remove(hash, key, &start).map_err(failed)?;
                self.contents.remove(&mut self.core.backend, hash, key, start).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl<K: Key, T: Record, C: Contents<K, T>, U: Record, F: Fn(&K, Window, C::Value, &mut Emit<'_, U>) + Send + 'static>
    KeyedOperator for SessionWindows<K, T, C, F, U>
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
            self.timer(time, &key, out)?;
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
    OneInput<T> for SessionWindows<K, T, C, F, U>
{
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        self.batch_keys.fill(&self.key, &batch.records);
        let current = match self.spec.domain {
            TimeDomain::Event => self.core.watermark,
            TimeDomain::Processing => i64::MIN,
        };
        let keys = std::mem::replace(&mut self.batch_keys, BatchKeys::new());
        self.core.backend.prefetch(&keys.hashes, &keys.keys).map_err(|error| state_error(ctx, error))?;
        for (index, (record, (hash, key))) in batch.records.iter().zip(keys.pairs()).enumerate() {
            let time = match self.spec.domain {
                TimeDomain::Event => batch.time(index).ok_or_else(|| no_event_time(ctx))?,
                TimeDomain::Processing => out.now(),
            };
            match self.add(hash, key, time, current, record).map_err(|error| state_error(ctx, error))? {
                Some(window) if window.max_time() <= current => self.fire(hash, key, window, out)?,
                Some(_) => {}
                None => late(record, time, &self.spec, out)?,
            }
        }
        self.batch_keys = keys;
        Ok(())
    }
}
