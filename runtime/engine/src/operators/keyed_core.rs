//! What every keyed operator has: its backend, its place in event time, and how its errors are named.

use weir_protocol::CheckpointId;
use weir_state::{Backend, Key, StateError};

use crate::build::{BuildContext, BuildError};
use crate::element::MIN_WATERMARK;
use crate::error::{FailureKind, TaskError};
use crate::stage::{OperatorContext, Snapshot};

/// Backend and watermark of one keyed operator instance.
pub(crate) struct KeyedCore<K: Key> {
    pub backend: Backend<K>,
    /// The current watermark; records at or below it are late.
    pub watermark: i64,
    ctx: OperatorContext,
}

impl<K: Key> KeyedCore<K> {
    pub fn open(ctx: &OperatorContext, build: &BuildContext<'_>) -> Self {
        let backend = build.store.backend::<K>(&ctx.operator, ctx.subtask, build.key_groups(ctx.parallelism));
        let watermark = build.restored_watermark(&ctx.operator).unwrap_or(MIN_WATERMARK);
        Self { backend, watermark, ctx: ctx.clone() }
    }

    /// Names a failure of state.
    #[cold]
    pub fn failed(&self, error: StateError) -> TaskError {
        state_error(&self.ctx, error)
    }

    pub fn seal(&mut self, epoch: CheckpointId, snapshot: &mut Snapshot) {
        snapshot.sealed.push(self.backend.seal(epoch));
    }

    pub fn maintain(&mut self, now: i64) -> Result<(), TaskError> {
        self.backend.set_now(now);
        self.backend.maintain();
        Ok(())
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
