//! The job graph as the typed API builds it: nodes, edges, and the factories that make their instances.
//!
//! The graph itself knows no record types. Every node and edge carries a factory that was made where the types were still
//! known; instances meet as [`ErasedStage`]s, and the type they were made with is checked when they are joined.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use weir_protocol::OperatorId;

use crate::build::{BuildContext, BuildError, ErasedReceiver, ErasedSender, Head, SourceTaskParts};
use crate::operator::{ErasedSide, Sides};
use crate::sink::SinkCommitter;
use crate::stage::OperatorContext;

/// A `Box<dyn Stage<T>>` whose `T` only its maker and its parent know.
pub type ErasedStage = Box<dyn Any + Send>;

/// Index of a node in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Which output of a node: the main one or a side output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputName {
    /// The main output.
    Main,
    /// The side output with this tag.
    Side(String),
}

/// How an edge distributes records over the downstream subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// Subtask i to subtask i; the only kind that can be chained at any parallelism.
    Forward,
    /// Batches round robin.
    Rebalance,
    /// Every record to every subtask.
    Broadcast,
    /// By key group.
    Hash,
}

/// Makes the typed parts of an edge.
pub trait EdgeFactory: Send + Sync {
    /// One channel with this budget in bytes.
    fn channel(&self, budget: usize) -> (ErasedSender, ErasedReceiver);

    /// A stage that sends to `senders`, of which the element i leads to downstream subtask `first + i`.
    ///
    /// # Errors
    /// Never, unless senders of another edge are passed.
    fn writer(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        exchange: Exchange,
        senders: Vec<ErasedSender>,
    ) -> Result<ErasedStage, BuildError>;
}

/// An edge, stored with the node it leads to.
pub struct Edge {
    /// The upstream node.
    pub from: NodeId,
    /// Which of its outputs.
    pub output: OutputName,
    /// Which input of this node: 0 or 1.
    pub port: usize,
    /// How records are distributed.
    pub exchange: Exchange,
    /// Makes channels and writers.
    pub factory: Arc<dyn EdgeFactory>,
}

/// Stages that take an operator's outputs.
pub struct Outputs {
    /// For the main output.
    pub main: Vec<ErasedStage>,
    /// For the side outputs that somebody consumes.
    pub sides: Sides,
}

/// Makes an operator's instances.
pub trait NodeFactory: Send + Sync {
    /// As a member of a chain: an [`ErasedStage`] that takes its one input.
    ///
    /// # Errors
    /// When the operator cannot be opened (state refused, connector target missing).
    fn stage(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
    ) -> Result<ErasedStage, BuildError>;

    /// As the head of a subtask, reading `inputs[port]`.
    ///
    /// # Errors
    /// As [`NodeFactory::stage`].
    fn head(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
        inputs: Vec<Vec<ErasedReceiver>>,
    ) -> Result<Box<dyn Head>, BuildError>;
}

/// Makes a source's subtasks.
pub trait SourceFactory: Send + Sync {
    /// All splits that exist now.
    ///
    /// # Errors
    /// When the outside cannot be asked.
    fn discover(&self) -> Result<Vec<crate::source::SplitId>, crate::source::ConnectorError>;

    /// True if the source ends by itself.
    fn is_bounded(&self) -> bool;

    /// One subtask.
    ///
    /// # Errors
    /// When a split cannot be opened.
    fn task(
        &self,
        ctx: OperatorContext,
        build: &BuildContext<'_>,
        outputs: Outputs,
    ) -> Result<SourceTaskParts, BuildError>;
}

/// What a node is.
#[derive(Clone)]
pub enum NodeKind {
    /// Reads from outside.
    Source(Arc<dyn SourceFactory>),
    /// Everything else; sinks have no outputs.
    Operator(Arc<dyn NodeFactory>),
}

/// What commits a sink's output, if it is transactional.
pub type CommitterFactory = Arc<dyn Fn() -> Option<Box<dyn SinkCommitter>> + Send + Sync>;
/// Checks a connector before anything runs.
pub type CheckFactory = Arc<dyn Fn() -> Result<(), crate::source::ConnectorError> + Send + Sync>;

/// One operator of the graph.
pub struct Node {
    /// Unique, stable id.
    pub id: OperatorId,
    /// What kind of operator it is, for people: `map`, `window`, ...
    pub label: &'static str,
    /// What makes its instances.
    pub kind: NodeKind,
    /// Where its input comes from.
    pub inputs: Vec<Edge>,
    /// Number of subtasks, if it is not the job's parallelism.
    pub parallelism: Option<u32>,
    /// True if it keeps keyed state (it then submits one sealed layer per checkpoint and subtask).
    pub stateful: bool,
    /// Makes the side outputs that somebody consumes, by tag name.
    pub sides: BTreeMap<String, SideFactory>,
    /// For sinks.
    pub committer: Option<CommitterFactory>,
    /// Pre-flight check.
    pub check: Option<CheckFactory>,
}

/// Makes a side output from the stages that consume it.
pub type SideFactory = Arc<dyn Fn(Vec<ErasedStage>) -> Result<Box<dyn ErasedSideBox>, BuildError> + Send + Sync>;

/// A side output, its type erased.
pub trait ErasedSideBox: Send {
    /// Adds it to an operator's side outputs.
    fn add_to(self: Box<Self>, name: String, sides: &mut Sides);
}

impl<S: ErasedSide + 'static> ErasedSideBox for S {
    fn add_to(self: Box<Self>, name: String, sides: &mut Sides) {
        sides.add(name, self);
    }
}

/// A mistake in how a graph was put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two operators share an id.
    #[error("operator id {0} is used twice: ids name state and output in checkpoints, give each operator its own")]
    DuplicateId(String),
    /// An id that cannot be part of object and file names.
    #[error("operator id {0:?} is not allowed: use 1 to 64 of a-z, 0-9 and '-', starting with a letter")]
    BadId(String),
    /// A graph without a source.
    #[error("the graph has no source")]
    NoSource,
    /// A graph without a sink.
    #[error("the output of {0} goes nowhere and the graph has no sink")]
    NoSink(String),
}

#[derive(Default)]
pub(crate) struct GraphInner {
    pub(crate) nodes: Vec<Node>,
    pub(crate) errors: Vec<GraphError>,
    unnamed: BTreeMap<&'static str, usize>,
}

/// A job graph under construction. Clones are handles to the same graph; the streams of the typed API hold one.
#[derive(Clone, Default)]
pub struct Graph {
    pub(crate) inner: Arc<Mutex<GraphInner>>,
}

/// A node as the typed API adds it.
pub(crate) struct NodeSpec {
    pub id: Option<String>,
    pub label: &'static str,
    pub kind: NodeKind,
    pub inputs: Vec<Edge>,
    pub parallelism: Option<u32>,
    pub stateful: bool,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&self, spec: NodeSpec) -> NodeId {
        let mut inner = self.inner.lock();
        let number = inner.unnamed.entry(spec.label).or_default();
        let id = spec.id.unwrap_or_else(|| {
            *number += 1;
            format!("{}-{number}", spec.label)
        });
        if !is_valid_id(&id) {
            inner.errors.push(GraphError::BadId(id.clone()));
        }
        if inner.nodes.iter().any(|node| node.id.0 == id) {
            inner.errors.push(GraphError::DuplicateId(id.clone()));
        }
        inner.nodes.push(Node {
            id: OperatorId(id),
            label: spec.label,
            kind: spec.kind,
            inputs: spec.inputs,
            parallelism: spec.parallelism,
            stateful: spec.stateful,
            sides: BTreeMap::new(),
            committer: None,
            check: None,
        });
        NodeId(inner.nodes.len() - 1)
    }

    pub(crate) fn with_node(&self, id: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.inner.lock().nodes.get_mut(id.0) {
            change(node);
        }
    }

    /// Ends construction.
    ///
    /// # Errors
    /// All mistakes that were made, in order.
    pub fn finish(self) -> Result<JobGraph, Vec<GraphError>> {
        let inner = std::mem::take(&mut *self.inner.lock());
        let mut errors = inner.errors;
        if !inner.nodes.iter().any(|node| matches!(node.kind, NodeKind::Source(_))) {
            errors.push(GraphError::NoSource);
        } else if !inner.nodes.iter().any(|node| node.committer.is_some()) {
            errors.push(GraphError::NoSink(inner.nodes.last().map(|node| node.id.0.clone()).unwrap_or_default()));
        }
        if errors.is_empty() { Ok(JobGraph { nodes: inner.nodes }) } else { Err(errors) }
    }
}

fn is_valid_id(id: &str) -> bool {
    let mut chars = id.chars();
    id.len() <= 64
        && chars.next().is_some_and(|c| c.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A finished job graph: what a coordinator deploys.
pub struct JobGraph {
    /// The operators; inputs precede their consumers.
    pub nodes: Vec<Node>,
}

impl JobGraph {
    /// Parallelism of a node in a job of this parallelism.
    pub fn parallelism_of(&self, node: NodeId, job: u32) -> u32 {
        self.nodes[node.0].parallelism.unwrap_or(job)
    }

    /// The one input edge through which `node` is chained to its producer: they share a subtask and call each other.
    pub fn chained_to(&self, node: NodeId, job: u32) -> Option<&Edge> {
        let [edge] = self.nodes[node.0].inputs.as_slice() else { return None };
        let here = self.parallelism_of(node, job);
        let same = self.parallelism_of(edge.from, job) == here;
        let local = edge.exchange == Exchange::Forward || here == 1;
        (same && local).then_some(edge)
    }

    /// Nodes that head a subtask, in graph order.
    pub fn heads(&self, job: u32) -> Vec<NodeId> {
        (0..self.nodes.len()).map(NodeId).filter(|&node| self.chained_to(node, job).is_none()).collect()
    }

    /// The members of the chain that `head` leads, in depth-first order, the head first.
    pub fn chain_of(&self, head: NodeId, job: u32) -> Vec<NodeId> {
        let mut members = vec![head];
        for node in (0..self.nodes.len()).map(NodeId) {
            if self.chained_to(node, job).is_some_and(|edge| members.contains(&edge.from)) {
                members.push(node);
            }
        }
        members
    }

    /// Number of stateful operator instances: how many sealed layers make up one epoch.
    pub fn stateful_subtasks(&self, job: u32) -> usize {
        (0..self.nodes.len())
            .filter(|&index| self.nodes[index].stateful)
            .map(|index| self.parallelism_of(NodeId(index), job) as usize)
            .sum()
    }

    /// True if every source ends by itself.
    pub fn is_bounded(&self) -> bool {
        self.nodes.iter().all(|node| match &node.kind {
            NodeKind::Source(source) => source.is_bounded(),
            NodeKind::Operator(_) => true,
        })
    }
}
