//! The typed API: streams of records.

use std::sync::Arc;

use crate::build::BuildError;
use crate::build::typed_stages;
use crate::graph::{Edge, Exchange, Graph, NodeId, NodeKind, NodeSpec, OutputName};
use crate::keyed::KeyedStream;
use crate::operator::{OneInput, OutputTag, Side};
use crate::operators::filter::Filter;
use crate::operators::flat_map::FlatMap;
use crate::operators::map::{Map, TryMap};
use crate::operators::sink::SinkFactory;
use crate::record::Record;
use crate::sink::Sink;
use crate::source::Source;
use crate::source_task::TypedSource;
use crate::stage::{OperatorContext, Output};
use crate::time::WatermarkStrategy;
use crate::typed::{OneInputFactory, PartitionerFactory, TwoInputFactory, TypedEdge};

/// Where a stream's records come from.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub node: NodeId,
    pub output: OutputName,
}

/// A stream of records of one type. Cheap to clone; using it twice delivers every record to both consumers.
pub struct Stream<T> {
    pub(crate) graph: Graph,
    pub(crate) upstream: Vec<Upstream>,
    exchange: Exchange,
    /// For hash exchanges.
    partitioner: Option<PartitionerFactory<T>>,
    parallelism: Option<u32>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self {
            graph: self.graph.clone(),
            upstream: self.upstream.clone(),
            exchange: self.exchange,
            partitioner: self.partitioner.clone(),
            parallelism: self.parallelism,
        }
    }
}

impl Graph {
    /// Adds a source. `id` names it in checkpoints, metrics and messages.
    pub fn source<S: Source>(&self, id: &str, source: S, watermarks: WatermarkStrategy<S::Item>) -> Stream<S::Item> {
        let source = Arc::new(source);
        let factory = Arc::new(TypedSource { source: source.clone(), watermarks });
        let spec = NodeSpec {
            id: Some(id.to_owned()),
            label: "source",
            kind: NodeKind::Source(factory),
            inputs: Vec::new(),
            parallelism: None,
            stateful: false,
        };
        let node = self.add(spec);
        self.with_node(node, |node| node.check = Some(Arc::new(move || source.discover().map(|_| ()))));
        Stream::new(self.clone(), node, OutputName::Main)
    }
}

impl<T: Record> Stream<T> {
    pub(crate) fn new(graph: Graph, node: NodeId, output: OutputName) -> Self {
        Self {
            graph,
            upstream: vec![Upstream { node, output }],
            exchange: Exchange::Forward,
            partitioner: None,
            parallelism: None,
        }
    }

    /// The edges that lead this stream to input `port` of a new node.
    pub(crate) fn edges(&self, port: usize, exchange: Exchange, factory: Arc<TypedEdge<T>>) -> Vec<Edge> {
        self.upstream
            .iter()
            .map(|up| Edge { from: up.node, output: up.output.clone(), port, exchange, factory: factory.clone() })
            .collect()
    }

    /// The edges with the distribution that was chosen for this stream; forward if none was.
    pub(crate) fn plain_edges(&self, port: usize) -> Vec<Edge> {
        self.edges(port, self.exchange, Arc::new(TypedEdge { partitioner: self.partitioner.clone() }))
    }

    /// Adds an operator with one input.
    pub(crate) fn operator<O, F>(
        &self,
        id: Option<&str>,
        label: &'static str,
        stateful: bool,
        edges: Vec<Edge>,
        make: F,
    ) -> Stream<O::Out>
    where
        O: OneInput<T>,
        F: Fn(&OperatorContext, &crate::build::BuildContext<'_>) -> Result<O, BuildError> + Send + Sync + 'static,
    {
        let factory = Arc::new(OneInputFactory::<T, F>::new(make));
        let spec = NodeSpec {
            id: id.map(str::to_owned),
            label,
            kind: NodeKind::Operator(factory),
            inputs: edges,
            parallelism: self.parallelism,
            stateful,
        };
        let node = self.graph.add(spec);
        Stream::new(self.graph.clone(), node, OutputName::Main)
    }

    /// Adds a stateful operator with this stream as first and a stream of `B` as second input; `inputs` are their edges.
    pub(crate) fn two_input_node<B, O, F>(
        &self,
        id: &str,
        label: &'static str,
        inputs: Vec<Edge>,
        make: F,
    ) -> Stream<O::Out>
    where
        B: Record,
        O: crate::operator::TwoInput<T, B>,
        F: Fn(&OperatorContext, &crate::build::BuildContext<'_>) -> Result<O, BuildError> + Send + Sync + 'static,
    {
        let kind = NodeKind::Operator(Arc::new(TwoInputFactory::<T, B, F>::new(make)));
        let spec =
            NodeSpec { id: Some(id.to_owned()), label, kind, inputs, parallelism: self.parallelism, stateful: true };
        let node = self.graph.add(spec);
        Stream::new(self.graph.clone(), node, OutputName::Main)
    }

    /// One record for each record.
    pub fn map<U: Record>(&self, f: impl Fn(T) -> U + Clone + Send + Sync + 'static) -> Stream<U> {
        self.operator(None, "map", false, self.plain_edges(0), move |_, _| Ok(Map::new(f.clone())))
    }

    /// One record for each record, or a failure. A failure stops the job into its restart strategy, unless
    /// [`Stream::dead_letters`] of the result is consumed: then the record goes there.
    pub fn try_map<U: Record, E: Into<crate::error::UserError> + 'static>(
        &self,
        id: &str,
        f: impl Fn(&T) -> Result<U, E> + Clone + Send + Sync + 'static,
    ) -> Stream<U> {
        self.operator(Some(id), "try-map", false, self.plain_edges(0), move |_, _| Ok(TryMap::new(f.clone())))
    }

    /// The records for which `f` holds.
    pub fn filter(&self, f: impl Fn(&T) -> bool + Clone + Send + Sync + 'static) -> Stream<T> {
        self.operator(None, "filter", false, self.plain_edges(0), move |_, _| Ok(Filter::new(f.clone())))
    }

    /// Any number of records for each record, handed to the second argument.
    pub fn flat_map<U: Record>(&self, f: impl Fn(T, &mut dyn FnMut(U)) + Clone + Send + Sync + 'static) -> Stream<U> {
        self.operator(None, "flat-map", false, self.plain_edges(0), move |_, _| Ok(FlatMap::new(f.clone())))
    }

    /// Partitions by key: records of one key meet in one subtask, with that key's state.
    pub fn key_by<K: weir_state::Key>(
        &self,
        key: impl Fn(&T) -> K + Clone + Send + Sync + 'static,
    ) -> KeyedStream<K, T> {
        KeyedStream::new(self.clone(), key)
    }

    /// All records of both streams, in no particular order between them.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.upstream.extend(other.upstream.iter().cloned());
        all
    }

    /// Deals batches round robin to the next operator's subtasks.
    #[must_use]
    pub fn rebalance(&self) -> Self {
        Self { exchange: Exchange::Rebalance, ..self.clone() }
    }

    /// Gives every record to every subtask of the next operator.
    #[must_use]
    pub fn broadcast(&self) -> Self {
        Self { exchange: Exchange::Broadcast, ..self.clone() }
    }

    /// Sends records to the next operator's subtasks by key.
    pub(crate) fn hashed(&self, partitioner: PartitionerFactory<T>) -> Self {
        Self { exchange: Exchange::Hash, partitioner: Some(partitioner), ..self.clone() }
    }

    /// Sets the number of subtasks of the next operator; without it, the job's parallelism.
    #[must_use]
    pub fn with_parallelism(&self, subtasks: u32) -> Self {
        Self { parallelism: Some(subtasks.max(1)), ..self.clone() }
    }

    /// What the operator that made this stream emits to `tag`.
    pub fn side_output<U: Record>(&self, tag: &OutputTag<U>) -> Stream<U> {
        let name = tag.name().to_owned();
        let mut side = None;
        for up in &self.upstream {
            self.graph.with_node(up.node, |node| {
                let operator = node.id.clone();
                let factory: crate::graph::SideFactory = Arc::new(move |stages| {
                    let out = Output::new(typed_stages::<U>(stages, &operator)?);
                    Ok(Box::new(Side::new(out)) as Box<dyn crate::graph::ErasedSideBox>)
                });
                node.sides.entry(name.clone()).or_insert(factory);
            });
            let stream = Stream::new(self.graph.clone(), up.node, OutputName::Side(name.clone()));
            side = Some(match side {
                None => stream,
                Some(earlier) => Stream::union(&earlier, &stream),
            });
        }
        side.expect("a stream has at least one upstream")
    }

    /// Records that the operator's user code refused; consuming this stream turns such failures into records.
    pub fn dead_letters(&self) -> Stream<crate::operators::dead_letter::DeadLetter> {
        self.side_output(&crate::operators::dead_letter::tag())
    }

    /// Ends the stream in a sink. `id` names it in checkpoints, metrics and files.
    pub fn sink<S: Sink<Item = T>>(&self, id: &str, sink: S) {
        let sink = Arc::new(sink);
        let factory = Arc::new(SinkFactory { sink: sink.clone() });
        let spec = NodeSpec {
            id: Some(id.to_owned()),
            label: "sink",
            kind: NodeKind::Operator(factory),
            inputs: self.plain_edges(0),
            parallelism: self.parallelism,
            stateful: false,
        };
        let node = self.graph.add(spec);
        self.graph.with_node(node, |node| {
            let committing = sink.clone();
            node.committer = Some(Arc::new(move || committing.committer()));
            node.check = Some(Arc::new(move || sink.check()));
        });
    }
}
