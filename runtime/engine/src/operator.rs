//! What a dataflow operator implements, and what it may do with its output.

use std::any::Any;
use std::task::{Context, Poll};

use weir_protocol::CheckpointId;

use crate::batch::Batch;
use crate::element::Barrier;
use crate::error::{FailureKind, TaskError};
use crate::record::Record;
use crate::stage::{Advance, Advanced, Control, Cx, OUTPUT_ROWS, OperatorContext, Output, Snapshot};

/// The part of an operator that does not depend on its inputs.
pub trait Operator: Send + 'static {
    /// Type of the main output.
    type Out: Record;

    /// Time went on: fire what is due. May return [`Advanced::Paused`] when [`Collector::is_full`]; it is then called
    /// again with the same argument and must go on where it stopped.
    ///
    /// # Errors
    /// When user code or state fails.
    fn advance(&mut self, _to: Advance, _out: &mut Collector<'_, Self::Out>) -> Result<Advanced, TaskError> {
        Ok(Advanced::Done)
    }

    /// Processing time in milliseconds, before each batch and each advance: state expires by it.
    fn set_now(&mut self, _now: i64) {}

    /// Freezes the epoch that ends here, in O(1).
    ///
    /// # Errors
    /// When the epoch is known to be lost.
    fn seal(&mut self, _epoch: CheckpointId, _snapshot: &mut Snapshot) -> Result<(), TaskError> {
        Ok(())
    }

    /// The earliest processing time in milliseconds at which it wants an [`Advance::ProcessingTime`].
    fn next_processing_time(&self) -> Option<i64> {
        None
    }

    /// Small pieces of work between batches.
    ///
    /// # Errors
    /// When state or a connector fails.
    fn maintain(&mut self, _now: i64, _idle: bool) -> Result<(), TaskError> {
        Ok(())
    }

    /// True while a bound of its state is full.
    fn must_pause(&self) -> bool {
        false
    }
}

/// An operator with one input of type `I`. The callee may drain the batch.
pub trait OneInput<I>: Operator {
    /// Processes one batch.
    ///
    /// # Errors
    /// When user code or state fails.
    fn process(&mut self, batch: &mut Batch<I>, out: &mut Collector<'_, Self::Out>) -> Result<(), TaskError>;
}

/// An operator with two inputs.
pub trait TwoInput<A, B>: Operator {
    /// Processes a batch of the first input.
    ///
    /// # Errors
    /// When user code or state fails.
    fn process_left(&mut self, batch: &mut Batch<A>, out: &mut Collector<'_, Self::Out>) -> Result<(), TaskError>;

    /// Processes a batch of the second input.
    ///
    /// # Errors
    /// When user code or state fails.
    fn process_right(&mut self, batch: &mut Batch<B>, out: &mut Collector<'_, Self::Out>) -> Result<(), TaskError>;
}

/// Takes an operator's output and hands it on in batches.
pub struct Collector<'a, T> {
    cx: &'a mut Cx,
    /// The operator this output belongs to.
    pub ctx: &'a OperatorContext,
    buffer: &'a mut Batch<T>,
    out: &'a mut Output<T>,
    sides: &'a mut Sides,
    emitted: usize,
}

impl<'a, T: Record> Collector<'a, T> {
    pub(crate) fn new(
        cx: &'a mut Cx,
        ctx: &'a OperatorContext,
        buffer: &'a mut Batch<T>,
        out: &'a mut Output<T>,
        sides: &'a mut Sides,
    ) -> Self {
        Self { cx, ctx, buffer, out, sides, emitted: 0 }
    }

    /// Processing time, milliseconds since the Unix epoch.
    pub fn now(&self) -> i64 {
        self.cx.now
    }

    /// Emits one record; `time` is its event time, if the stream has any.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails.
    #[inline]
    pub fn emit(&mut self, record: T, time: Option<i64>) -> Result<(), TaskError> {
        self.buffer.push(record, time);
        if self.buffer.len() >= OUTPUT_ROWS { self.hand_on() } else { Ok(()) }
    }

    /// Direct access to the output buffer, for operators that fill it in bulk. Call [`Collector::check`] now and then.
    pub fn buffer(&mut self) -> &mut Batch<T> {
        self.buffer
    }

    /// Hands the buffer on if it is full.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails.
    pub fn check(&mut self) -> Result<(), TaskError> {
        if self.buffer.len() >= OUTPUT_ROWS { self.hand_on() } else { Ok(()) }
    }

    /// Hands `batch` on as it is, without copying it into the buffer.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails.
    pub fn forward(&mut self, batch: &mut Batch<T>) -> Result<(), TaskError> {
        if !self.buffer.is_empty() {
            self.hand_on()?;
        }
        self.emitted += batch.len();
        self.out.batch(self.cx, batch)
    }

    /// Emits a record to the side output with this tag; ignored if nobody consumes it.
    ///
    /// # Errors
    /// When a downstream operator of the same subtask fails, or the tag was used with another type.
    pub fn side<U: Record>(&mut self, tag: &OutputTag<U>, record: U, time: Option<i64>) -> Result<(), TaskError> {
        self.sides.emit(self.cx, self.ctx, tag, record, time)
    }

    /// True if somebody consumes the side output with this name.
    pub fn has_side(&self, name: &str) -> bool {
        self.sides.outputs.iter().any(|(side, _)| side == name)
    }

    /// True when so much was emitted in this call that firing should pause and let it drain.
    pub fn is_full(&self) -> bool {
        self.emitted + self.buffer.len() >= 4 * OUTPUT_ROWS
    }

    #[cold]
    fn hand_on(&mut self) -> Result<(), TaskError> {
        self.emitted += self.buffer.len();
        self.out.batch(self.cx, self.buffer)
    }

    pub(crate) fn finish(mut self) -> Result<(), TaskError> {
        if !self.buffer.is_empty() {
            self.hand_on()?;
        }
        self.sides.finish(self.cx)?;
        if self.emitted > 0 {
            self.ctx.metrics.records_out.fetch_add(self.emitted as u64, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Names a side output and its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputTag<T> {
    name: String,
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<T: Record> OutputTag<T> {
    /// A tag; its name is unique within the operator that emits to it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), marker: std::marker::PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One side output, its type erased.
pub(crate) trait ErasedSide: Control {
    fn finish(&mut self, cx: &mut Cx) -> Result<(), TaskError>;
    fn as_any(&mut self) -> &mut dyn Any;
}

/// A side output with its buffer.
pub(crate) struct Side<T> {
    buffer: Batch<T>,
    out: Output<T>,
}

impl<T: Record> Side<T> {
    pub(crate) fn new(out: Output<T>) -> Self {
        Self { buffer: Batch::default(), out }
    }
}

impl<T: Record> ErasedSide for Side<T> {
    fn finish(&mut self, cx: &mut Cx) -> Result<(), TaskError> {
        self.out.batch(cx, &mut self.buffer)
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

impl<T: Record> Control for Side<T> {
    fn advance(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        self.out.advance(cx, to)
    }
    fn resume(&mut self, cx: &mut Cx) -> Result<Advanced, TaskError> {
        self.out.resume(cx)
    }
    fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        self.out.barrier(cx, barrier)
    }
    fn idle(&mut self) {
        self.out.idle();
    }
    fn next_processing_time(&self) -> Option<i64> {
        self.out.next_processing_time()
    }
    fn maintain(&mut self, cx: &mut Cx, idle: bool) -> Result<(), TaskError> {
        self.out.maintain(cx, idle)
    }
    fn must_pause(&self) -> bool {
        self.out.must_pause()
    }
    fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        self.out.poll_flush(idle, cx)
    }
}

/// The side outputs of one operator instance, by tag name.
#[derive(Default)]
pub struct Sides {
    outputs: Vec<(String, Box<dyn ErasedSide>)>,
}

impl Sides {
    pub(crate) fn add(&mut self, name: String, side: Box<dyn ErasedSide>) {
        self.outputs.push((name, side));
    }

    fn emit<U: Record>(
        &mut self,
        cx: &mut Cx,
        ctx: &OperatorContext,
        tag: &OutputTag<U>,
        record: U,
        time: Option<i64>,
    ) -> Result<(), TaskError> {
        let Some((_, side)) = self.outputs.iter_mut().find(|(name, _)| name == tag.name()) else { return Ok(()) };
        let Some(side) = side.as_any().downcast_mut::<Side<U>>() else {
            let message = format!(
                "side output {} carries another type than the one emitted; use one OutputTag for both",
                tag.name()
            );
            return Err(ctx.error(FailureKind::UserCode, message, None));
        };
        side.buffer.push(record, time);
        ctx.metrics.records_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if side.buffer.len() >= OUTPUT_ROWS { side.finish(cx) } else { Ok(()) }
    }

    fn finish(&mut self, cx: &mut Cx) -> Result<(), TaskError> {
        self.outputs.iter_mut().try_for_each(|(_, side)| side.finish(cx))
    }

    pub(crate) fn advance(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        let mut state = Advanced::Done;
        for (_, side) in &mut self.outputs {
            if side.advance(cx, to)? == Advanced::Paused {
                state = Advanced::Paused;
            }
        }
        Ok(state)
    }

    pub(crate) fn resume(&mut self, cx: &mut Cx) -> Result<Advanced, TaskError> {
        let mut state = Advanced::Done;
        for (_, side) in &mut self.outputs {
            if side.resume(cx)? == Advanced::Paused {
                state = Advanced::Paused;
            }
        }
        Ok(state)
    }

    pub(crate) fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        self.outputs.iter_mut().try_for_each(|(_, side)| side.barrier(cx, barrier))
    }

    pub(crate) fn idle(&mut self) {
        self.outputs.iter_mut().for_each(|(_, side)| side.idle());
    }

    pub(crate) fn next_processing_time(&self) -> Option<i64> {
        self.outputs.iter().filter_map(|(_, side)| side.next_processing_time()).min()
    }

    pub(crate) fn maintain(&mut self, cx: &mut Cx, idle: bool) -> Result<(), TaskError> {
        self.outputs.iter_mut().try_for_each(|(_, side)| side.maintain(cx, idle))
    }

    pub(crate) fn must_pause(&self) -> bool {
        self.outputs.iter().any(|(_, side)| side.must_pause())
    }

    pub(crate) fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        let mut pending = false;
        for (_, side) in &mut self.outputs {
            match side.poll_flush(idle, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}
