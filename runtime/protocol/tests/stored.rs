//! The stored formats: golden files, and the detection of every truncation and every flipped bit.
//!
//! The files stand in `tests/golden/protocol`. A format that changes needs a new number and a new file beside the old
//! one; the old file is never edited. `WEIR_WRITE_GOLDEN=1 cargo test -p weir-protocol --test stored` writes missing files.

#![expect(clippy::disallowed_methods, reason = "the test reads and writes the golden files")]

use std::path::{Path, PathBuf};

use weir_protocol::journal::{
    AttemptId, CheckpointEntry, DeleteDecision, EntryKind, Head, JobRevision, JobStatus, JournalEntry, Owner,
    PendingSavepoint, RestorePoint, RestoreRecord, resolve_delete,
};
use weir_protocol::layout;
use weir_protocol::stored::{StoredError, verify};
use weir_protocol::{
    CheckpointId, Generation, JobId, KeyGroupRange, Manifest, ManifestKind, MaxParallelism, Millis, ObjectRef,
    OperatorId, OperatorSnapshot, RunKind, RunRef, Sequence, SinkHandle, SplitPosition, StateId, StateInfo, StateKind,
    SubtaskIndex, SubtaskTimeline, WorkerIndex,
};

fn run(epoch: u64, worker: u32, kind: RunKind, key_groups: KeyGroupRange) -> RunRef {
    let name = if kind == RunKind::Base { "base" } else { "run" };
    let key = format!("{}{name}-{epoch}.sst", layout::runs_prefix(Generation(3), WorkerIndex(worker)));
    RunRef {
        object: ObjectRef { key, length: 4_096, crc32c: 0x1234_5678 },
        kind,
        epoch: CheckpointId(epoch),
        worker: WorkerIndex(worker),
        key_groups,
        entries: 100,
        file_bytes: 4_096,
    }
}

/// A manifest in which every field says something.
fn manifest() -> Manifest {
    let state = |id: u16, name: &str, kind: StateKind, user_key: Option<&str>| StateInfo {
        id: StateId(id),
        operator: OperatorId::from("count-per-auction"),
        name: name.into(),
        kind,
        key_type: "u64".into(),
        value_type: "(u64, String)".into(),
        user_key_type: user_key.map(Into::into),
        version: 2,
    };
    Manifest {
        format: 1,
        job_id: JobId::from("j-5f0c"),
        checkpoint: CheckpointId(17),
        generation: Generation(3),
        kind: ManifestKind::Checkpoint,
        max_parallelism: MaxParallelism::new(128).expect("128 is allowed"),
        parallelism: 2,
        operators: vec![
            OperatorSnapshot {
                operator: OperatorId::from("bids"),
                parallelism: 1,
                watermarks: vec![None],
                stateful: false,
                records_in: 0,
                records_out: 2_000,
            },
            OperatorSnapshot {
                operator: OperatorId::from("count-per-auction"),
                parallelism: 2,
                watermarks: vec![Some(1_700_000_000_000), None],
                stateful: true,
                records_in: 2_000,
                records_out: 12,
            },
        ],
        splits: vec![
            SplitPosition {
                operator: OperatorId::from("bids"),
                split: "part-0.jsonl".into(),
                position: Some(serde_json::json!({"offset": 81_920, "line": 2_000})),
                watermark: Some(1_700_000_000_500),
                finished: false,
            },
            SplitPosition {
                operator: OperatorId::from("bids"),
                split: "part-1 \"ü\".jsonl".into(),
                position: None,
                watermark: None,
                finished: false,
            },
        ],
        states: vec![
            state(1, "count", StateKind::Value, None),
            state(2, "recent", StateKind::List, None),
            state(3, "by-bidder", StateKind::Map, Some("u64")),
            state(4, "sum", StateKind::Reducing, None),
            state(5, "average", StateKind::Aggregating, None),
            state(6, "timers", StateKind::Timers, None),
            state(7, "rules", StateKind::Broadcast, Some("String")),
        ],
        chain: vec![
            run(15, 0, RunKind::Base, KeyGroupRange::new(0, 64)),
            run(16, 1, RunKind::Run, KeyGroupRange::new(64, 128)),
            run(17, 0, RunKind::Run, KeyGroupRange::new(0, 64)),
            run(17, 1, RunKind::Run, KeyGroupRange::BROADCAST),
        ],
        sinks: vec![SinkHandle {
            operator: OperatorId::from("out"),
            subtask: SubtaskIndex(1),
            epoch: CheckpointId(16),
            payload: serde_json::json!({"hidden": ".out-16", "name": "out-16.jsonl"}),
        }],
        timeline: vec![SubtaskTimeline {
            operator: OperatorId::from("bids"),
            subtask: SubtaskIndex(0),
            trigger_at_us: 1_700_000_000_000_000,
            alignment_start_us: 1_700_000_000_000_100,
            alignment_end_us: 1_700_000_000_000_150,
            sync_us: 12,
            async_us: 40_000,
            upload_us: 30_000,
            end_us: 1_700_000_000_040_162,
            bytes: 4_096,
        }],
        triggered_at: Millis(1_700_000_000_000),
        completed_at: Millis(1_700_000_000_041),
        bytes_full: 16_384,
        bytes_incremental: 8_192,
    }
}

fn checkpoint(id: u64, kind: ManifestKind) -> CheckpointEntry {
    CheckpointEntry {
        id: CheckpointId(id),
        generation: Generation(3),
        kind,
        manifest: ObjectRef {
            key: layout::manifest_key(CheckpointId(id), Generation(3)),
            length: 2_345,
            crc32c: 0xdead_beef,
        },
        triggered_at: Millis(1_700_000_000_000),
        completed_at: Millis(1_700_000_000_041),
        bytes_full: 16_384,
        bytes_incremental: 8_192,
    }
}

fn head() -> Head {
    let owner = Owner("3a2b-uid".into());
    let mut head = Head::new(JobId::from("j-5f0c"), owner, JobRevision { number: 4, hash: "9f31".into() });
    head.displaced = vec![Owner::local()];
    head.generation = Generation(3);
    for (id, kind) in [(15, ManifestKind::Savepoint), (16, ManifestKind::Final), (17, ManifestKind::Checkpoint)] {
        head.complete(checkpoint(id, kind));
    }
    head.consumed_restore = Some(RestoreRecord("{\"empty\":true}".into()));
    head.reserved_ids = CheckpointId(21);
    head.pending_commits = vec![CheckpointId(17)];
    head.savepoints = vec![PendingSavepoint { name: "before-upgrade".into(), checkpoint: CheckpointId(15) }];
    head.trimmed_below = Sequence(12);
    head
}

fn entry(kind: EntryKind, status: JobStatus) -> JournalEntry {
    let mut head = head();
    head.status = status;
    head.consumed_before = vec![RestoreRecord("{\"checkpoint\":{\"allowDuplicates\":true,\"id\":3}}".into())];
    JournalEntry {
        format: 2,
        sequence: Sequence(42),
        attempt: AttemptId("c0ffee00c0ffee00-9".into()),
        written_at: Millis(1_700_000_000_050),
        kind,
        head,
    }
}

/// What a deletion leaves.
fn deleted() -> JournalEntry {
    let found = entry(EntryKind::Stopped, JobStatus::Stopped);
    let decision = resolve_delete(Some(&found.head), &found.head.owner, JobId::from("unused"));
    let DeleteDecision::Bury { kind, head } = decision else { panic!("{decision:?}") };
    JournalEntry { kind, head: *head, ..found }
}

/// The entry as it stands in a journal that an older version wrote.
fn of_format_1(entry: &JournalEntry) -> JournalEntry {
    let mut older = JournalEntry { format: 1, ..entry.clone() };
    JournalEntry::fit_format(1, &mut older.head);
    older
}

fn entries() -> Vec<(&'static str, JournalEntry)> {
    let restored_from = RestorePoint::Imported {
        source: "s3://weir/jobs/a/b/savepoints/s".into(),
        manifest: ObjectRef { key: "manifest.json".into(), length: 99, crc32c: 7 },
        checkpoint: CheckpointId(9),
    };
    let owner = Owner("3a2b-uid".into());
    let claim = EntryKind::Claim { owner, restored_from, adopted_from: Some(Owner::local()) };
    let savepoint = EntryKind::Savepoint { name: "before-upgrade".into(), checkpoint: CheckpointId(15) };
    let reason = "operator count: boom".to_owned();
    let running = JobStatus::Running;
    vec![
        ("claim", entry(claim, running.clone())),
        ("checkpoint", entry(EntryKind::Checkpoint { checkpoint: CheckpointId(17) }, running.clone())),
        ("savepoint", entry(savepoint, running.clone())),
        ("reserve", entry(EntryKind::Reserve, running.clone())),
        ("retire", entry(EntryKind::Retire, running)),
        ("stopped", entry(EntryKind::Stopped, JobStatus::Stopped)),
        ("finished", entry(EntryKind::Finished, JobStatus::Finished)),
        ("failed", entry(EntryKind::Failed { reason: reason.clone() }, JobStatus::Failed { reason })),
        ("deleted", deleted()),
    ]
}

fn golden(name: &str) -> PathBuf {
    Path::new("../../tests/golden/protocol").join(name)
}

/// Holds bytes against a golden file.
fn check_golden(name: &str, bytes: &[u8]) {
    let path = golden(name);
    if !path.exists() && std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).expect("the golden directory can be written");
    }
    let expected = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (found, expected) = (String::from_utf8_lossy(bytes), String::from_utf8_lossy(&expected));
    assert_eq!(found, expected, "{name} is not what is stored in the field: a change needs a new format number");
}

#[test]
fn manifests_are_written_and_read_as_in_the_golden_file() {
    check_golden("manifest-1.json", &manifest().encode());
    let stored = std::fs::read(golden("manifest-1.json")).expect("just compared");
    assert_eq!(Manifest::decode("m", &stored).expect("it is intact"), manifest());
}

#[test]
fn journal_entries_are_written_and_read_as_in_the_golden_files() {
    for (name, entry) in entries() {
        let since = if entry.kind == EntryKind::Deleted { 2 } else { 1 };
        for entry in [of_format_1(&entry), entry].into_iter().filter(|entry| entry.format >= since) {
            let name = format!("journal-{name}-{}.json", entry.format);
            check_golden(&name, &entry.encode());
            let stored = std::fs::read(golden(&name)).expect("just compared");
            assert_eq!(JournalEntry::decode(Sequence(42), &stored).expect("it is intact"), entry);
        }
    }
}

/// Every way to cut it short, and every bit turned over, is an error that names the object.
fn check_damage<T>(key: &str, bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, StoredError>) -> usize {
    let mut cases = 0;
    let mut refuse = |damaged: &[u8], what: &str| {
        let error = decode(damaged).err().unwrap_or_else(|| panic!("{key}: {what} goes unnoticed"));
        assert_eq!(error.key(), key, "{what}");
        assert!(error.to_string().contains(key), "{what}: {error}");
        cases += 1;
    };
    for length in 0..bytes.len() {
        refuse(&bytes[..length], &format!("cut to {length} bytes"));
    }
    let mut damaged = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        damaged[bit / 8] ^= 1 << (bit % 8);
        refuse(&damaged, &format!("bit {bit} turned over"));
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    damaged.push(b'\n');
    refuse(&damaged, "a byte appended");
    cases
}

#[test]
fn every_truncation_and_every_flipped_bit_of_a_manifest_is_detected_and_names_it() {
    let (bytes, key) = (manifest().encode(), layout::manifest_key(CheckpointId(17), Generation(3)));
    let cases = check_damage(&key, &bytes, |bytes| Manifest::decode(&key, bytes));
    println!("{cases} damaged manifests");
    let object = ObjectRef::of(key.clone(), &bytes);
    check_damage(&key, &bytes, |bytes| verify(&object, bytes));
}

#[test]
fn every_truncation_and_every_flipped_bit_of_a_journal_entry_is_detected_and_names_it() {
    let mut cases = 0;
    for (_, entry) in entries() {
        cases += check_damage(&entry.key(), &entry.encode(), |bytes| JournalEntry::decode(Sequence(42), bytes));
    }
    println!("{cases} damaged journal entries");
}

/// Edits the text of a record and seals it again, as another version would have written it.
fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).expect("records are text");
    let (content, _) = text.split_once('\n').expect("records have a seal");
    assert!(content.contains(from), "{from} is not in {content}");
    let content = format!("{}\n", content.replacen(from, to, 1));
    let seal = format!("{{\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(content.as_bytes()));
    format!("{content}{seal}").into_bytes()
}

#[test]
fn other_formats_and_contradictions_are_refused_and_named() {
    let bytes = manifest().encode();
    let refusal = |from: &str, to: &str| {
        let error = Manifest::decode("manifests/m.json", &edited(&bytes, from, to)).expect_err("it must be refused");
        std::error::Error::source(&error).map_or(error.to_string(), |source| format!("{error}: {source}"))
    };
    let cases = [
        ("\"format\":1", "\"format\":2", "manifests/m.json: format 2 is not known to this version, which reads 1 to 1"),
        ("\"checkpoint\":17", "\"checkpoint\":16", "follows 16 in checkpoint 16"),
        ("\"max_parallelism\":128", "\"max_parallelism\":0", "max parallelism 0 is out of bounds"),
        ("\"parallelism\":2", "\"parallelism\":2,\"extra\":1", "unknown field `extra`"),
        ("\"start\":64", "\"start\":128", "covers no key group"),
        ("\"id\":2", "\"id\":1", "state id 1 is given twice"),
        ("part-0.jsonl", "part-1 \\\"ü\\\".jsonl", "is named twice"),
        ("\"epoch\":16,\"payload\"", "\"epoch\":18,\"payload\"", "output of epoch 18 after the checkpoint"),
    ];
    for (from, to, expected) in cases {
        let found = refusal(from, to);
        assert!(found.starts_with("manifests/m.json: ") && found.contains(expected), "{found}");
    }
    let entry = entry(EntryKind::Reserve, JobStatus::Running).encode();
    let error = JournalEntry::decode(Sequence(41), &entry).expect_err("it is stored under another name");
    assert!(error.to_string().ends_with("contradicts itself: it says that it is entry 42"), "{error}");
    let error =
        JournalEntry::decode(Sequence(42), &edited(&entry, "\"pending_commits\":[17]", "\"pending_commits\":[18]"));
    assert!(error.expect_err("18 does not exist").to_string().contains("checkpoint 18 is needed, but not retained"));
    let error = JournalEntry::decode(Sequence(42), &edited(&entry, "\"format\":2", "\"format\":1"));
    assert!(error.expect_err("1 is older").to_string().contains("format 1 knows no consumed_before"));
}
