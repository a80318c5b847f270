//! Whether a job fits itself and the checkpoint it is to start from. Pure; asked before anything is read or written.
//!
//! Kinds, types and versions of states are compared where the states are declared, by [`weir_state`].

use std::collections::BTreeSet;

use weir_engine::graph::{JobGraph, NodeId, NodeKind};
use weir_protocol::coordinator::{OperatorPlan, Plan, TaskId};
use weir_protocol::{CheckpointId, Manifest, MaxParallelism, OperatorId, WorkerIndex};

/// Why a job cannot run, or not from this checkpoint. Every variant says the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// More subtasks than key groups.
    #[error(
        "operator {operator} would have {parallelism} subtasks, allowed are 1 to {max}: \
         lower workers or slots; maxParallelism cannot change once the job has run"
    )]
    Parallelism {
        /// The operator.
        operator: OperatorId,
        /// Its parallelism.
        parallelism: u32,
        /// The job's max parallelism.
        max: u32,
    },
    /// Not a number of key groups.
    #[error("maxParallelism is {found}, allowed is 1 to {limit}")]
    MaxParallelism {
        /// What the job says.
        found: u32,
        /// The largest.
        limit: u32,
    },
    /// The number of key groups changed.
    #[error(
        "checkpoint {checkpoint} has maxParallelism {found}, the job says {expected}: it is fixed for the job's life; \
         write {found}, or start with restoreFrom empty"
    )]
    MaxParallelismChanged {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// In the checkpoint.
        found: u32,
        /// In the job.
        expected: u32,
    },
    /// State without an operator.
    #[error(
        "operator {operator} has {what} in checkpoint {checkpoint}, but the job has no such operator (it has: {present}): \
         give the operator its old id back, or start with restoreFrom empty"
    )]
    RemovedOperator {
        /// The operator.
        operator: OperatorId,
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What would be left behind.
        what: &'static str,
        /// The job's operators that keep something of that kind.
        present: String,
    },
}

/// Checks a job by itself.
///
/// # Errors
/// The first misfit.
pub(crate) fn check_job(graph: &JobGraph, parallelism: u32, max_parallelism: u32) -> Result<MaxParallelism, Misfit> {
    let max = MaxParallelism::new(max_parallelism)
        .map_err(|_| Misfit::MaxParallelism { found: max_parallelism, limit: MaxParallelism::LIMIT })?;
    for index in (0..graph.nodes.len()).map(NodeId) {
        let node = &graph.nodes[index.0];
        let parallelism = graph.parallelism_of(index, parallelism);
        if parallelism == 0 || parallelism > max.get() {
            return Err(Misfit::Parallelism { operator: node.id.clone(), parallelism, max: max.get() });
        }
    }
    Ok(max)
}

/// Checks a job against the checkpoint it is to start from.
///
/// # Errors
/// The first misfit.
pub(crate) fn check_restore(graph: &JobGraph, max: MaxParallelism, manifest: &Manifest) -> Result<(), Misfit> {
    let checkpoint = manifest.checkpoint;
    if manifest.max_parallelism != max {
        let (found, expected) = (manifest.max_parallelism.get(), max.get());
        return Err(Misfit::MaxParallelismChanged { checkpoint, found, expected });
    }
    let stateful = manifest.operators.iter().filter(|snapshot| snapshot.stateful).map(|snapshot| &snapshot.operator);
    let declared = manifest.states.iter().map(|state| &state.operator);
    let keyed = ids_of(graph, |graph, node| graph.nodes[node].stateful);
    check_present(checkpoint, "keyed state", stateful.chain(declared), &keyed)?;
    let sources = ids_of(graph, |graph, node| matches!(graph.nodes[node].kind, NodeKind::Source(_)));
    check_present(checkpoint, "positions of its input", manifest.splits.iter().map(|split| &split.operator), &sources)?;
    let sinks = ids_of(graph, |graph, node| graph.nodes[node].committer.is_some());
    check_present(checkpoint, "prepared output", manifest.sinks.iter().map(|handle| &handle.operator), &sinks)
}

fn ids_of(graph: &JobGraph, keep: impl Fn(&JobGraph, usize) -> bool) -> BTreeSet<&OperatorId> {
    (0..graph.nodes.len()).filter(|&node| keep(graph, node)).map(|node| &graph.nodes[node].id).collect()
}

fn check_present<'a>(
    checkpoint: CheckpointId,
    what: &'static str,
    needed: impl Iterator<Item = &'a OperatorId>,
    present: &BTreeSet<&OperatorId>,
) -> Result<(), Misfit> {
    let needed: BTreeSet<&OperatorId> = needed.collect();
    match needed.difference(present).next() {
        None => Ok(()),
        Some(missing) => {
            let names: Vec<&str> = present.iter().map(|id| id.as_str()).collect();
            let present = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Misfit::RemovedOperator { operator: (*missing).clone(), checkpoint, what, present })
        }
    }
}

/// What the coordinator has to know of a graph.
pub(crate) fn plan_of(graph: &JobGraph, parallelism: u32, max_parallelism: MaxParallelism) -> Plan {
    let operators = (0..graph.nodes.len()).map(NodeId).map(|node| OperatorPlan {
        operator: graph.nodes[node.0].id.clone(),
        parallelism: graph.parallelism_of(node, parallelism),
        stateful: graph.nodes[node.0].stateful,
    });
    let tasks_of = |heads: &[NodeId]| -> BTreeSet<TaskId> {
        let tasks = heads.iter().flat_map(|&head| {
            let subtasks = graph.parallelism_of(head, parallelism);
            (0..subtasks).map(move |subtask| TaskId::new(graph.nodes[head.0].id.clone(), subtask))
        });
        tasks.collect()
    };
    let heads = graph.heads(parallelism);
    let sources: Vec<NodeId> =
        heads.iter().copied().filter(|head| matches!(graph.nodes[head.0].kind, NodeKind::Source(_))).collect();
    Plan {
        max_parallelism,
        parallelism,
        operators: operators.collect(),
        tasks: tasks_of(&heads),
        bounded_sources: if graph.is_bounded() { tasks_of(&sources) } else { BTreeSet::new() },
        stores: BTreeSet::from([WorkerIndex(0)]),
    }
}
