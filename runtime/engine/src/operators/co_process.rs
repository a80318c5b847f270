//! User functions over two keyed inputs that share state and timers.

use weir_state::{Key, TimerHandle};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::{TaskError, UserError};
use crate::keyed::KeySelector;
use crate::operator::{Collector, TwoInput};
use crate::operators::keyed_core::{KeyedCore, KeyedOperator};
use crate::operators::process::{ProcessContext, States, Timer};
use crate::operators::runner::Runner;
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};

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
    runner: Runner<K>,
    function: P,
    left: KeySelector<K, A>,
    right: KeySelector<K, B>,
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> CoProcess<K, A, B, P> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        left: KeySelector<K, A>,
        right: KeySelector<K, B>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<Self, BuildError> {
        let (runner, function) = Runner::open(ctx, build, open)?;
        Ok(Self { runner, function, left, right })
    }
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> KeyedOperator for CoProcess<K, A, B, P> {
    type Key = K;
    type Out = P::Out;

    fn core(&self) -> &KeyedCore<K> {
        &self.runner.core
    }

    fn core_mut(&mut self) -> &mut KeyedCore<K> {
        &mut self.runner.core
    }

    fn processing_timers(&self) -> Option<TimerHandle> {
        Some(self.runner.timers.processing)
    }

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, P::Out>) -> Result<Advanced, TaskError> {
        self.runner.fire(to, out, |timer, context| self.function.on_timer(timer, context))
    }
}

impl<K: Key, A: Record, B: Record, P: CoProcessFunction<K, A, B>> TwoInput<A, B> for CoProcess<K, A, B, P> {
    fn process_left(&mut self, batch: &mut Batch<A>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.runner.run(&self.left, batch, out, |record, context| self.function.process_left(record, context))
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.runner.run(&self.right, batch, out, |record, context| self.function.process_right(record, context))
    }
}
