//! A small job in a store in memory, for the tests of this folder: three checkpoints, a savepoint, an old run that
//! nothing names, and a run of the reigning generation that nothing names yet.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use weir_protocol::journal::{
    AttemptId, CheckpointEntry, EntryKind, Head, JobRevision, JournalEntry, Owner, RestorePoint,
};
use weir_protocol::{
    CheckpointId, Generation, JobId, KeyGroupRange, Manifest, ManifestKind, MaxParallelism, Millis, ObjectRef,
    OperatorId, OperatorSnapshot, RunKind, RunRef, Sequence, SinkHandle, SplitPosition, StateId, StateInfo, StateKind,
    SubtaskIndex, SubtaskTimeline, WorkerIndex, layout,
};
use weir_storage::{MemoryStore, ObjectStore, prefixed};

use super::target::JobRoot;

/// When checkpoint 1 was triggered.
pub(super) const START: i64 = 1_800_000_000_000;
/// Below which the job is.
pub(super) const PREFIX: &str = "local/bids";

/// A run's file: 1000 bytes per epoch.
fn run_bytes(epoch: u64) -> Vec<u8> {
    (0..1000 * epoch).map(|index| (index % 251) as u8 ^ epoch as u8).collect()
}

fn run(epoch: u64, kind: RunKind) -> RunRef {
    let bytes = run_bytes(epoch);
    RunRef {
        object: ObjectRef::of(format!("runs/g2/0/{epoch}.sst"), &bytes),
        kind,
        epoch: CheckpointId(epoch),
        worker: WorkerIndex(0),
        key_groups: KeyGroupRange::new(0, 128),
        entries: 10 * epoch,
        file_bytes: bytes.len() as u64,
    }
}

fn subtask(operator: &str, subtask: u32, trigger_us: i64, delays: [u64; 5], bytes: u64) -> SubtaskTimeline {
    let [start, align, sync, asynchronous, upload] = delays;
    let first = trigger_us + start as i64;
    SubtaskTimeline {
        operator: OperatorId::from(operator),
        subtask: SubtaskIndex(subtask),
        trigger_at_us: trigger_us,
        alignment_start_us: first,
        alignment_end_us: first + align as i64,
        sync_us: sync,
        async_us: asynchronous,
        upload_us: upload,
        end_us: first + (align + sync + asynchronous) as i64,
        bytes,
    }
}

pub(super) fn manifest(id: u64, kind: ManifestKind) -> Manifest {
    let triggered = START + 10_000 * (id as i64 - 1);
    let chain: Vec<RunRef> = match id {
        3 => vec![run(2, RunKind::Base), run(3, RunKind::Run)],
        id => (1..=id).map(|epoch| run(epoch, RunKind::Run)).collect(),
    };
    Manifest {
        format: Manifest::FORMAT,
        job_id: JobId::from("0123abcd"),
        checkpoint: CheckpointId(id),
        generation: Generation(2),
        kind,
        max_parallelism: MaxParallelism::new(128).unwrap(),
        parallelism: 2,
        operators: vec![OperatorSnapshot {
            operator: OperatorId::from("count"),
            parallelism: 2,
            watermarks: vec![Some(1), None],
            stateful: true,
            records_in: 100 * id,
            records_out: 100 * id,
        }],
        splits: vec![SplitPosition {
            operator: OperatorId::from("bids"),
            split: "bids/1-0".to_owned(),
            position: Some(json!({"event": 100 * id})),
            watermark: Some(5),
            finished: false,
        }],
        states: vec![StateInfo {
            id: StateId(1),
            operator: OperatorId::from("count"),
            name: "value".to_owned(),
            kind: StateKind::Reducing,
            key_type: "u64".to_owned(),
            value_type: "u64".to_owned(),
            user_key_type: None,
            version: 1,
        }],
        bytes_full: chain.iter().map(|run| run.object.length).sum(),
        bytes_incremental: chain.last().map_or(0, |run| run.object.length),
        chain,
        sinks: vec![SinkHandle {
            operator: OperatorId::from("out"),
            subtask: SubtaskIndex(0),
            epoch: CheckpointId(id),
            payload: json!({"file": "part-0"}),
        }],
        timeline: vec![
            subtask("bids", 0, triggered * 1000, [350, 0, 42, 800, 0], 120),
            subtask("bids", 1, triggered * 1000, [410, 0, 38, 760, 0], 120),
            subtask("count", 0, triggered * 1000, [1_900, 2_600, 310, 38_000, 21_000], 524_288),
            subtask("count", 1, triggered * 1000, [2_100, 1_200, 275, 41_500, 23_000], 540_672),
        ],
        triggered_at: Millis(triggered),
        completed_at: Millis(triggered + 46),
    }
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Vec<u8>) {
    store.put(key, Bytes::from(bytes)).await.unwrap();
}

/// The store, and the job's root in it.
pub(super) async fn job() -> (MemoryStore, JobRoot) {
    let store = MemoryStore::new();
    let job = prefixed(Arc::new(store.clone()), PREFIX);
    let mut head =
        Head::new(JobId::from("0123abcd"), Owner::local(), JobRevision { number: 1, hash: "feed".to_owned() });
    head.generation = Generation(2);
    let claim = EntryKind::Claim { owner: Owner::local(), restored_from: RestorePoint::Empty, adopted_from: None };
    write_entry(&*job, 1, claim, &head).await;
    for id in 1..=3 {
        put(&*job, &format!("runs/g2/0/{id}.sst"), run_bytes(id)).await;
        let manifest = manifest(id, ManifestKind::Checkpoint);
        let key = layout::manifest_key(manifest.checkpoint, manifest.generation);
        let bytes = manifest.encode();
        head.complete(CheckpointEntry {
            id: manifest.checkpoint,
            generation: manifest.generation,
            kind: manifest.kind,
            manifest: ObjectRef::of(&key, &bytes),
            triggered_at: manifest.triggered_at,
            completed_at: manifest.completed_at,
            bytes_full: manifest.bytes_full,
            bytes_incremental: manifest.bytes_incremental,
        });
        put(&*job, &key, bytes).await;
        write_entry(&*job, id + 1, EntryKind::Checkpoint { checkpoint: CheckpointId(id) }, &head).await;
        head.pending_commits.clear();
    }
    put(&*job, "runs/g1/0/old.sst", vec![1; 77]).await;
    put(&*job, "runs/g2/0/4.sst", vec![2; 55]).await;
    let savepoint = manifest(2, ManifestKind::Savepoint);
    for run in &savepoint.chain {
        let bytes = run_bytes(run.epoch.0);
        put(&*job, &format!("{}{}", layout::savepoint_prefix("before"), run.object.key), bytes).await;
    }
    put(&*job, &layout::savepoint_manifest_key("before"), savepoint.encode()).await;
    let root = JobRoot { store: job, uri: format!("memory:/{PREFIX}") };
    (store, root)
}

async fn write_entry(store: &dyn ObjectStore, sequence: u64, kind: EntryKind, head: &Head) {
    let entry = JournalEntry {
        format: JournalEntry::FORMAT,
        sequence: Sequence(sequence),
        attempt: AttemptId(format!("attempt-{sequence}")),
        written_at: Millis(START + 10_000 * sequence as i64),
        kind,
        head: head.clone(),
    };
    put(store, &entry.key(), entry.encode()).await;
}

/// Replaces an object behind the store's back.
pub(super) async fn overwrite(root: &JobRoot, key: &str, bytes: Vec<u8>) {
    root.store.delete(&[key.to_owned()]).await.unwrap();
    put(&*root.store, key, bytes).await;
}
