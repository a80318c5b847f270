//! Factories that still know their types: the bridge between the typed API and the [graph](crate::graph).

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use weir_protocol::MaxParallelism;

use crate::build::{
    BuildContext, BuildError, ErasedReceiver, ErasedSender, Head, Input, OneInputHead, control_input, typed,
    typed_stages,
};
use crate::channel::{Receiver, Sender, channel};
use crate::error::TaskError;
use crate::exchange::{Distribution, ExchangeWriter, Partitioner};
use crate::graph::{EdgeFactory, ErasedStage, Exchange, NodeFactory, Outputs};
use crate::operator::{OneInput, TwoInput};
use crate::record::Record;
use crate::stage::{Control, Cx, OperatorContext, OperatorStage, Output, Stage};

/// Makes partitioners for a number of key groups and a downstream parallelism.
pub(crate) type PartitionerFactory<T> = Arc<dyn Fn(MaxParallelism, u32) -> Box<dyn Partitioner<T>> + Send + Sync>;

/// The typed part of an edge.
pub(crate) struct TypedEdge<T> {
    /// For hash edges.
    pub partitioner: Option<PartitionerFactory<T>>,
}

impl<T: Record> EdgeFactory for TypedEdge<T> {
    fn channel(&self, budget: usize) -> (ErasedSender, ErasedReceiver) {
        let (tx, rx) = channel::<T>(budget);
        (Box::new(tx), Box::new(rx))
    }

    fn writer(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        exchange: Exchange,
        senders: Vec<ErasedSender>,
    ) -> Result<ErasedStage, BuildError> {
        let senders = senders
            .into_iter()
            .map(|sender| typed::<Sender<T>>(sender, &ctx.operator))
            .collect::<Result<Vec<_>, _>>()?;
        let distribution = match (exchange, &self.partitioner) {
            // Forward edges have a single sender, the one to the subtask of the same index.
            (Exchange::Forward, _) => Distribution::Forward(0),
            (Exchange::Rebalance, _) => Distribution::Rebalance(build.subtask % senders.len().max(1) as u32),
            (Exchange::Broadcast, _) => Distribution::Broadcast,
            (Exchange::Hash, Some(make)) => {
                Distribution::Keyed(make(build.max_parallelism, build.downstream_parallelism))
            }
            (Exchange::Hash, None) => return Err(BuildError::Type { operator: ctx.operator }),
        };
        let writer: Box<dyn Stage<T>> = Box::new(ExchangeWriter::new(ctx, distribution, senders));
        Ok(Box::new(writer))
    }
}

/// Makes instances of an operator with one input.
pub(crate) struct OneInputFactory<I, F> {
    pub make: F,
    pub marker: PhantomData<fn(I)>,
}

impl<I, F> OneInputFactory<I, F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make, marker: PhantomData }
    }
}

impl<I, O, F> OneInputFactory<I, F>
where
    I: Record,
    O: OneInput<I>,
    F: Fn(&OperatorContext, &BuildContext<'_>) -> Result<O, BuildError> + Send + Sync,
{
    fn build(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
    ) -> Result<Box<dyn Stage<I>>, BuildError> {
        let operator = (self.make)(&ctx, build)?;
        let out = Output::new(typed_stages::<O::Out>(outputs.main, &ctx.operator)?);
        let watermark = build.restored_watermark(&ctx);
        Ok(Box::new(OperatorStage::new(operator, ctx, out, outputs.sides, watermark)))
    }
}

impl<I, O, F> NodeFactory for OneInputFactory<I, F>
where
    I: Record,
    O: OneInput<I>,
    F: Fn(&OperatorContext, &BuildContext<'_>) -> Result<O, BuildError> + Send + Sync,
{
    fn stage(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
    ) -> Result<ErasedStage, BuildError> {
        Ok(Box::new(self.build(ctx, build, outputs)?))
    }

    fn head(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
        inputs: Vec<Vec<ErasedReceiver>>,
    ) -> Result<Box<dyn Head>, BuildError> {
        let receivers = receivers::<I>(inputs.into_iter().flatten().collect(), &ctx)?;
        Ok(Box::new(OneInputHead { receivers, root: self.build(ctx, build, outputs)? }))
    }
}

pub(crate) fn receivers<T: Record>(
    ends: Vec<ErasedReceiver>,
    ctx: &OperatorContext,
) -> Result<Vec<Receiver<T>>, BuildError> {
    ends.into_iter().map(|end| typed::<Receiver<T>>(end, &ctx.operator)).collect()
}

/// Makes instances of an operator with two inputs; always the head of its subtask.
pub(crate) struct TwoInputFactory<A, B, F> {
    make: F,
    marker: PhantomData<fn(A, B)>,
}

impl<A, B, F> TwoInputFactory<A, B, F> {
    pub(crate) fn new(make: F) -> Self {
        Self { make, marker: PhantomData }
    }
}

struct TwoInputHead<A, B, O: TwoInput<A, B>> {
    left: Vec<Receiver<A>>,
    right: Vec<Receiver<B>>,
    root: OperatorStage<O>,
}

impl<A: Record, B: Record, O: TwoInput<A, B>> Head for TwoInputHead<A, B, O> {
    fn inputs(&self) -> usize {
        self.left.len() + self.right.len()
    }

    fn poll_input(&mut self, input: usize, cx: &mut Cx, task: &mut Context<'_>) -> Poll<Result<Input, TaskError>> {
        let delivered = if input < self.left.len() {
            let Poll::Ready(element) = self.left[input].poll_recv(task) else { return Poll::Pending };
            control_input(element).or_else(|mut batch| {
                let rows = batch.len();
                self.root
                    .deliver(cx, rows, |operator, out| operator.process_left(&mut batch, out))
                    .map(|()| Input::Processed(rows))
            })
        } else {
            let Poll::Ready(element) = self.right[input - self.left.len()].poll_recv(task) else {
                return Poll::Pending;
            };
            control_input(element).or_else(|mut batch| {
                let rows = batch.len();
                self.root
                    .deliver(cx, rows, |operator, out| operator.process_right(&mut batch, out))
                    .map(|()| Input::Processed(rows))
            })
        };
        Poll::Ready(delivered)
    }

    fn root(&mut self) -> &mut dyn Control {
        &mut self.root
    }
}

impl<A, B, O, F> NodeFactory for TwoInputFactory<A, B, F>
where
    A: Record,
    B: Record,
    O: TwoInput<A, B>,
    F: Fn(&OperatorContext, &BuildContext<'_>) -> Result<O, BuildError> + Send + Sync,
{
    fn stage(
        &self,
        ctx: OperatorContext,
        _build: &BuildContext<'_>,
        _outputs: Outputs,
    ) -> Result<ErasedStage, BuildError> {
        Err(BuildError::Type { operator: ctx.operator })
    }

    fn head(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
        inputs: Vec<Vec<ErasedReceiver>>,
    ) -> Result<Box<dyn Head>, BuildError> {
        let mut ports = inputs.into_iter();
        let left = receivers::<A>(ports.next().unwrap_or_default(), &ctx)?;
        let right = receivers::<B>(ports.next().unwrap_or_default(), &ctx)?;
        let operator = (self.make)(&ctx, build)?;
        let out = Output::new(typed_stages::<O::Out>(outputs.main, &ctx.operator)?);
        let watermark = build.restored_watermark(&ctx);
        Ok(Box::new(TwoInputHead {
            left,
            right,
            root: OperatorStage::new(operator, ctx, out, outputs.sides, watermark),
        }))
    }
}
