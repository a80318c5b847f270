//! From job graph to subtasks: channels are made, operators opened, chains put together.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};

use weir_protocol::{Generation, JobId, KeyGroupRange, MaxParallelism, OperatorId, SplitPosition};
use weir_state::{StateError, WorkerStore};

use crate::channel::Receiver;
use crate::element::Element;
use crate::error::TaskError;
use crate::graph::{Exchange, JobGraph, NodeId, NodeKind, OutputName, Outputs};
use crate::operator::Sides;
use crate::record::Record;
use crate::source::ConnectorError;
use crate::stage::{Control, Cx, OperatorContext, OperatorMetrics, Stage};

/// A `Sender<T>`, its type erased.
pub type ErasedSender = Box<dyn Any + Send>;
/// A `Receiver<T>`, its type erased.
pub type ErasedReceiver = Box<dyn Any + Send>;

/// Why a job could not be put together. Nothing was read or written yet.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The typed API joined parts of different types; a defect of Weir, not of the job.
    #[error("operator {operator} was joined with a part of another type")]
    Type {
        /// The operator.
        operator: OperatorId,
    },
    /// Keyed state was refused.
    #[error("operator {operator}: state cannot be opened")]
    State {
        /// The operator.
        operator: OperatorId,
        /// Why.
        #[source]
        source: Box<StateError>,
    },
    /// A source or sink refused.
    #[error("operator {operator}: {source}")]
    Connector {
        /// The operator.
        operator: OperatorId,
        /// Why.
        source: ConnectorError,
    },
    /// User code refused in `open`.
    #[error("operator {operator}: open failed: {message}")]
    User {
        /// The operator.
        operator: OperatorId,
        /// What it said.
        message: String,
    },
}

/// What the checkpoint that a deployment starts from says about the dataflow (keyed state is the store's business).
#[derive(Debug, Clone, Default)]
pub struct RestoredFlow {
    /// Positions by source and split.
    pub splits: BTreeMap<(OperatorId, String), SplitPosition>,
    /// The last watermark of each operator's subtasks, `None` before the first; the end of a bounded input does not count.
    pub watermarks: BTreeMap<OperatorId, Vec<Option<i64>>>,
    /// The checkpoint, 0 if none.
    pub epoch: u64,
}

impl RestoredFlow {
    /// The watermark from which a subtask goes on: its own, or, when subtasks were dealt out anew, the lowest. One without a
    /// watermark never got any input; it holds nobody back.
    pub fn watermark(&self, operator: &OperatorId, subtask: u32, parallelism: u32) -> Option<i64> {
        let stored = self.watermarks.get(operator)?;
        if stored.len() == parallelism as usize {
            stored.get(subtask as usize).copied().flatten()
        } else {
            stored.iter().flatten().min().copied()
        }
    }
}

/// What every factory may look at.
pub struct BuildContext<'a> {
    /// Index of the subtask that is built.
    pub subtask: u32,
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The job's id.
    pub job_id: &'a JobId,
    /// The deployment's generation.
    pub generation: Generation,
    /// Keyed state of this worker.
    pub store: &'a Arc<WorkerStore>,
    /// Where the dataflow starts.
    pub restored: &'a RestoredFlow,
    /// Processing time at the start, milliseconds since the Unix epoch.
    pub now: i64,
    /// Parallelism of the operator at the other end, when a writer is built.
    pub downstream_parallelism: u32,
}

impl BuildContext<'_> {
    /// Key groups of an operator's subtask.
    pub fn key_groups(&self, parallelism: u32) -> KeyGroupRange {
        weir_protocol::key_groups_of(weir_protocol::SubtaskIndex(self.subtask), self.max_parallelism, parallelism)
    }

    /// The watermark an operator instance starts with: it never sees a lower one.
    pub fn restored_watermark(&self, ctx: &OperatorContext) -> Option<i64> {
        self.restored.watermark(&ctx.operator, ctx.subtask, ctx.parallelism)
    }
}

/// What the loop learns from an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A batch was delivered to the operator; so many rows.
    Processed(usize),
    /// Control.
    Watermark(i64),
    /// Control.
    Barrier(crate::element::Barrier),
    /// Control.
    Idle,
    /// The last record was delivered.
    End,
    /// The sender is gone.
    Closed,
}

/// The head of a subtask that reads channels.
pub trait Head: Send {
    /// Number of input channels, over all ports.
    fn inputs(&self) -> usize;

    /// Takes the next element of channel `input`; batches are processed here.
    ///
    /// # Errors
    /// When an operator fails.
    fn poll_input(&mut self, input: usize, cx: &mut Cx, task: &mut Context<'_>) -> Poll<Result<Input, TaskError>>;

    /// The tree below.
    fn root(&mut self) -> &mut dyn Control;
}

/// What a source's subtask consists of.
pub type SourceTaskParts = Box<dyn crate::source_task::SourceTask>;

/// Unwraps a channel end.
pub(crate) fn typed<T: 'static>(part: Box<dyn Any + Send>, operator: &OperatorId) -> Result<T, BuildError> {
    part.downcast::<T>().map(|part| *part).map_err(|_| BuildError::Type { operator: operator.clone() })
}

/// Unwraps the stages that take an operator's main output.
pub(crate) fn typed_stages<T: Record>(
    stages: Vec<Box<dyn Any + Send>>,
    operator: &OperatorId,
) -> Result<Vec<Box<dyn Stage<T>>>, BuildError> {
    stages.into_iter().map(|stage| typed::<Box<dyn Stage<T>>>(stage, operator)).collect()
}

/// A head with one input port.
pub(crate) struct OneInputHead<T> {
    pub receivers: Vec<Receiver<T>>,
    pub root: Box<dyn Stage<T>>,
}

pub(crate) fn control_input<T>(element: Option<Element<T>>) -> Result<Input, crate::batch::Batch<T>> {
    Ok(match element {
        None => Input::Closed,
        Some(Element::Watermark(watermark)) => Input::Watermark(watermark),
        Some(Element::Barrier(barrier)) => Input::Barrier(barrier),
        Some(Element::Idle) => Input::Idle,
        Some(Element::End) => Input::End,
        Some(Element::Batch(batch)) => return Err(batch),
    })
}

impl<T: Record> Head for OneInputHead<T> {
    fn inputs(&self) -> usize {
        self.receivers.len()
    }

    fn poll_input(&mut self, input: usize, cx: &mut Cx, task: &mut Context<'_>) -> Poll<Result<Input, TaskError>> {
        let Poll::Ready(element) = self.receivers[input].poll_recv(task) else { return Poll::Pending };
        Poll::Ready(match control_input(element) {
            Ok(control) => Ok(control),
            Err(mut batch) => {
                let rows = batch.len();
                self.root.batch(cx, &mut batch).map(|()| Input::Processed(rows))
            }
        })
    }

    fn root(&mut self) -> &mut dyn Control {
        self.root.as_mut()
    }
}

/// One subtask, ready to run.
pub enum TaskBody {
    /// Reads splits.
    Source(SourceTaskParts),
    /// Reads channels.
    Operator(Box<dyn Head>),
}

/// One subtask of a deployment.
pub struct BuiltTask {
    /// The head of its chain.
    pub operator: OperatorId,
    /// Its index.
    pub subtask: u32,
    /// The watermark its head starts with.
    pub watermark: Option<i64>,
    /// What to run.
    pub body: TaskBody,
}

/// Counters of every operator instance, by operator and subtask.
pub type MetricsTable = BTreeMap<(OperatorId, u32), Arc<OperatorMetrics>>;

/// What [`build`] needs besides the graph.
pub struct BuildPlan<'a> {
    /// Subtasks of every operator that does not say otherwise.
    pub parallelism: u32,
    /// Number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The job's id.
    pub job_id: &'a JobId,
    /// The deployment's generation.
    pub generation: Generation,
    /// Keyed state.
    pub store: &'a Arc<WorkerStore>,
    /// Where the dataflow starts.
    pub restored: &'a RestoredFlow,
    /// Budget of one channel in bytes.
    pub channel_bytes: usize,
    /// Processing time, milliseconds since the Unix epoch.
    pub now: i64,
}

type ChannelKey = (usize, usize, u32, u32);

struct Builder<'a> {
    graph: &'a JobGraph,
    plan: &'a BuildPlan<'a>,
    /// (consumer, index of its edge, from subtask, to subtask)
    senders: BTreeMap<ChannelKey, ErasedSender>,
    receivers: BTreeMap<ChannelKey, ErasedReceiver>,
    metrics: MetricsTable,
}

/// Puts all subtasks of a job together.
///
/// # Errors
/// When an operator cannot be opened; nothing was read or written yet.
pub fn build(graph: &JobGraph, plan: &BuildPlan<'_>) -> Result<(Vec<BuiltTask>, MetricsTable), BuildError> {
    let mut builder =
        Builder { graph, plan, senders: BTreeMap::new(), receivers: BTreeMap::new(), metrics: MetricsTable::new() };
    builder.make_channels();
    let mut tasks = Vec::new();
    for head in graph.heads(plan.parallelism) {
        for subtask in 0..graph.parallelism_of(head, plan.parallelism) {
            tasks.push(builder.build_task(head, subtask)?);
        }
    }
    Ok((tasks, builder.metrics))
}

impl Builder<'_> {
    fn context(&self, subtask: u32, downstream_parallelism: u32) -> BuildContext<'_> {
        let BuildPlan { max_parallelism, job_id, generation, store, restored, now, parallelism: _, channel_bytes: _ } =
            *self.plan;
        BuildContext { subtask, max_parallelism, job_id, generation, store, restored, now, downstream_parallelism }
    }

    fn make_channels(&mut self) {
        let job = self.plan.parallelism;
        for head in self.graph.heads(job) {
            let to = self.graph.parallelism_of(head, job);
            for (index, edge) in self.graph.nodes[head.0].inputs.iter().enumerate() {
                let from = self.graph.parallelism_of(edge.from, job);
                for a in 0..from {
                    for b in 0..to {
                        if edge.exchange == Exchange::Forward && from == to && a != b {
                            continue;
                        }
                        let (tx, rx) = edge.factory.channel(self.plan.channel_bytes);
                        self.senders.insert((head.0, index, a, b), tx);
                        self.receivers.insert((head.0, index, a, b), rx);
                    }
                }
            }
        }
    }

    fn operator_context(&mut self, node: NodeId, subtask: u32) -> OperatorContext {
        let operator = self.graph.nodes[node.0].id.clone();
        let metrics = self.metrics.entry((operator.clone(), subtask)).or_insert_with(|| {
            let metrics = OperatorMetrics::default();
            metrics.watermark.store(i64::MIN, std::sync::atomic::Ordering::Relaxed);
            Arc::new(metrics)
        });
        OperatorContext {
            operator,
            subtask,
            parallelism: self.graph.parallelism_of(node, self.plan.parallelism),
            metrics: metrics.clone(),
        }
    }

    fn build_task(&mut self, head: NodeId, subtask: u32) -> Result<BuiltTask, BuildError> {
        let ctx = self.operator_context(head, subtask);
        let operator = ctx.operator.clone();
        let watermark = self.context(subtask, 0).restored_watermark(&ctx);
        let outputs = self.build_outputs(head, subtask)?;
        let body = match self.graph.nodes[head.0].kind.clone() {
            NodeKind::Source(factory) => TaskBody::Source(factory.task(ctx, &self.context(subtask, 0), outputs)?),
            NodeKind::Operator(factory) => {
                let inputs = self.take_inputs(head, subtask);
                TaskBody::Operator(factory.head(ctx, &self.context(subtask, 0), outputs, inputs)?)
            }
        };
        Ok(BuiltTask { operator, subtask, watermark, body })
    }

    fn take_inputs(&mut self, head: NodeId, subtask: u32) -> Vec<Vec<ErasedReceiver>> {
        let node = &self.graph.nodes[head.0];
        let ports = node.inputs.iter().map(|edge| edge.port + 1).max().unwrap_or(0);
        let mut inputs: Vec<Vec<ErasedReceiver>> = (0..ports).map(|_| Vec::new()).collect();
        for (index, edge) in node.inputs.iter().enumerate() {
            let from = self.graph.parallelism_of(edge.from, self.plan.parallelism);
            for a in 0..from {
                if let Some(receiver) = self.receivers.remove(&(head.0, index, a, subtask)) {
                    inputs[edge.port].push(receiver);
                }
            }
        }
        inputs
    }

    /// The stages that take what `node` emits in `subtask`: chained operators and writers.
    fn build_outputs(&mut self, node: NodeId, subtask: u32) -> Result<Outputs, BuildError> {
        let mut main = Vec::new();
        let mut sides: BTreeMap<String, Vec<Box<dyn Any + Send>>> = BTreeMap::new();
        for consumer in (0..self.graph.nodes.len()).map(NodeId) {
            for index in 0..self.graph.nodes[consumer.0].inputs.len() {
                let edge = &self.graph.nodes[consumer.0].inputs[index];
                if edge.from != node {
                    continue;
                }
                let output = edge.output.clone();
                let stage = self.build_consumer(node, consumer, index, subtask)?;
                match output {
                    OutputName::Main => main.push(stage),
                    OutputName::Side(tag) => sides.entry(tag).or_default().push(stage),
                }
            }
        }
        let mut built = Sides::default();
        for (tag, stages) in sides {
            if let Some(factory) = self.graph.nodes[node.0].sides.get(&tag) {
                factory(stages)?.add_to(tag, &mut built);
            }
        }
        Ok(Outputs { main, sides: built })
    }

    fn build_consumer(
        &mut self,
        producer: NodeId,
        consumer: NodeId,
        index: usize,
        subtask: u32,
    ) -> Result<Box<dyn Any + Send>, BuildError> {
        let job = self.plan.parallelism;
        if self.graph.chained_to(consumer, job).is_some() {
            let ctx = self.operator_context(consumer, subtask);
            let outputs = self.build_outputs(consumer, subtask)?;
            let NodeKind::Operator(factory) = self.graph.nodes[consumer.0].kind.clone() else {
                return Err(BuildError::Type { operator: ctx.operator });
            };
            return factory.stage(ctx, &self.context(subtask, 0), outputs);
        }
        let to = self.graph.parallelism_of(consumer, job);
        let senders = (0..to).filter_map(|b| self.senders.remove(&(consumer.0, index, subtask, b))).collect();
        let ctx = self.operator_context(producer, subtask);
        let edge = &self.graph.nodes[consumer.0].inputs[index];
        let exchange = match edge.exchange {
            Exchange::Forward if self.graph.parallelism_of(producer, job) != to => Exchange::Rebalance,
            other => other,
        };
        edge.factory.writer(ctx, &self.context(subtask, to), exchange, senders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtask_goes_on_from_its_own_watermark_or_from_the_lowest_if_there_are_more_or_fewer_of_them() {
        let operator = OperatorId::from("count");
        let flow = RestoredFlow {
            watermarks: [(operator.clone(), vec![Some(100), None, Some(9)])].into(),
            ..RestoredFlow::default()
        };
        let restored = |parallelism| -> Vec<Option<i64>> {
            (0..parallelism).map(|subtask| flow.watermark(&operator, subtask, parallelism)).collect()
        };
        assert_eq!(restored(3), [Some(100), None, Some(9)]);
        assert_eq!(restored(2), [Some(9), Some(9)]);
        assert_eq!(flow.watermark(&"other".into(), 0, 3), None);
    }
}
