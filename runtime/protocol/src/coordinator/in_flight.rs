//! The checkpoint under way: who still has to acknowledge, and the manifest out of what they said.

use std::collections::{BTreeMap, BTreeSet};

use super::event::RequestId;
use super::plan::{OperatorReport, Plan, StoreAck, TaskAck, TaskId};
use crate::ids::{CheckpointId, Generation, JobId, Millis, OperatorId, WorkerIndex};
use crate::journal::CheckpointEntry;
use crate::manifest::{Manifest, ManifestKind, OperatorSnapshot, SinkHandle, merge_chains};
use crate::object::ObjectRef;
use crate::{key_group::MaxParallelism, layout};

/// Where the checkpoint under way stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// Waiting for acknowledgements.
    Collecting,
    /// The manifest is being stored.
    Publishing {
        published: Box<Published>,
        /// No answer yet; if not, it is to be sent (again, with the same bytes).
        sent: bool,
        /// How often in a row it was not sent, because the process stood still.
        withdrawn: u32,
    },
    /// The manifest is stored; the journal entry is next, or being appended.
    Published(Box<Published>),
}

/// What is needed once the manifest is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Published {
    pub entry: CheckpointEntry,
    pub bytes: Vec<u8>,
    pub objects: BTreeSet<String>,
    pub sinks: Vec<SinkHandle>,
}

/// Records of each operator before this deployment: in, out.
pub(super) type BaseCounts = BTreeMap<OperatorId, (u64, u64)>;

/// The checkpoint under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct InFlight {
    pub id: CheckpointId,
    pub kind: ManifestKind,
    pub savepoint: Option<String>,
    pub savepoint_request: Option<RequestId>,
    pub requests: Vec<RequestId>,
    pub triggered_at: Millis,
    pub deadline: Millis,
    pub storage_trouble: Option<String>,
    pub phase: Phase,
    tasks: BTreeMap<TaskId, TaskAck>,
    /// Tasks whose acknowledgement waits for their store.
    sealed: BTreeSet<TaskId>,
    stores: BTreeMap<WorkerIndex, StoreAck>,
}

impl InFlight {
    pub fn new(id: CheckpointId, kind: ManifestKind, triggered_at: Millis, deadline: Millis) -> Self {
        Self {
            id,
            kind,
            savepoint: None,
            savepoint_request: None,
            requests: Vec::new(),
            triggered_at,
            deadline,
            storage_trouble: None,
            phase: Phase::Collecting,
            tasks: BTreeMap::new(),
            sealed: BTreeSet::new(),
            stores: BTreeMap::new(),
        }
    }

    pub fn add_task(&mut self, ack: TaskAck) {
        self.tasks.entry(ack.task.clone()).or_insert(ack);
    }

    pub fn add_sealed(&mut self, task: TaskId) {
        self.sealed.insert(task);
    }

    pub fn add_store(&mut self, ack: StoreAck) {
        self.stores.entry(ack.worker).or_insert(ack);
    }

    /// True if everybody acknowledged.
    pub fn is_collected(&self, plan: &Plan) -> bool {
        plan.tasks.iter().all(|task| self.tasks.contains_key(task))
            && plan.stores.iter().all(|worker| self.stores.contains_key(worker))
    }

    /// Who is still awaited, for messages; at most a few.
    pub fn awaited(&self, plan: &Plan) -> String {
        let tasks = plan.tasks.iter().filter(|task| !self.tasks.contains_key(task));
        let stores: Vec<_> = plan.stores.iter().filter(|worker| !self.stores.contains_key(worker)).collect();
        // Sealed tasks wait for their store themselves.
        let only_stores = !stores.is_empty() && tasks.clone().all(|task| self.sealed.contains(task));
        let names: Vec<String> = if only_stores {
            stores.iter().map(|worker| format!("worker {worker} to write and upload its state")).collect()
        } else {
            let stores = stores.iter().map(|worker| format!("store of worker {worker}"));
            tasks.filter(|task| !self.sealed.contains(task)).map(ToString::to_string).chain(stores).collect()
        };
        match names.len() {
            0 => "the storage".to_owned(),
            1..=3 => names.join(", "),
            more => format!("{} and {} more", names[..3].join(", "), more - 3),
        }
    }

    /// The prepared output acknowledged so far, to be passed on to the next checkpoint.
    pub fn take_sinks(self) -> (BTreeSet<TaskId>, Vec<SinkHandle>) {
        let acknowledged = self.tasks.keys().cloned().collect();
        (acknowledged, self.tasks.into_values().flat_map(|ack| ack.sinks).collect())
    }

    /// Builds the manifest and what the journal says about it.
    pub fn publish(
        &self,
        plan: &Plan,
        base: &BaseCounts,
        carried: &[SinkHandle],
        (job_id, generation): (&JobId, Generation),
        now: Millis,
    ) -> Result<Published, String> {
        let chain = merge_chains(self.stores.values().map(|ack| &ack.chain[..]));
        let mut states: Vec<_> = self.stores.values().flat_map(|ack| ack.states.iter().cloned()).collect();
        states.sort_by_key(|state| state.id);
        states.dedup();
        let objects: BTreeMap<&str, u64> =
            chain.iter().map(|run| (run.object.key.as_str(), run.object.length)).collect();
        let (bytes_full, bytes_incremental) =
            (objects.values().sum(), self.stores.values().map(|ack| ack.bytes_uploaded).sum());
        let sinks = carried.iter().chain(self.tasks.values().flat_map(|ack| &ack.sinks)).cloned().collect();
        let manifest = Manifest {
            format: Manifest::FORMAT,
            job_id: job_id.clone(),
            checkpoint: self.id,
            generation,
            kind: self.kind,
            max_parallelism: plan.max_parallelism,
            parallelism: plan.parallelism,
            operators: self.operators(plan, base),
            splits: self.tasks.values().flat_map(|ack| ack.splits.iter().cloned()).collect(),
            states,
            chain,
            sinks,
            timeline: self.tasks.values().map(|ack| ack.timeline.clone()).collect(),
            triggered_at: self.triggered_at,
            completed_at: now,
            bytes_full,
            bytes_incremental,
        };
        manifest.check()?;
        check_groups(&manifest, plan.max_parallelism)?;
        let bytes = manifest.encode();
        let entry = CheckpointEntry {
            id: self.id,
            generation,
            kind: self.kind,
            manifest: ObjectRef::of(layout::manifest_key(self.id, generation), &bytes),
            triggered_at: self.triggered_at,
            completed_at: now,
            bytes_full: manifest.bytes_full,
            bytes_incremental: manifest.bytes_incremental,
        };
        Ok(Published { entry, bytes, objects: manifest.object_keys(), sinks: manifest.sinks })
    }

    fn operators(&self, plan: &Plan, base: &BaseCounts) -> Vec<OperatorSnapshot> {
        let mut reports: BTreeMap<&OperatorId, BTreeMap<u32, &OperatorReport>> = BTreeMap::new();
        for ack in self.tasks.values() {
            for report in &ack.operators {
                reports.entry(&report.operator).or_default().insert(ack.task.subtask.0, report);
            }
        }
        let snapshot = |planned: &super::plan::OperatorPlan| {
            let subtasks = reports.get(&planned.operator);
            let get = |index: u32| subtasks.and_then(|subtasks| subtasks.get(&index));
            let (before_in, before_out) = base.get(&planned.operator).copied().unwrap_or_default();
            let sum = |count: fn(&OperatorReport) -> u64| -> u64 {
                subtasks.map_or(0, |subtasks| subtasks.values().map(|report| count(report)).sum())
            };
            OperatorSnapshot {
                operator: planned.operator.clone(),
                parallelism: planned.parallelism,
                watermarks: (0..planned.parallelism)
                    .map(|index| get(index).and_then(|report| report.watermark))
                    .collect(),
                stateful: planned.stateful,
                records_in: before_in + sum(|report| report.records_in),
                records_out: before_out + sum(|report| report.records_out),
            }
        };
        plan.operators.iter().map(snapshot).collect()
    }
}

/// Counts of a restored manifest, to which a deployment adds its own.
pub(super) fn base_counts(manifest: &Manifest) -> BaseCounts {
    let counts = |snapshot: &OperatorSnapshot| (snapshot.operator.clone(), (snapshot.records_in, snapshot.records_out));
    manifest.operators.iter().map(counts).collect()
}

/// Key groups beyond the job's belong to broadcast state alone, which stands above all others.
fn check_groups(manifest: &Manifest, max: MaxParallelism) -> Result<(), String> {
    let broadcast = u32::from(crate::key_group::KeyGroup::BROADCAST.0);
    for run in &manifest.chain {
        let groups = run.key_groups;
        if groups.end_exclusive > max.get() && groups.end_exclusive != broadcast + 1 {
            return Err(format!("run {} covers key groups {groups} of {max}", run.object.key));
        }
    }
    Ok(())
}
