//! The inside of a subtask: a tree of stages that call each other directly, a batch at a time.
//!
//! The subtask's loop pushes batches and control into the root; every stage hands its output to its children. Leaves are
//! sinks and [exchange writers](crate::exchange). Nothing here is async except [`Control::poll_flush`], through which the
//! leaves pass what they have to other subtasks and push back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use weir_protocol::OperatorId;
use weir_state::SealedSubtask;

use crate::batch::Batch;
use crate::element::{Barrier, MAX_WATERMARK, MIN_WATERMARK};
use crate::error::{FailureKind, TaskError, UserError};
use crate::operator::{Collector, Operator, Sides};
use crate::record::Record;
use crate::sink::Prepare;

/// Rows after which an output buffer is handed on, also in the middle of a batch or a watermark.
pub const OUTPUT_ROWS: usize = 2048;

/// Progress of time, passed down the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// Event time: no later record has an event time at or below this one. At [`MAX_WATERMARK`] no record follows at all:
    /// fire everything that is set, on both clocks, before it goes on.
    Watermark(i64),
    /// Processing time in milliseconds: fire what is due at [`Cx::now`].
    ProcessingTime,
    /// A bounded input is over. Comes right after [`MAX_WATERMARK`], which has fired all there was; only barriers follow.
    End,
}

/// Whether an [`Advance`] was carried out, or paused to let output drain; then [`Control::resume`] goes on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// Done, and passed on to the children.
    Done,
    /// Output piled up; flush, then resume.
    Paused,
}

/// What a call into the tree may use.
pub struct Cx {
    /// Processing time, milliseconds since the Unix epoch; read once per loop turn, and again after it slept.
    pub now: i64,
    /// What the stages contribute to the checkpoint whose barrier passes.
    pub snapshot: Snapshot,
}

/// One subtask's part of a checkpoint, as it leaves the record path.
#[derive(Default)]
pub struct Snapshot {
    /// Sealed layers of keyed state, one per stateful operator.
    pub sealed: Vec<SealedSubtask>,
    /// Sink output that is left to make durable.
    pub prepares: Vec<(OperatorId, Box<dyn Prepare>)>,
    /// Last watermarks by operator; the end of a bounded input is none.
    pub watermarks: Vec<(OperatorId, Option<i64>)>,
}

/// Counters of one operator in one subtask. Written once per batch, read by metrics.
#[derive(Debug, Default)]
pub struct OperatorMetrics {
    /// Records taken.
    pub records_in: AtomicU64,
    /// Bytes taken by a source, estimated from one record per batch; other operators leave it at 0.
    pub bytes_in: AtomicU64,
    /// Records handed on, side outputs included.
    pub records_out: AtomicU64,
    /// Late records that were dropped or sent to the late side output: at or below the watermark, or, for windows, in none
    /// that is still open.
    pub records_late: AtomicU64,
    /// Records that went to a dead-letter output.
    pub records_dead: AtomicU64,
    /// Current watermark in milliseconds; `i64::MIN` before the first.
    pub watermark: std::sync::atomic::AtomicI64,
}

/// Who an operator instance is.
#[derive(Debug, Clone)]
pub struct OperatorContext {
    /// The operator's id, unique within the job.
    pub operator: OperatorId,
    /// Index of this instance.
    pub subtask: u32,
    /// Number of instances.
    pub parallelism: u32,
    /// Its counters.
    pub metrics: Arc<OperatorMetrics>,
}

impl OperatorContext {
    /// A failure of this instance.
    pub fn error(&self, kind: FailureKind, message: impl Into<String>, source: Option<UserError>) -> TaskError {
        TaskError {
            operator: self.operator.clone(),
            subtask: self.subtask,
            kind,
            message: message.into(),
            record: None,
            position: None,
            source,
        }
    }

    /// A failure of user code on `record`.
    pub fn user_error<T: serde::Serialize>(&self, error: UserError, record: Option<&T>) -> TaskError {
        let mut failure =
            self.error(FailureKind::UserCode, error.to_string(), error.source().map(|s| s.to_string().into()));
        failure.record = record.map(crate::error::describe_record);
        failure
    }
}

/// Everything but records.
pub trait Control: Send {
    /// Carries time forward here, then in the children.
    ///
    /// # Errors
    /// When an operator fails.
    fn advance(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError>;

    /// Goes on with a paused [`Control::advance`].
    ///
    /// # Errors
    /// When an operator fails.
    fn resume(&mut self, cx: &mut Cx) -> Result<Advanced, TaskError>;

    /// Seals this stage, then passes the barrier on. O(1) in the size of state and output.
    ///
    /// # Errors
    /// When the epoch's output is known to be lost.
    fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError>;

    /// The input has nothing to say about event time for now.
    fn idle(&mut self);

    /// The earliest processing time at which something here wants to fire.
    fn next_processing_time(&self) -> Option<i64>;

    /// Small pieces of work between batches. `idle` is true when no input is waiting.
    ///
    /// # Errors
    /// When state or a sink fails.
    fn maintain(&mut self, cx: &mut Cx, idle: bool) -> Result<(), TaskError>;

    /// True while a named bound of state is full and the subtask must not read.
    fn must_pause(&self) -> bool;

    /// Passes what leaves this subtask on to its channels. With `idle`, half-full batches too.
    ///
    /// # Errors
    /// When a receiver is gone.
    fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>>;
}

/// A stage that takes batches of `T`. The callee may drain `batch`; what it leaves is cleared by the caller.
pub trait Stage<T>: Control {
    /// Processes one batch.
    ///
    /// # Errors
    /// When an operator fails.
    fn batch(&mut self, cx: &mut Cx, batch: &mut Batch<T>) -> Result<(), TaskError>;
}

/// The children that take an operator's output.
pub struct Output<T> {
    children: Vec<Box<dyn Stage<T>>>,
}

impl<T> Output<T> {
    /// An output that feeds `children`, in this order.
    pub fn new(children: Vec<Box<dyn Stage<T>>>) -> Self {
        Self { children }
    }
}

impl<T: Record> Output<T> {
    /// Hands a batch to every child and clears it.
    ///
    /// # Errors
    /// When a child fails.
    pub fn batch(&mut self, cx: &mut Cx, batch: &mut Batch<T>) -> Result<(), TaskError> {
        if batch.is_empty() {
            return Ok(());
        }
        if let Some((last, others)) = self.children.split_last_mut() {
            for child in others {
                child.batch(cx, &mut batch.clone())?;
            }
            last.batch(cx, batch)?;
        }
        batch.clear();
        Ok(())
    }
}

impl<T: Send> Control for Output<T> {
    fn advance(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        let mut state = Advanced::Done;
        for child in &mut self.children {
            if child.advance(cx, to)? == Advanced::Paused {
                state = Advanced::Paused;
            }
        }
        Ok(state)
    }

    fn resume(&mut self, cx: &mut Cx) -> Result<Advanced, TaskError> {
        let mut state = Advanced::Done;
        for child in &mut self.children {
            if child.resume(cx)? == Advanced::Paused {
                state = Advanced::Paused;
            }
        }
        Ok(state)
    }

    fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        self.children.iter_mut().try_for_each(|child| child.barrier(cx, barrier))
    }

    fn idle(&mut self) {
        self.children.iter_mut().for_each(|child| child.idle());
    }

    fn next_processing_time(&self) -> Option<i64> {
        self.children.iter().filter_map(|child| child.next_processing_time()).min()
    }

    fn maintain(&mut self, cx: &mut Cx, idle: bool) -> Result<(), TaskError> {
        self.children.iter_mut().try_for_each(|child| child.maintain(cx, idle))
    }

    fn must_pause(&self) -> bool {
        self.children.iter().any(|child| child.must_pause())
    }

    fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        let mut pending = false;
        for child in &mut self.children {
            match child.poll_flush(idle, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}

/// An operator with its outputs: the one place that orders an operator's work and its children's.
pub struct OperatorStage<O: Operator> {
    operator: O,
    ctx: OperatorContext,
    buffer: Batch<O::Out>,
    sides: Sides,
    out: Output<O::Out>,
    /// The last watermark, of this deployment or the one it was restored from, and what a checkpoint stores. The one after
    /// the last record is none: in a later deployment the input may have grown.
    watermark: Option<i64>,
    /// An advance this operator has not finished.
    unfinished: Option<Advance>,
}

impl<O: Operator> OperatorStage<O> {
    /// Wraps an opened operator that starts with `watermark`.
    pub fn new(operator: O, ctx: OperatorContext, out: Output<O::Out>, sides: Sides, watermark: Option<i64>) -> Self {
        Self { operator, ctx, buffer: Batch::default(), sides, out, watermark, unfinished: None }
    }

    /// Notes a watermark and never lets it go back, whatever restored operators further up start with.
    fn reach(&mut self, watermark: i64) -> i64 {
        if watermark != MAX_WATERMARK && watermark != MIN_WATERMARK {
            self.watermark = self.watermark.max(Some(watermark));
        }
        watermark.max(self.watermark.unwrap_or(MIN_WATERMARK))
    }

    fn run(
        &mut self,
        cx: &mut Cx,
        work: impl FnOnce(&mut O, &mut Collector<'_, O::Out>) -> Result<Advanced, TaskError>,
    ) -> Result<Advanced, TaskError> {
        self.operator.set_now(cx.now);
        let mut collector = Collector::new(cx, &self.ctx, &mut self.buffer, &mut self.out, &mut self.sides);
        // Caught here rather than at the task, because here it is known whose code it was: stages further down catch theirs
        // first. Nothing is used after a failure, so half-changed operators do no harm.
        let operator = &mut self.operator;
        let done = catch_unwind(AssertUnwindSafe(move || {
            let state = work(operator, &mut collector)?;
            collector.finish()?;
            Ok(state)
        }));
        done.unwrap_or_else(|panic| {
            let message = format!("user code panicked: {}", crate::deploy::panic_text(&*panic));
            Err(self.ctx.error(FailureKind::UserCode, message, None))
        })
    }

    /// Carries `to` forward in this operator; the children follow once it is done.
    fn advance_here(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        if self.run(cx, |operator, out| operator.advance(to, out))? == Advanced::Paused {
            self.unfinished = Some(to);
            return Ok(Advanced::Paused);
        }
        self.unfinished = None;
        if let Advance::Watermark(watermark) = to {
            self.ctx.metrics.watermark.store(watermark, Ordering::Relaxed);
        }
        let sides = self.sides.advance(cx, to)?;
        let main = self.out.advance(cx, to)?;
        Ok(if sides == Advanced::Done { main } else { sides })
    }

    /// Delivers a batch to one of the operator's inputs.
    ///
    /// # Errors
    /// When the operator or a child fails.
    pub fn deliver(
        &mut self,
        cx: &mut Cx,
        rows: usize,
        work: impl FnOnce(&mut O, &mut Collector<'_, O::Out>) -> Result<(), TaskError>,
    ) -> Result<(), TaskError> {
        self.ctx.metrics.records_in.fetch_add(rows as u64, Ordering::Relaxed);
        self.run(cx, |operator, out| work(operator, out).map(|()| Advanced::Done)).map(|_| ())
    }
}

impl<O: Operator> Control for OperatorStage<O> {
    fn advance(&mut self, cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        debug_assert!(self.unfinished.is_none(), "the loop resumes before it advances");
        let to = match to {
            Advance::Watermark(watermark) => Advance::Watermark(self.reach(watermark)),
            Advance::ProcessingTime | Advance::End => to,
        };
        self.advance_here(cx, to)
    }

    fn resume(&mut self, cx: &mut Cx) -> Result<Advanced, TaskError> {
        let sides = self.sides.resume(cx)?;
        if self.out.resume(cx)? == Advanced::Paused || sides == Advanced::Paused {
            return Ok(Advanced::Paused);
        }
        match self.unfinished.take() {
            Some(to) => self.advance_here(cx, to),
            None => Ok(Advanced::Done),
        }
    }

    fn barrier(&mut self, cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        debug_assert!(self.unfinished.is_none(), "the loop resumes before a barrier");
        self.operator.seal(barrier.checkpoint, &mut cx.snapshot)?;
        cx.snapshot.watermarks.push((self.ctx.operator.clone(), self.watermark));
        self.sides.barrier(cx, barrier)?;
        self.out.barrier(cx, barrier)
    }

    fn idle(&mut self) {
        self.sides.idle();
        self.out.idle();
    }

    fn next_processing_time(&self) -> Option<i64> {
        [self.operator.next_processing_time(), self.sides.next_processing_time(), self.out.next_processing_time()]
            .into_iter()
            .flatten()
            .min()
    }

    fn maintain(&mut self, cx: &mut Cx, idle: bool) -> Result<(), TaskError> {
        self.operator.maintain(cx.now, idle)?;
        self.sides.maintain(cx, idle)?;
        self.out.maintain(cx, idle)
    }

    fn must_pause(&self) -> bool {
        self.operator.must_pause() || self.sides.must_pause() || self.out.must_pause()
    }

    fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        let sides = self.sides.poll_flush(idle, cx);
        match (self.out.poll_flush(idle, cx), sides) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

impl<I: Record, O: Operator + OneInput<I>> Stage<I> for OperatorStage<O> {
    fn batch(&mut self, cx: &mut Cx, batch: &mut Batch<I>) -> Result<(), TaskError> {
        self.deliver(cx, batch.len(), |operator, out| operator.process(batch, out))
    }
}

pub use crate::operator::OneInput;
