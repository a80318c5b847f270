//! Runs users' functions over keyed records and timers; the operators for one, two and broadcast inputs share it.

use weir_state::{Backend, Key, StateError, TimerHandle, hash_key};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
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
        let ctx = out.ctx;
        let Self { core, timers, batch_keys: _, scratch } = self;
        if let Advance::Watermark(watermark) = to {
            core.watermark = watermark;
        }
        while let Some((timer, key)) = timers.pop_due(&mut core.backend, to, out.now()) {
            let hash = hash_key(&key, scratch);
            let (time, watermark, timers) = (Some(timer.time), core.watermark, *timers);
            let mut context =
                ProcessContext { backend: &mut core.backend, out, key: &key, hash, time, watermark, timers };
            if let Err(error) = on_timer(timer, &mut context) {
                return Err(ctx.user_error::<()>(user_failure(ctx, error)?, None));
            }
            if out.is_full() {
                return Ok(Advanced::Paused);
            }
        }
        Ok(Advanced::Done)
    }
}

/// The two timer states every function has.
#[derive(Clone, Copy)]
pub(crate) struct Timers {
    event: TimerHandle,
    pub processing: TimerHandle,
}

impl Timers {
    fn open<K: Key>(backend: &mut Backend<K>) -> Result<Self, StateError> {
        Ok(Self { event: backend.timers("event-timers")?, processing: backend.timers("processing-timers")? })
    }

    pub fn handle(&self, domain: TimeDomain) -> TimerHandle {
        match domain {
            TimeDomain::Event => self.event,
            TimeDomain::Processing => self.processing,
        }
    }

    /// Takes a timer that is due in `to`.
    fn pop_due<K: Key>(&self, backend: &mut Backend<K>, to: Advance, now: i64) -> Option<(Timer, K)> {
        let (domain, up_to) = match to {
            Advance::Watermark(watermark) => (TimeDomain::Event, watermark),
            Advance::ProcessingTime => (TimeDomain::Processing, now),
            Advance::End => (TimeDomain::Processing, i64::MAX),
        };
        let due = backend.timers_mut(self.handle(domain)).pop_due(up_to);
        due.map(|(time, key)| (Timer { time, domain }, key))
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
