//! What every keyed operator has: its backend, its place in event time, how its errors are named, and what becomes of its state
//! at barriers and between batches.

use weir_protocol::CheckpointId;
use weir_state::{Backend, Key, StateError, TimerHandle};

use crate::build::{BuildContext, BuildError};
use crate::element::MIN_WATERMARK;
use crate::error::{FailureKind, TaskError};
use crate::operator::{Collector, Operator};
use crate::record::Record;
use crate::stage::{Advance, Advanced, OperatorContext, Snapshot};

/// Backend and watermark of one keyed operator instance.
pub struct KeyedCore<K: Key> {
    pub backend: Backend<K>,
    /// The current watermark, which never goes back; records at or below it are late.
    pub watermark: i64,
    ctx: OperatorContext,
}

impl<K: Key> KeyedCore<K> {
    pub fn open(ctx: &OperatorContext, build: &BuildContext<'_>) -> Self {
        let mut backend = build.store.backend::<K>(&ctx.operator, ctx.subtask, build.key_groups(ctx.parallelism));
        // Before the first state is declared: what is restored may have expired meanwhile.
        backend.set_now(build.now);
        let watermark = build.restored_watermark(ctx).unwrap_or(MIN_WATERMARK);
        Self { backend, watermark, ctx: ctx.clone() }
    }

    /// Names a failure of state.
    #[cold]
    pub fn failed(&self, error: StateError) -> TaskError {
        state_error(&self.ctx, error)
    }
}

/// An operator with keyed state. It says where its state is; what is done with it is the same for all, and stands below.
pub trait KeyedOperator: Send + 'static {
    type Key: Key;
    type Out: Record;

    fn core(&self) -> &KeyedCore<Self::Key>;

    fn core_mut(&mut self) -> &mut KeyedCore<Self::Key>;

    /// Its timers on processing time.
    fn processing_timers(&self) -> Option<TimerHandle> {
        None
    }

    /// As [`Operator::advance`].
    fn advance(&mut self, _to: Advance, _out: &mut Collector<'_, Self::Out>) -> Result<Advanced, TaskError> {
        Ok(Advanced::Done)
    }

    /// Its state was sealed: what it writes from here on belongs to an epoch after `sealed`.
    fn begin_epoch(&mut self, _sealed: CheckpointId) {}
}

impl<O: KeyedOperator> Operator for O {
    type Out = O::Out;

    fn advance(&mut self, to: Advance, out: &mut Collector<'_, O::Out>) -> Result<Advanced, TaskError> {
        KeyedOperator::advance(self, to, out)
    }

    fn set_now(&mut self, now: i64) {
        self.core_mut().backend.set_now(now);
    }

    fn seal(&mut self, epoch: CheckpointId, snapshot: &mut Snapshot) -> Result<(), TaskError> {
        snapshot.sealed.push(self.core_mut().backend.seal(epoch));
        self.begin_epoch(epoch);
        Ok(())
    }

    fn next_processing_time(&self) -> Option<i64> {
        self.core().backend.timers_ref(self.processing_timers()?).next_due()
    }

    fn maintain(&mut self, now: i64, _idle: bool) -> Result<(), TaskError> {
        let backend = &mut self.core_mut().backend;
        backend.set_now(now);
        backend.maintain();
        Ok(())
    }

    fn must_pause(&self) -> bool {
        self.core().backend.must_pause()
    }
}

#[cold]
pub(crate) fn state_error(ctx: &OperatorContext, error: StateError) -> TaskError {
    ctx.error(FailureKind::State, error.to_string(), Some(error.into()))
}

/// Names a refusal of state at the start.
pub(crate) fn refused(ctx: &OperatorContext) -> impl Fn(StateError) -> BuildError + '_ {
    |source| BuildError::State { operator: ctx.operator.clone(), source: Box::new(source) }
}
