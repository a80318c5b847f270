use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;
use weir_engine::batch::Batch;
use weir_engine::sink::{Handle, Prepare};
use weir_engine::source::{Progress, Source};
use weir_protocol::CheckpointId;

use super::*;
use crate::files::FileSource;
use crate::format::{FormatError, Lines as LinesOf, TextLines};

pub(super) fn context(subtask: u32, generation: u64) -> SinkContext {
    SinkContext { job_id: "job".into(), operator: "out".into(), subtask, parallelism: 2, generation, restored_epoch: 0 }
}

/// Visible files and their lines, read as any reader would.
pub(super) fn visible(directory: &Path) -> BTreeMap<String, Vec<String>> {
    let source = FileSource::new(directory, TextLines);
    let lines = |split| {
        let mut lines = Vec::new();
        let mut reader = source.open(split, None).unwrap();
        while reader.read(100, &mut lines).unwrap() != Progress::End {}
        lines
    };
    source.discover().unwrap().iter().map(|split| (split.0.clone(), lines(split))).collect()
}

pub(super) fn hidden(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut hidden: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    hidden.sort();
    hidden
}

/// Writes an epoch of numbers and freezes it.
fn freeze(sink: &FileSink<u64>, ctx: &SinkContext, epoch: u64, numbers: std::ops::Range<u64>) -> Box<dyn Prepare> {
    let mut writer = sink.open(ctx).unwrap();
    writer.write(&mut Batch::untimed(numbers.collect())).unwrap();
    writer.freeze(CheckpointId(epoch)).unwrap().expect("there are records")
}

fn prepare(sink: &FileSink<u64>, ctx: &SinkContext, epoch: u64, numbers: std::ops::Range<u64>) -> Vec<Handle> {
    freeze(sink, ctx, epoch, numbers).prepare().unwrap()
}

fn commit(sink: &FileSink<u64>, handle: &Handle) -> Result<(), String> {
    sink.committer().unwrap().commit(handle).map_err(|error| error.to_string())
}

fn sink(directory: &TempDir) -> FileSink<u64> {
    FileSink::json_lines(directory.path().join("out"))
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn what_a_checkpoint_stores_is_fixed_and_committed_under_its_final_name() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(&directory);
    let handles = prepare(&sink, &context(1, 3), 7, 0..3);
    let out = directory.path().join("out");
    let expected = json!({
        "format": 1,
        "directory": out.to_str().unwrap(),
        "hidden": ".weir-a8cb4167536acdd9-out-1-g3-0.inprogress",
        "final": "out-0000000007-1.jsonl",
        "bytes": 6,
        "crc32c": crc32c::crc32c(b"0\n1\n2\n"),
        "records": 3,
    });
    assert_eq!(handles, std::slice::from_ref(&expected));
    assert!(visible(&out).is_empty());
    for _ in 0..3 {
        commit(&sink, &expected).unwrap();
        assert_eq!(visible(&out), BTreeMap::from([("out-0000000007-1.jsonl".into(), texts(0..3))]));
        assert!(hidden(&out).is_empty());
    }
}

#[test]
fn an_epoch_without_records_has_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = sink(&directory).open(&context(0, 1)).unwrap();
    assert!(writer.freeze(CheckpointId(1)).unwrap().is_none());
    writer.write(&mut Batch::untimed(vec![1])).unwrap();
    assert!(writer.freeze(CheckpointId(2)).unwrap().is_some());
    assert!(writer.freeze(CheckpointId(3)).unwrap().is_none());
    assert_eq!(hidden(&directory.path().join("out")).len(), 1);
}

#[test]
fn preparing_twice_gives_the_same_handles() {
    let directory = tempfile::tempdir().unwrap();
    let mut frozen = freeze(&sink(&directory), &context(0, 1), 1, 0..10);
    assert_eq!(frozen.prepare().unwrap(), frozen.prepare().unwrap());
}

#[test]
fn large_epochs_go_to_several_files_in_every_compression() {
    for (compression, suffix) in [(Compression::None, ""), (Compression::Gzip, ".gz"), (Compression::Zstd, ".zst")] {
        let directory = tempfile::tempdir().unwrap();
        let sink = sink(&directory).compression(compression).roll_bytes(1).buffer_bytes(1000);
        let handles = prepare(&sink, &context(0, 1), 1, 0..200_000);
        assert!((2..30).contains(&handles.len()), "{} files {compression}", handles.len());
        let records: u64 = handles.iter().map(|handle| handle["records"].as_u64().unwrap()).sum();
        assert_eq!(records, 200_000);
        for handle in &handles {
            commit(&sink, handle).unwrap();
        }
        let files = visible(sink.directory());
        let name = |part| match part {
            0 => format!("out-0000000001-0.jsonl{suffix}"),
            _ => format!("out-0000000001-0_{part:04}.jsonl{suffix}"),
        };
        let lines: Vec<String> = (0..handles.len()).flat_map(|part| files[&name(part)].clone()).collect();
        assert_eq!(lines, texts(0..200_000));
        for handle in &handles {
            let bytes = fs::read(sink.directory().join(handle["final"].as_str().unwrap())).unwrap();
            assert_eq!((handle["bytes"].as_u64().unwrap(), handle["crc32c"].as_u64().unwrap()), {
                (bytes.len() as u64, u64::from(crc32c::crc32c(&bytes)))
            });
        }
    }
}

#[test]
fn very_many_files_of_one_epoch_are_not_all_open_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(&directory);
    Arc::make_mut(&mut sink.settings).roll_bytes = 100;
    let handles = prepare(&sink, &context(0, 1), 1, 0..25_600);
    assert_eq!(handles.len(), 100);
    for handle in &handles {
        commit(&sink, handle).unwrap();
    }
    let mut lines: Vec<String> = visible(sink.directory()).into_values().flatten().collect();
    lines.sort_by_key(|line| line.parse::<u64>().unwrap());
    assert_eq!(lines, texts(0..25_600));
}

#[test]
fn a_header_opens_every_file() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Row {
        id: u64,
    }
    let directory = tempfile::tempdir().unwrap();
    let mut sink = FileSink::<Row>::new(directory.path(), Csv::new().with_header());
    Arc::make_mut(&mut sink.settings).roll_bytes = 1000;
    let mut writer = sink.open(&context(0, 1)).unwrap();
    writer.write(&mut Batch::untimed((0..1000).map(|id| Row { id }).collect())).unwrap();
    let handles = writer.freeze(CheckpointId(1)).unwrap().unwrap().prepare().unwrap();
    for handle in &handles {
        sink.committer().unwrap().commit(handle).unwrap();
    }
    let files = visible(directory.path());
    assert!(files.len() > 1 && files.len() == handles.len());
    for (handle, lines) in handles.iter().zip(files.values()) {
        assert_eq!(lines[0], "id");
        assert_eq!(lines.len() as u64, handle["records"].as_u64().unwrap() + 1);
        assert_eq!(lines.iter().filter(|line| *line == "id").count(), 1);
    }
}

#[test]
fn a_record_that_cannot_be_encoded_leaves_no_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let sink = FileSink::<(u64, String)>::new(
        directory.path(),
        LinesOf::new("tsv", |(id, name): &(u64, String), out: &mut Vec<u8>| {
            if name.is_empty() {
                return Err(FormatError::new("a name is empty"));
            }
            out.extend_from_slice(format!("{id}\t{name}").as_bytes());
            Ok(())
        }),
    );
    let mut writer = sink.open(&context(0, 1)).unwrap();
    writer.write(&mut Batch::untimed(vec![(1, "a".into())])).unwrap();
    let mut bad = Batch { records: vec![(2, "b".into()), (3, String::new())], times: vec![5, 6] };
    let error = writer.write(&mut bad).unwrap_err();
    assert_eq!(error.message, "cannot encode a record as tsv: a name is empty");
    assert_eq!(bad.len(), 2, "nothing of the chunk was taken");
    let handles = writer.freeze(CheckpointId(1)).unwrap().unwrap().prepare().unwrap();
    assert_eq!(handles[0]["bytes"], 4);
}

#[test]
fn a_failed_write_leaves_the_rest_of_the_batch_to_be_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut sink = sink(&directory).buffer_bytes(0);
    Arc::make_mut(&mut sink.settings).roll_bytes = 2000;
    let mut writer = sink.open(&context(0, 1)).unwrap();
    let mut batch = Batch { records: (0..2000).collect(), times: (0..2000).collect() };
    // A file in the way of the directory: the first file stays open, the second cannot be created.
    writer.write(&mut Batch::untimed(vec![0])).unwrap();
    let (out, aside) = (directory.path().join("out"), directory.path().join("aside"));
    fs::rename(&out, &aside).unwrap();
    assert!(writer.write(&mut batch).is_err());
    assert!(batch.len() < 2000 && !batch.is_empty());
    assert_eq!(batch.records[0].cast_signed(), batch.times[0]);
    fs::rename(&aside, &out).unwrap();
    writer.write(&mut batch).unwrap();
    for handle in writer.freeze(CheckpointId(1)).unwrap().unwrap().prepare().unwrap() {
        commit(&sink, &handle).unwrap();
    }
    let mut numbers: Vec<u64> = visible(&out).values().flatten().map(|line| line.parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, std::iter::once(0).chain(0..2000).collect::<Vec<_>>());
}

#[test]
fn a_commit_whose_files_are_not_as_the_checkpoint_says_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(&directory);
    let out = directory.path().join("out");
    let handle = &prepare(&sink, &context(0, 1), 1, 0..5)[0];
    let hidden = out.join(handle["hidden"].as_str().unwrap());
    let target = out.join("out-0000000001-0.jsonl");
    let content = fs::read(&hidden).unwrap();

    fs::write(&hidden, "0\n1\n").unwrap();
    let torn = format!("{} has 4 bytes, the checkpoint says 10: the output is damaged", hidden.display());
    assert_eq!(commit(&sink, handle).unwrap_err(), torn);

    fs::write(&target, "4\n3\n2\n1\n0\n").unwrap();
    let taken = format!(
        "{} exists with other content than {}: another job writes to this directory; give each job its own",
        target.display(),
        hidden.display()
    );
    assert_eq!(commit(&sink, handle).unwrap_err(), taken);
    fs::write(&target, &content).unwrap();
    commit(&sink, handle).unwrap();
    assert!(!hidden.exists() && target.exists());

    fs::write(&target, "0\n").unwrap();
    let other = format!("{} has 2 bytes, the checkpoint says 10: the output is damaged", target.display());
    assert_eq!(commit(&sink, handle).unwrap_err(), other);

    fs::remove_file(&target).unwrap();
    let gone = format!(
        "neither {} nor {} exists: a checkpoint's output is gone; put one of them back, or start without state",
        hidden.display(),
        target.display()
    );
    assert_eq!(commit(&sink, handle).unwrap_err(), gone);
}

#[test]
fn foreign_handles_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(&directory);
    let handle = prepare(&sink, &context(0, 1), 1, 0..5).remove(0);
    let with = |field: &str, value: Handle| {
        let mut handle = handle.clone();
        handle[field] = value;
        commit(&sink, &handle).unwrap_err()
    };
    assert!(with("format", json!(2)).ends_with("has format 2; this version knows 1"));
    assert!(with("final", json!("../x")).ends_with("names a file outside of its directory"));
    assert!(with("hidden", json!("")).ends_with("names a file outside of its directory"));
    assert!(with("more", json!(1)).ends_with("is not one of a file sink"));
    assert_eq!(commit(&sink, &json!({})).unwrap_err(), "handle {} is not one of a file sink");
    commit(&sink, &handle).unwrap();
}

#[test]
fn abort_removes_only_older_generations_hidden_files_that_no_handle_names() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(&directory);
    let out = directory.path().join("out");
    let kept = prepare(&sink, &context(0, 1), 1, 0..5);
    prepare(&sink, &context(1, 1), 1, 0..5);
    drop(freeze(&sink, &context(0, 2), 2, 0..5));
    prepare(&sink, &context(0, 3), 3, 0..5);
    let other = SinkContext { operator: "out-0".into(), ..context(0, 1) };
    prepare(&sink, &other, 1, 0..5);
    fs::write(out.join(".weir-something"), "").unwrap();
    let committer = sink.committer().unwrap();
    committer.abort_except(&context(0, 3), &kept).unwrap();
    let prefix = ".weir-a8cb4167536acdd9-out";
    assert_eq!(
        hidden(&out),
        [
            format!("{prefix}-0-0-g1-0.inprogress"),
            format!("{prefix}-0-g1-0.inprogress"),
            format!("{prefix}-0-g3-0.inprogress"),
            ".weir-something".into(),
        ]
    );
    let elsewhere = FileSink::<u64>::json_lines(directory.path().join("not/there")).committer().unwrap();
    elsewhere.abort_except(&context(0, 3), &[]).unwrap();
    assert!(committer.abort_except(&context(0, 3), &[json!("?")]).is_err());
}

#[test]
fn a_hidden_name_is_never_written_twice() {
    let directory = tempfile::tempdir().unwrap();
    let sink = sink(&directory);
    let first = prepare(&sink, &context(0, 1), 1, 0..5);
    let second = prepare(&sink, &context(0, 1), 2, 5..9);
    assert_ne!(first[0]["hidden"], second[0]["hidden"]);
    commit(&sink, &first[0]).unwrap();
    commit(&sink, &second[0]).unwrap();
    assert_eq!(visible(sink.directory()).into_values().flatten().collect::<Vec<_>>(), texts(0..9));
}

#[test]
fn a_target_that_cannot_be_written_is_refused_before_anything_runs() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::write(root.join("file"), "").unwrap();
    let check = |path: &Path| FileSink::<u64>::json_lines(path).check().map_err(|error| error.message);
    assert_eq!(check(root), Ok(()));
    assert_eq!(check(&root.join("a/b/c")), Ok(()));
    assert_eq!(fs::read_dir(root).unwrap().count(), 1, "a check leaves nothing behind");
    let file = root.join("file").display().to_string();
    assert_eq!(
        check(&root.join("file")).unwrap_err(),
        format!("{file} is not a directory; name a directory for the output")
    );
    assert_eq!(
        check(&root.join("file/a")).unwrap_err(),
        format!("cannot create directory {file}/a; create it, or name another directory for the output")
    );
    // Nobody may create files in /proc, not even root.
    assert_eq!(
        check(Path::new("/proc/weir/out")).unwrap_err(),
        "cannot create directory /proc/weir/out; create it, or name another directory for the output"
    );
    assert_eq!(
        check(Path::new("/proc")).unwrap_err(),
        "cannot write to directory /proc; make it writable, or name another directory for the output"
    );
}
