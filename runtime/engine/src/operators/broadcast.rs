//! User functions over a keyed input and a broadcast one, whose state every subtask holds in full.

use weir_protocol::CheckpointId;
use weir_state::{Backend, BroadcastHandle, BroadcastTable, Key, Value};

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
    core: KeyedCore<K>,
    timers: Timers,
    function: P,
    key: KeySelector<K, T>,
    batch_keys: BatchKeys<K>,
    scratch: Vec<u8>,
    marker: std::marker::PhantomData<fn(B)>,
}

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> BroadcastProcess<K, T, B, P> {
    pub(crate) fn open(
        ctx: &OperatorContext,
        build: &BuildContext<'_>,
        key: KeySelector<K, T>,
        open: &impl Fn(&mut States<'_, K>) -> Result<P, UserError>,
    ) -> Result<Self, BuildError> {
        let mut core = KeyedCore::open(ctx, build);
        let function = open_function(ctx, &mut core, open)?;
        let timers = Timers::open(&mut core.backend).map_err(refused(ctx))?;
        Ok(Self {
            core,
            timers,
            function,
            key,
            batch_keys: BatchKeys::new(),
            scratch: Vec::new(),
            marker: std::marker::PhantomData,
        })
    }
}

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> Operator for BroadcastProcess<K, T, B, P> {
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

impl<K: Key, T: Record, B: Record, P: BroadcastProcessFunction<K, T, B>> TwoInput<T, B>
    for BroadcastProcess<K, T, B, P>
{
    fn process_left(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        self.batch_keys.fill(&self.key, &batch.records);
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
            if let Err(error) = self.function.process(record, &mut context) {
                dead_letter::refuse(out, user_failure(ctx, error)?, record, time)?;
            }
        }
        Ok(())
    }

    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, P::Out>) -> Result<(), TaskError> {
        let ctx = out.ctx;
        for (index, record) in batch.records.iter().enumerate() {
            if let Err(error) =
                self.function.process_broadcast(record, &mut BroadcastContext { backend: &mut self.core.backend })
            {
                dead_letter::refuse(out, user_failure(ctx, error)?, record, batch.time(index))?;
            }
        }
        Ok(())
    }
}
