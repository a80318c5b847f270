//! The leaf through which records leave a subtask for others: partitions batches and sends them, in order, with
//! back-pressure.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use crate::batch::Batch;
use crate::channel::Sender;
use crate::element::{Barrier, Element};
use crate::error::{FailureKind, TaskError};
use crate::record::{Record, estimate_bytes};
use crate::stage::{Advance, Advanced, Control, Cx, OperatorContext, Stage};

/// Rows at which the buffer of one target is sent.
pub const SEND_ROWS: usize = 1024;
/// Bytes at which the buffer of one target is sent.
pub const SEND_BYTES: usize = 64 << 10;

/// Decides where each record goes.
pub trait Partitioner<T>: Send {
    /// Appends one target index per record of `records`.
    fn route(&mut self, records: &[T], targets: &mut Vec<u32>);
}

/// How an edge distributes records.
pub enum Distribution<T> {
    /// Subtask i to subtask i.
    Forward(u32),
    /// Batches round robin.
    Rebalance(u32),
    /// Every record to every subtask.
    Broadcast,
    /// By key.
    Keyed(Box<dyn Partitioner<T>>),
}

struct Target<T> {
    sender: Sender<T>,
    buffer: Batch<T>,
    bytes: usize,
    ready: VecDeque<(Element<T>, usize)>,
}

impl<T> Target<T> {
    fn seal_buffer(&mut self) {
        if !self.buffer.is_empty() {
            let batch = std::mem::take(&mut self.buffer);
            self.ready.push_back((Element::Batch(batch), std::mem::take(&mut self.bytes).max(1)));
        }
    }

    /// Makes room for records that all have event times, or all have none: a batch never holds both.
    fn make_uniform(&mut self, timed: bool) {
        if self.buffer.times.is_empty() == timed {
            self.seal_buffer();
        }
    }

    fn control(&mut self, element: Element<T>) {
        self.seal_buffer();
        self.ready.push_back((element, 0));
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), crate::channel::Disconnected>> {
        while let Some(next) = self.ready.pop_front() {
            let mut slot = Some(next);
            let sent = self.sender.poll_send(&mut slot, cx);
            if let Some(unsent) = slot {
                self.ready.push_front(unsent);
            }
            match sent {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends one operator's output along one edge.
pub struct ExchangeWriter<T> {
    ctx: OperatorContext,
    distribution: Distribution<T>,
    targets: Vec<Target<T>>,
    routes: Vec<u32>,
}

impl<T: Record> ExchangeWriter<T> {
    /// A writer to `senders`, one per downstream subtask.
    pub fn new(ctx: OperatorContext, distribution: Distribution<T>, senders: Vec<Sender<T>>) -> Self {
        let targets = senders
            .into_iter()
            .map(|sender| Target { sender, buffer: Batch::default(), bytes: 0, ready: VecDeque::new() })
            .collect();
        Self { ctx, distribution, targets, routes: Vec::new() }
    }

    fn append(&mut self, target: usize, batch: &mut Batch<T>, row_bytes: usize) {
        let target = &mut self.targets[target];
        target.make_uniform(!batch.times.is_empty());
        target.bytes += row_bytes * batch.len();
        if target.buffer.is_empty() {
            std::mem::swap(&mut target.buffer, batch);
        } else {
            target.buffer.records.append(&mut batch.records);
            target.buffer.times.append(&mut batch.times);
        }
        if target.buffer.len() >= SEND_ROWS || target.bytes >= SEND_BYTES {
            target.seal_buffer();
        }
    }
}

impl<T: Record> Stage<T> for ExchangeWriter<T> {
    fn batch(&mut self, _cx: &mut Cx, batch: &mut Batch<T>) -> Result<(), TaskError> {
        let Some(first) = batch.records.first() else { return Ok(()) };
        let row_bytes = estimate_bytes(first);
        match &mut self.distribution {
            Distribution::Forward(to) => {
                let to = *to as usize;
                self.append(to, batch, row_bytes);
            }
            Distribution::Rebalance(next) => {
                let to = *next as usize;
                *next = (*next + 1) % self.targets.len() as u32;
                self.append(to, batch, row_bytes);
            }
            Distribution::Broadcast => {
                for to in 1..self.targets.len() {
                    self.append(to, &mut batch.clone(), row_bytes);
                }
                self.append(0, batch, row_bytes);
            }
            Distribution::Keyed(partitioner) => {
                self.routes.clear();
                partitioner.route(&batch.records, &mut self.routes);
                let timed = !batch.times.is_empty();
                self.targets.iter_mut().for_each(|target| target.make_uniform(timed));
                if batch.times.is_empty() {
                    for (record, &to) in batch.records.drain(..).zip(&self.routes) {
                        let target = &mut self.targets[to as usize];
                        target.buffer.records.push(record);
                    }
                } else {
                    for ((record, time), &to) in batch.records.drain(..).zip(batch.times.drain(..)).zip(&self.routes) {
                        let target = &mut self.targets[to as usize];
                        target.buffer.records.push(record);
                        target.buffer.times.push(time);
                    }
                }
                for target in &mut self.targets {
                    target.bytes = target.buffer.len() * row_bytes;
                    if target.buffer.len() >= SEND_ROWS || target.bytes >= SEND_BYTES {
                        target.seal_buffer();
                    }
                }
            }
        }
        Ok(())
    }
}

impl<T: Record> Control for ExchangeWriter<T> {
    fn advance(&mut self, _cx: &mut Cx, to: Advance) -> Result<Advanced, TaskError> {
        for target in &mut self.targets {
            match to {
                Advance::Watermark(watermark) => target.control(Element::Watermark(watermark)),
                Advance::End => target.control(Element::End),
                Advance::ProcessingTime => {}
            }
        }
        Ok(Advanced::Done)
    }

    fn resume(&mut self, _cx: &mut Cx) -> Result<Advanced, TaskError> {
        Ok(Advanced::Done)
    }

    fn barrier(&mut self, _cx: &mut Cx, barrier: Barrier) -> Result<(), TaskError> {
        self.targets.iter_mut().for_each(|target| target.control(Element::Barrier(barrier)));
        Ok(())
    }

    fn idle(&mut self) {
        self.targets.iter_mut().for_each(|target| target.control(Element::Idle));
    }

    fn next_processing_time(&self) -> Option<i64> {
        None
    }

    fn maintain(&mut self, _cx: &mut Cx, _idle: bool) -> Result<(), TaskError> {
        Ok(())
    }

    fn must_pause(&self) -> bool {
        false
    }

    fn poll_flush(&mut self, idle: bool, cx: &mut Context<'_>) -> Poll<Result<(), TaskError>> {
        let mut pending = false;
        for target in &mut self.targets {
            if idle {
                target.seal_buffer();
            }
            match target.poll_send(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => pending = true,
                Poll::Ready(Err(gone)) => {
                    return Poll::Ready(Err(self.ctx.error(
                        FailureKind::Cancelled,
                        "a downstream subtask is gone",
                        Some(gone.into()),
                    )));
                }
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }
}
