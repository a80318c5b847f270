//! User functions over two keyed inputs that share state and timers.

use weir_protocol::CheckpointId;
use weir_state::Key;

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::{TaskError, UserError};
use crate::keyed::{BatchKeys, KeySelector};
use crate::operator::{Collector, Operator, TwoInput};
use crate::operators::dead_letter;
use crate::operators::keyed_core::{KeyedCore, refused};
use crate::operators::process::{ProcessContext, States, Timer, Timers, open_function, user_failure};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext, Snapshot};

/// A function over two inputs with the same key. (The shape is Flink's `KeyedCoProcessFunction`.)
pub trait CoProcessFunction<K: Key, A: Record, B: Record>: Send + 'static {
    /// What it emits.
    type Out: Record;

    /// Processes a record of the first input.
    ///
    /// # Errors
    /// As for [`KeyedProcessFunction::process`](crate::operators::process::KeyedProcessFunction::process).
    fn process_left(&mut self, record: &A, ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError>;

    /// Processes a record of the second input.
    ///
    /// # Errors
    /// As for the first input.
    fn process_right(&mut self, record: &B, ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError>;

    /// A timer of this key is due.
    ///
    /// # Errors
    /// As for the inputs.
    fn on_timer(&mut self, _timer: Timer, _ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError> {
        Ok(())
    }
}

/// Runs a [`CoProcessFunction`].
pub struct CoProcess<K: Key, A, B, P> {
    core: KeyedCore<K>,
    timers: Timers,
    function: P,
    left: KeySelector<K, A>,
    right: KeySelector<K, B>,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> CoProcess<K, A, B, P> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        left: KeySelector<K, A>,
        right: KeySelector<K, B>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let function = open_function(ctx, &mut core, open)?;
        let timers = Timers::open(&mut core.backend).map_err(refused(ctx))?;
        Ok(Self { core, timers, function, left, right, batch_keys: BatchKeys::new(), scratch: Vec::new() })
    }

    /// One batch of either input: `call` is the function's method for it. The keys were filled in.
    fn run<T: Record>(
        &mut self,
        batch: &Batch<T>,
        out: &mut Collector<'_, P::Out>,
        call: impl Fn(&mut P, &T, &mut ProcessContext<'_, '_, K, P::Out>) -> Result<(), UserError>,
    ) -> Result<(), TaskError> {
        let ctx = out.ctx;
        self.core
            .backend
            .prefetch(&self.batch_keys.hashes, &self.batch_keys.keys)
            .map_err(|error| self.core.failed(error))?;
        for (index, (record, (hash, key))) in batch.records.iter().zip(self.batch_keys.pairs()).enumerate() {
            let time = batch.time(index);
            let mut context = ProcessContext {
                backend: &mut self.core.backend,
                out,
                key,
                hash,
                time,
                watermark: self.core.watermark,
                timers: self.timers,
            };
            if let Err(error) = call(&mut self.function, record, &mut context) {
                dead_letter::refuse(out, user_failure(ctx, error)?, record, time)?;
            }
        }
        Ok(())
    }
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> Operator for CoProcess<K, A, B, P> {
    type Out = P::Out;

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, P::Out>) -> Result<Advanced, TaskError> {
        let function = &mut self.function;
        self.timers.fire(&mut self.core, to, out, &mut self.scratch, |timer, context| function.on_timer(timer, context))
    }

    fn seal(&mut self, epoch: CheckpointId, snapshot: &mut Snapshot) -> Result<(), TaskError> {
        self.core.seal(epoch, snapshot);
        Ok(())
    }

    fn next_processing_time(&self) -> Option<i64> {
        self.timers.next_processing(&self.core.backend)
    }

    fn maintain(&mut self, now: i64, _idle: bool) -> Result<(), TaskError> {
        self.core.maintain(now)
    }

    fn must_pause(&self) -> bool {
        self.core.backend.must_pause()
    }
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> TwoInput<A, B> for CoProcess<K, A, B, P> {
    fn process_left(&mut self, batch: &mut Batch<A>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.batch_keys.fill(&self.left, &batch.records);
        self.run(batch, out, P::process_left)
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.batch_keys.fill(&self.right, &batch.records);
        self.run(batch, out, P::process_right)
    }
}
