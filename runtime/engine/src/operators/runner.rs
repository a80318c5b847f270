//! Runs users' functions over keyed records and timers; the operators for one, two and broadcast inputs share it.

use weir_state::{Backend, Key, StateError, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::element::MAX_WATERMARK;
use crate::error::{TaskError, UserError};
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::Collector;
use crate::operators::dead_letter;
use crate::operators::keyed_core::{KeyedCore, refused, state_error};
use crate::operators::process::{ProcessContext, States, TimeDomain, Timer};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};

/// State, timers, and the keys of the batch at hand.
pub(crate) struct Runner<K: Key> {
    pub core: KeyedCore<K>,
    pub timers: Timers,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
}

impl<K: Key> Runner<K> {
    /// Opens the state, and the function with the user's `open`.
    pub fn open<P>(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<(Self, P), BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let function =
            open(&mut States { backend: &mut core.backend }).map_err(|error| match error.downcast::<StateError>() {
                Ok(source) => BuildError::State { operator: ctx.operator.clone(), source },
                Err(other) => BuildError::User { operator: ctx.operator.clone(), message: other.to_string() },
            })?;
        let timers = Timers::open(&mut core.backend).map_err(refused(ctx))?;
        Ok((Self { core, timers, batch_keys: BatchKeys::new(), scratch: Vec::new() }, function))
    }

    /// Calls `process` with every record of a batch. What it refuses goes to the dead letters.
    pub fn run<T: Record, Out: Record>(
        &mut self,
        key: &KeySelector<K, T>,
        batch: &Batch<T>,
        out: &mut Collector<'_, Out>,
        mut process: impl FnMut(&T, &mut ProcessContext<'_, '_, K, Out>) -> Result<(), UserError>,
    ) -> Result<(), TaskError> {
        let ctx = out.ctx;
        let Self { core, timers, batch_keys, scratch: _ } = self;
        batch_keys.fill(key, &batch.records);
        core.backend.prefetch(&batch_keys.hashes, &batch_keys.keys).map_err(|error| core.failed(error))?;
        for (index, (record, (hash, key))) in batch.records.iter().zip(batch_keys.pairs()).enumerate() {
            let (time, watermark, timers) = (batch.time(index), core.watermark, *timers);
            let mut context = ProcessContext { backend: &mut core.backend, out, key, hash, time, watermark, timers };
            if let Err(error) = process(record, &mut context) {
                dead_letter::refuse(out, user_failure(ctx, error)?, record, time)?;
            }
        }
        Ok(())
    }

    /// Fires what is due: `on_timer` runs once per timer, with the state of its key.
    pub fn fire<Out: Record>(
        &mut self,
        to: Advance,
        out: &mut Collector<'_, Out>,
        mut on_timer: impl FnMut(Timer, &mut ProcessContext<'_, '_, K, Out>) -> Result<(), UserError>,
    ) -> Result<Advanced, TaskError> {
        let now = out.now();
        let mut until = |runner: &mut Self, domain, time| runner.fire_until(domain, time, out, &mut on_timer);
        match to {
            Advance::ProcessingTime => until(self, TimeDomain::Processing, now),
            Advance::End => Ok(Advanced::Done),
            Advance::Watermark(MAX_WATERMARK) => {
                self.core.watermark = MAX_WATERMARK;
                loop {
                    let (domain, next) = match self.timers.ending {
                        Ending::Open => (TimeDomain::Event, Ending::ProcessingTime),
                        Ending::ProcessingTime => (TimeDomain::Processing, Ending::Over),
                        Ending::Over => return until(self, TimeDomain::Event, i64::MAX),
                    };
                    if until(self, domain, i64::MAX)? == Advanced::Paused {
                        return Ok(Advanced::Paused);
                    }
                    self.timers.ending = next;
                }
            }
            Advance::Watermark(watermark) => {
                self.core.watermark = watermark;
                until(self, TimeDomain::Event, watermark)
            }
        }
    }

    fn fire_until<Out: Record>(
        &mut self,
        domain: TimeDomain,
        until: i64,
        out: &mut Collector<'_, Out>,
        on_timer: &mut impl FnMut(Timer, &mut ProcessContext<'_, '_, K, Out>) -> Result<(), UserError>,
    ) -> Result<Advanced, TaskError> {
        let ctx = out.ctx;
        let Self { core, timers, batch_keys: _, scratch } = self;
        let handle = timers.handle(domain);
        while let Some((time, key)) = core.backend.timers_mut(handle).pop_due(until) {
            let hash = hash_key(&key, scratch);
            let (watermark, timers) = (core.watermark, *timers);
            let mut context = ProcessContext {
                backend: &mut core.backend,
                out,
                key: &key,
                hash,
                time: Some(time),
                watermark,
                timers,
            };
            if let Err(error) = on_timer(Timer { time, domain }, &mut context) {
                return Err(ctx.user_error::<()>(user_failure(ctx, error)?, None));
            }
            if out.is_full() {
                return Ok(Advanced::Paused);
            }
        }
        Ok(Advanced::Done)
    }
}

/// The two timer states every function has, and where they stand with the end of the input.
#[derive(Clone, Copy)]
pub(crate) struct Timers {
    event: TimerHandle,
    pub processing: TimerHandle,
    ending: Ending,
}

/// The end of a bounded input as timers see it. All of it happens before the watermark goes on to those downstream, for whom
/// what timers emit would otherwise come after the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Records come, or the event-time timers they have set fire.
    Open,
    /// The processing-time timers that were set until now fire. Others are not kept any more, so that it comes to an end.
    ProcessingTime,
    /// The event-time timers that those have set fire.
    Over,
}

impl Timers {
    fn open<K: Key>(backend: &mut Backend<K>) -> Result<Self, StateError> {
        let event = backend.timers("event-timers")?;
        Ok(Self { event, processing: backend.timers("processing-timers")?, ending: Ending::Open })
    }

    pub fn handle(&self, domain: TimeDomain) -> TimerHandle {
        match domain {
            TimeDomain::Event => self.event,
            TimeDomain::Processing => self.processing,
        }
    }

    /// False once timers of this clock would never fire.
    pub fn takes(&self, domain: TimeDomain) -> bool {
        domain == TimeDomain::Event || self.ending == Ending::Open
    }
}

/// A failure inside user code: one of ours that passed through it, or the user's own.
#[cold]
pub(crate) fn user_failure(ctx: &OperatorContext, error: UserError) -> Result<UserError, TaskError> {
    match error.downcast::<TaskError>() {
        Ok(ours) => Err(*ours),
        Err(other) => match other.downcast::<StateError>() {
            Ok(state) => Err(state_error(ctx, *state)),
            Err(users) => Ok(users),
        },
    }
}
