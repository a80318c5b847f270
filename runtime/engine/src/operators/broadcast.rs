//! User functions over a keyed input and a broadcast one, whose state every subtask holds in full.

use weir_state::{Backend, BroadcastHandle, BroadcastTable, Key, TimerHandle, Value};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError};
use crate::error::{TaskError, UserError};
use crate::keyed::KeySelector;
use crate::operator::{Collector, TwoInput};
use crate::operators::dead_letter;
use crate::operators::keyed_core::{KeyedCore, KeyedOperator};
use crate::operators::process::{ProcessContext, States, Timer};
use crate::operators::runner::{Runner, user_failure};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext};

/// A function over a keyed input and a broadcast one. (The shape is Flink's `KeyedBroadcastProcessFunction`.)
///
/// Every subtask sees every record of the broadcast input, though not at the same moment relative to its keyed records;
/// changes to broadcast state must depend on the broadcast records alone, so that all subtasks hold the same.
pub trait BroadcastProcessFunction<K: Key, T: Record, B: Record>: Send + 'static {
    /// What it emits.
    type Out: Record;

    /// Processes a record of the keyed input; broadcast state is read with [`ProcessContext::broadcast`].
    ///
    /// # Errors
    /// As for [`KeyedProcessFunction::process`](crate::operators::process::KeyedProcessFunction::process).
    fn process(&mut self, record: &T, ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError>;

    /// Processes a record of the broadcast input.
    ///
    /// # Errors
    /// As for the keyed input.
    fn process_broadcast(&mut self, record: &B, ctx: &mut BroadcastContext<'_, K>) -> Result<(), UserError>;

    /// A timer of this key is due.
    ///
    /// # Errors
    /// As for the keyed input.
    fn on_timer(&mut self, _timer: Timer, _ctx: &mut ProcessContext<'_, '_, K, Self::Out>) -> Result<(), UserError> {
        Ok(())
    }
}

/// What a function may do with a broadcast record: change broadcast state. It emits nothing, because every subtask would.
pub struct BroadcastContext<'a, K: Key> {
    backend: &'a mut Backend<K>,
}

impl<K: Key> BroadcastContext<'_, K> {
    /// A broadcast state.
    pub fn state<UK: Key, UV: Value>(&mut self, state: BroadcastHandle<UK, UV>) -> &mut BroadcastTable<UK, UV> {
        self.backend.broadcast_mut(state)
    }
}

/// Runs a [`BroadcastProcessFunction`].
pub struct BroadcastProcess<K: Key, T, B, P> {
    runner: Runner<K>,
    function: P,
    key: KeySelector<K, T>,
    marker: std::marker::PhantomData<fn(B)>,
}

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> BroadcastProcess<K, T, B, P> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<Self, BuildError> {
        let (runner, function) = Runner::open(ctx, build, open)?;
        Ok(Self { runner, function, key, marker: std::marker::PhantomData })
    }
}

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> KeyedOperator
    for BroadcastProcess<K, T, B, P>
{
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

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> TwoInput<T, B>
    for BroadcastProcess<K, T, B, P>
{
    fn process_left(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        self.runner.run(&self.key, batch, out, |record, context| self.function.process(record, context))
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        for (index, record) in batch.records.iter().enumerate() {
            let mut context = BroadcastContext { backend: &mut self.runner.core.backend };
            if let Err(error) = self.function.process_broadcast(record, &mut context) {
                dead_letter::refuse(out, user_failure(ctx, error)?, record, batch.time(index))?;
            }
        }
        Ok(())
    }
}
