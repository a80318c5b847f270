//! The leaf through which records leave the job.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::batch::Batch;
use crate::build::{BuildContext, BuildError, ErasedReceiver, Head, OneInputHead};
use crate::element::Barrier;
use crate::error::{FailureKind, TaskError};
use crate::graph::{ErasedStage, NodeFactory, Outputs};
use crate::sink::{Sink, SinkContext, SinkWriter};
use crate::source::ConnectorError;
use crate::stage::{Advance, Advanced, Control, Cx, OperatorContext, Stage};
use crate::typed::receivers;

/// Makes a sink's instances.
pub(crate) struct SinkFactory<S> {
    pub sink: Arc<S>,
}

impl<S: Sink> SinkFactory<S> {
    fn build(&self, ctx: OperatorContext, build: &BuildContext<'_>) -> Result<Box<dyn Stage<S::Item>>, BuildError> {
        let sink_ctx = SinkContext {
            job_id: build.job_id.to_string(),
            operator: ctx.operator.to_string(),
            subtask: ctx.subtask,
            parallelism: ctx.parallelism,
            generation: build.generation.0,
            restored_epoch: build.restored.epoch,
        };
        let writer = self
            .sink
            .open(&sink_ctx)
            .map_err(|source| BuildError::Connector { operator: ctx.operator.clone(), source })?;
        Ok(Box::new(SinkStage { ctx, writer, dirty: false }))
    }
}

impl<S: Sink> NodeFactory for SinkFactory<S> {
    fn stage(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        _outputs: Outputs,
    ) -> Result<ErasedStage, BuildError> {
        Ok(Box::new(self.build(ctx, build)?))
    }

    fn head(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        _outputs: Outputs,
        inputs: Vec<Vec<ErasedReceiver>>,
    ) -> Result<Box<dyn Head>, BuildError> {
        let receivers = receivers::<S::Item>(inputs.into_iter().flatten().collect(), &ctx)?;
        Ok(Box::new(OneInputHead { receivers, root: self.build(ctx, build)? }))
    }
}

struct SinkStage<T> {
    ctx: OperatorContext,
    writer: Box<dyn SinkWriter<Item = T>>,
    /// True if something was written since the last flush.
    dirty: bool,
}

impl<T> SinkStage<T> {
    fn failed(&self, error: ConnectorError) -> TaskError {
        let message = error.message.clone();
        self.ctx.error(FailureKind::Connector, message, error.source)
    }
}

impl<T: Send + 'static> Stage<T> for SinkStage<T> {
    fn batch(&mut self, _cx: &mut Cx, batch: &mut Batch<T>) -> Result<(), TaskError> {
        self.ctx.metrics.records_in.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed);
        self.dirty = true;
        self.writer.write(batch).map_err(|error| self.failed(error))
    }
}

impl<T: Send + 'static> Control for SinkStage<T> {
    fn advance(&mut self, _cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        if let Advance::Watermark(watermark) = to {
            self.ctx.metrics.watermark.store(watermark, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Advanced::Done)
    }

    fn resume(&mut self, _cx: &mut Cx) -> Result<Advanced, TaskError> {
        Ok(Advanced::Done)
    }

    fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        if let Some(prepare) = self.writer.freeze(barrier.checkpoint).map_err(|error| self.failed(error))? {
            cx.snapshot.prepares.push((self.ctx.operator.clone(), prepare));
        }
        Ok(())
    }

    fn idle(&mut self) {}

    fn next_processing_time(&self) -> Option<i64> {
        None
    }

    fn maintain(&mut self, _cx: &mut Cx, idle: bool) -> Result<(), TaskError> {
        if idle && std::mem::take(&mut self.dirty) {
            return self.writer.flush().map_err(|error| self.failed(error));
        }
        Ok(())
    }

    fn must_pause(&self) -> bool {
        false
    }

    fn poll_flush(&mut self, _idle: bool, _cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        Poll::Ready(Ok(()))
    }
}
