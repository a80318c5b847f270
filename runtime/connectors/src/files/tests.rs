use std::fs;
use std::io::Write;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tempfile::TempDir;
use weir_engine::source::Progress;

use super::*;
use crate::format::{Csv, CsvRows, JsonLines, TextLines};

/// A directory with these files.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn read_to_end<T>(reader: &mut dyn SplitReader<Item = T>, max: usize) -> Result<Vec<T>, ConnectorError> {
    let mut records = Vec::new();
    while reader.read(max, &mut records)? != Progress::End {}
    Ok(records)
}

fn read<T: Record>(source: &FileSource<T>, split: &str, position: Option<&Position>) -> Result<Vec<T>, String> {
    let mut reader = source.open(&SplitId(split.into()), position).map_err(|error| error.to_string())?;
    read_to_end(&mut *reader, 3).map_err(|error| error.to_string())
}

/// The message without the directory's name.
fn error<T: Record + std::fmt::Debug>(
    directory: &TempDir,
    source: &FileSource<T>,
    split: &str,
    position: Option<&Position>,
) -> String {
    let message = read(source, split, position).unwrap_err();
    message.replace(&format!("{}/", directory.path().display()), "")
}

fn ids<T: Record>(source: &FileSource<T>) -> Vec<String> {
    source.discover().unwrap().into_iter().map(|split| split.0).collect()
}

#[test]
fn lines_end_with_or_without_carriage_return_and_the_last_one_at_the_end() {
    for (content, expected) in [
        (&b"a\nb\n"[..], &["a", "b"][..]),
        (b"a\r\nb", &["a", "b"]),
        (b"\xef\xbb\xbfa\n\n\xef\xbb\xbfb\n", &["a", "", "\u{feff}b"]),
        (b"\xef\xbb\xbf", &[]),
        (b"", &[]),
        (b"\n", &[""]),
        (b"a\rb\n\r\n", &["a\rb", ""]),
    ] {
        let files = directory(&[("a.txt", content), ("a.gz", &gzip(content)), ("a.zst", &zstd(content))]);
        for name in ["a.txt", "a.gz", "a.zst"] {
            let source = FileSource::new(files.path().join(name), TextLines);
            assert_eq!(ids(&source), [name]);
            assert_eq!(read(&source, name, None).unwrap(), expected, "{name}: {content:?}");
        }
    }
}

#[test]
fn concatenated_gzip_and_zstd_streams_are_one() {
    let both = |pack: fn(&[u8]) -> Vec<u8>| [pack(b"a\nb"), pack(b"c\nd\n")].concat();
    let files = directory(&[("a.gz", &both(gzip)), ("a.zst", &both(zstd)), ("plain", &both(gzip))]);
    let source = FileSource::new(files.path(), TextLines);
    assert_eq!(read(&source, "a.gz", None).unwrap(), ["a", "bc", "d"]);
    assert_eq!(read(&source, "a.zst", None).unwrap(), ["a", "bc", "d"]);
    let source = FileSource::new(files.path(), TextLines).compression(Compression::Gzip);
    assert_eq!(read(&source, "plain", None).unwrap(), ["a", "bc", "d"]);
}

#[test]
fn a_directory_is_listed_by_name_without_hidden_and_unfinished_files() {
    let files = directory(&[
        ("b.txt", b""),
        ("a.txt", b""),
        (".hidden", b""),
        ("_SUCCESS", b""),
        ("c.tmp", b""),
        ("c.inprogress", b""),
        ("below/d.txt", b"x\n"),
        (".below/e.txt", b""),
    ]);
    let source = FileSource::new(files.path(), TextLines);
    assert_eq!(ids(&source), ["a.txt", "b.txt"]);
    assert!(source.is_bounded() && source.discovery_interval().is_none());
    let source = FileSource::new(files.path(), TextLines).recursive().follow(Duration::from_secs(1));
    assert_eq!(ids(&source), ["a.txt", "b.txt", "below/d.txt"]);
    assert_eq!(read(&source, "below/d.txt", None).unwrap(), ["x"]);
    assert!(!source.is_bounded() && source.discovery_interval() == Some(Duration::from_secs(1)));
    fs::rename(files.path().join("c.tmp"), files.path().join("c.txt")).unwrap();
    assert_eq!(ids(&source), ["a.txt", "b.txt", "below/d.txt", "c.txt"]);
}

#[test]
fn a_list_is_read_as_given() {
    let files = directory(&[("b", b"1\n"), ("a", b"2\n")]);
    let paths = ["b", "a"].map(|name| files.path().join(name));
    let source = FileSource::list(paths.clone(), TextLines);
    assert_eq!(ids(&source), paths.clone().map(|path| path.display().to_string()));
    assert_eq!(read(&source, paths[1].to_str().unwrap(), None).unwrap(), ["2"]);
    assert_eq!(error(&files, &source, "a", None), "split a is not among the files of this source");
    let twice = FileSource::list([&paths[0], &paths[0]], TextLines).discover().unwrap_err();
    assert!(twice.message.ends_with("b is named twice in the list of files"), "{twice}");
    let missing = FileSource::list([files.path().join("c")], TextLines).discover().unwrap_err();
    assert!(missing.message.ends_with("c does not exist; create it, or correct the path"), "{missing}");
}

#[test]
fn what_a_checkpoint_stores_is_fixed() {
    let files = directory(&[("a.txt", b"one\ntwo\nthree\n")]);
    let source = FileSource::new(files.path(), TextLines);
    let mut reader = source.open(&SplitId("a.txt".into()), None).unwrap();
    assert_eq!(reader.position(), json!({"offset": 0, "line": 1, "length": 14}));
    reader.read(2, &mut Vec::new()).unwrap();
    assert_eq!(reader.position(), json!({"offset": 8, "line": 3, "length": 14}));
    assert_eq!(reader.lag(), Some(6));
    assert_eq!(read(&source, "a.txt", Some(&json!({"offset": 8, "line": 3, "length": 14}))).unwrap(), ["three"]);
    let message = error(&files, &source, "a.txt", Some(&json!({"offset": 8, "at": 3})));
    assert_eq!(message, r#"position {"at":3,"offset":8} does not belong to split a.txt"#);
}

#[test]
fn a_bad_record_fails_with_its_file_line_and_text_after_the_records_before_it() {
    let long = "x".repeat(1000);
    let files = directory(&[("a.jsonl", format!("1\n2\n\n{long}\n4\n").as_bytes())]);
    let source = FileSource::new(files.path(), JsonLines::<u32>::new());
    let mut reader = source.open(&SplitId("a.jsonl".into()), None).unwrap();
    let mut records = Vec::new();
    assert_eq!(reader.read(10, &mut records).unwrap(), Progress::Ready);
    assert_eq!(records, [1, 2]);
    let expected = format!("a.jsonl:4: expected value (column 1): \"{}…\"", &long[..120]);
    for _ in 0..2 {
        let error = reader.read(10, &mut records).unwrap_err();
        assert!(error.message.ends_with(&expected) && !error.transient, "{error}");
    }
    assert_eq!(reader.position(), json!({"offset": 5, "line": 4, "length": 1008}));
}

#[test]
fn bad_records_can_be_left_out_and_are_counted() {
    let files = directory(&[("a", b"1\nx\n\xff\n2\n99999999999\n3")]);
    let source = FileSource::new(files.path(), JsonLines::<u32>::new()).on_error(OnError::Skip);
    assert_eq!(read(&source, "a", None).unwrap(), [1, 2, 3]);
    assert_eq!(source.skipped().load(Ordering::Relaxed), 3);
}

#[test]
fn a_line_longer_than_allowed_is_refused_or_left_out_without_being_held() {
    let huge = vec![b'x'; 3_000_000];
    let content = [b"a\n", &huge[..], b"\nb\nccccc\ndddddd\n", &huge[..]].concat();
    let files = directory(&[("a.txt", &content), ("a.gz", &gzip(&content))]);
    for name in ["a.txt", "a.gz"] {
        let source = FileSource::new(files.path(), TextLines).max_line_bytes(5);
        let message = error(&files, &source, name, None);
        let shown = "x".repeat(120);
        assert_eq!(message, format!("{name}:2: longer than 5 bytes (the source's max_line_bytes): \"{shown}…\""));
        let source = source.on_error(OnError::Skip);
        assert_eq!(read(&source, name, None).unwrap(), ["a", "b", "ccccc"]);
        assert_eq!(source.skipped().load(Ordering::Relaxed), 3);
    }
}

#[test]
fn a_file_that_changed_since_the_checkpoint_is_refused() {
    let files = directory(&[("a.txt", b"one\ntwo\n"), ("a.gz", &gzip(b"one\ntwo\n"))]);
    let source = FileSource::new(files.path(), TextLines);
    let positions = ["a.txt", "a.gz"].map(|name| {
        let mut reader = source.open(&SplitId(name.into()), None).unwrap();
        reader.read(1, &mut Vec::new()).unwrap();
        reader.position()
    });
    fs::write(files.path().join("a.txt"), "one\ntw").unwrap();
    assert_eq!(
        error(&files, &source, "a.txt", Some(&positions[0])),
        "a.txt shrank from 8 to 6 bytes since the checkpoint; put the original back, or start without state"
    );
    let before = positions[1]["length"].as_u64().unwrap();
    let other = gzip(b"one\ntwo\nthree\n");
    fs::write(files.path().join("a.gz"), &other).unwrap();
    assert_eq!(
        error(&files, &source, "a.gz", Some(&positions[1])),
        format!(
            "a.gz changed from {before} to {} compressed bytes since the checkpoint; put the original back, or start \
             without state",
            other.len()
        )
    );
    let beyond = json!({"offset": 100, "line": 9, "length": other.len()});
    assert_eq!(
        error(&files, &source, "a.gz", Some(&beyond)),
        "a.gz unpacks to 14 bytes, and the checkpoint stands at byte 100; put the original back, or start without state"
    );
    fs::remove_file(files.path().join("a.txt")).unwrap();
    assert_eq!(
        error(&files, &source, "a.txt", Some(&positions[0])),
        "a.txt is gone, and the checkpoint stands at byte 4 of it; put it back, or start without state"
    );
    let alone = FileSource::new(files.path().join("a.txt"), TextLines);
    assert!(error(&files, &alone, "a.txt", Some(&positions[0])).starts_with("a.txt is gone"));
    assert!(error(&files, &alone, "a.txt", None).starts_with("a.txt does not exist"));
}

#[test]
fn a_file_that_grew_is_read_to_the_length_it_had() {
    let files = directory(&[("a.txt", b"one\ntwo\nthr")]);
    let source = FileSource::new(files.path(), TextLines);
    let mut reader = source.open(&SplitId("a.txt".into()), None).unwrap();
    reader.read(1, &mut Vec::new()).unwrap();
    fs::write(files.path().join("a.txt"), "one\ntwo\nthree\nfour\n").unwrap();
    assert_eq!(read(&source, "a.txt", Some(&reader.position())).unwrap(), ["two", "thr"]);
}

#[test]
fn damaged_and_cut_off_streams_are_named_with_their_file_after_what_could_be_read() {
    // Unordered digits, so that unpacked text comes out before the end of the packed bytes.
    let text: String = (0u64..100_000).map(|i| format!("{}\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    for (name, packed, compression) in
        [("a.gz", gzip(text.as_bytes()), "gzip"), ("a.zst", zstd(text.as_bytes()), "zstd")]
    {
        let mut flipped = packed.clone();
        flipped[packed.len() / 2] ^= 0x10;
        let (cut, short) = (&packed[..packed.len() / 2], &packed[..packed.len() - 1]);
        for (what, bytes) in [("cut", cut), ("short", short), ("stub", &packed[..5]), ("flipped", &flipped)] {
            let files = directory(&[(name, bytes)]);
            let source = FileSource::new(files.path(), TextLines);
            let mut reader = source.open(&SplitId(name.into()), None).unwrap();
            let mut records = Vec::new();
            let error = loop {
                match reader.read(1000, &mut records) {
                    Ok(Progress::End) => panic!("{what} {name} was read to an end after {} lines", records.len()),
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            let place = format!("{name}:{}: the {compression} data is damaged or cut off from here", records.len() + 1);
            assert!(error.message.ends_with(&place), "{what}: {error}");
            assert!(!error.transient && error.source.is_some());
            assert_eq!(reader.read(1000, &mut records).unwrap_err().message, error.message, "the failure stays");
            if what == "cut" {
                assert!((20_000..80_000).contains(&records.len()), "{} lines of {name}", records.len());
            }
            if what != "flipped" {
                assert!(records.iter().map(String::as_str).eq(text.lines().take(records.len())));
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    name: String,
    id: u64,
}

#[test]
fn csv_with_a_header_goes_on_in_the_middle() {
    let content = b"\xef\xbb\xbfid,name\n1,\"a\nb\"\n\n2,c\n3,\"d\"";
    let files = directory(&[("a.csv", content), ("a.csv.gz", &gzip(content)), ("b.csv", b"id,nam\n1,a\n")]);
    let source = FileSource::new(files.path(), Csv::<Row>::new().with_header());
    let row = |id, name: &str| Row { id, name: name.into() };
    let all = [row(1, "a\nb"), row(2, "c"), row(3, "d")];
    for name in ["a.csv", "a.csv.gz"] {
        assert_eq!(read(&source, name, None).unwrap(), all);
        let mut reader = source.open(&SplitId(name.into()), None).unwrap();
        assert_eq!(reader.position()["offset"], 0);
        assert_eq!(read(&source, name, Some(&reader.position())).unwrap(), all);
        reader.read(1, &mut Vec::new()).unwrap();
        assert_eq!(reader.position()["line"], 4);
        assert_eq!(read(&source, name, Some(&reader.position())).unwrap(), all[1..]);
    }
    assert_eq!(error(&files, &source, "b.csv", None), "b.csv:2: missing field `name`: \"1,a\"");
}

#[test]
fn a_wrong_header_is_refused_before_anything_is_read() {
    let files = directory(&[(
        "a.csv",
        b"auction,bidder
1,2
",
    )]);
    let source = FileSource::new(files.path(), CsvRows::<crate::nexmark::Bid>::new().with_header());
    let Err(error) = source.open(&SplitId("a.csv".into()), None) else { panic!("the header was taken") };
    let expected = "a.csv:1: the header does not name the columns auction,bidder,price,channel,url,dateTime,extra: \
                    \"auction,bidder\"";
    assert!(error.message.ends_with(expected), "{error}");
}

#[test]
fn only_so_many_files_are_open_at_a_time() {
    let files = directory(&[("a", b"1\n2\n"), ("b", b"3\n"), ("c", b"4\n")]);
    let source = FileSource::new(files.path(), TextLines).open_files(2);
    let mut readers: Vec<_> =
        source.discover().unwrap().iter().map(|split| Some(source.open(split, None).unwrap())).collect();
    let mut lines = Vec::new();
    let mut waits = 0;
    let mut read = |index: usize, lines: &mut Vec<String>| {
        let Some(reader) = &mut readers[index] else { return };
        match reader.read(1, lines).unwrap() {
            Progress::Ready => {}
            Progress::WaitFor(_) => {
                waits += 1;
                assert_eq!(reader.position(), json!({"offset": 0, "line": 1, "length": 2}));
            }
            Progress::End => readers[index] = None,
        }
    };
    for index in [0, 1, 2, 0, 2, 1, 2, 0, 2] {
        read(index, &mut lines);
    }
    assert_eq!(lines, ["1", "3", "2", "4"]);
    assert_eq!(waits, 2);
    assert!(readers.iter().all(Option::is_none));
}

/// A source whose ranges may be smaller than users may have them.
fn ranged<T: Record>(path: &Path, format: impl Decode<Item = T>, bytes: u64) -> FileSource<T> {
    let mut source = FileSource::new(path, format);
    source.options.range_bytes = Some(bytes);
    source
}

#[test]
fn ranges_have_the_header_and_are_refused_under_another_size() {
    let files = directory(&[("a.csv", b"id,name\n1,a\n2,b\n3,c\n"), ("b.csv.gz", &gzip(b"name,id\nd,4\n"))]);
    let source = ranged(files.path(), Csv::<Row>::new().with_header(), 10);
    assert_eq!(ids(&source), ["a.csv@10-0", "a.csv@10-1", "b.csv.gz"]);
    let names = |split| read(&source, split, None).unwrap().into_iter().map(|row| row.name).collect::<String>();
    assert_eq!(["a.csv@10-0", "a.csv@10-1", "b.csv.gz"].map(names), ["a", "bc", "d"]);
    let other = ranged(files.path(), Csv::<Row>::new().with_header(), 11);
    assert_eq!(
        error(&files, &other, "a.csv@10-1", None),
        "split a.csv@10-1 is not a range of 11 bytes; the range size of a job with state cannot change"
    );
    fs::write(files.path().join("a.csv"), b"id,name\n1,a\n2,b\nx,c\n").unwrap();
    let message = error(&files, &source, "a.csv@10-1", None);
    assert_eq!(message, "a.csv at byte 16: field 1 (id) is \"x\": invalid digit found in string: \"x,c\"");
}

proptest! {
    #[test]
    fn readers_deliver_all_lines_from_wherever_they_are_opened(
        lines in prop::collection::vec("[a-c\u{e4}]{0,9}", 0..30), crlf in any::<bool>(), last in any::<bool>(),
        max in 1usize..8, range in 1u64..40, form in 0usize..3,
    ) {
        let mut text = lines.join(if crlf { "\r\n" } else { "\n" });
        if last && !lines.is_empty() {
            text.push('\n');
        }
        let expected: Vec<&str> = text.lines().collect();
        let (name, packed) = match form {
            0 => ("a.txt", text.clone().into_bytes()),
            1 => ("a.gz", gzip(text.as_bytes())),
            _ => ("a.zst", zstd(text.as_bytes())),
        };
        let files = directory(&[(name, &packed)]);
        for source in [FileSource::new(files.path(), TextLines), ranged(files.path(), TextLines, range)] {
            let mut all = Vec::new();
            for split in source.discover().unwrap() {
                let whole = read(&source, &split.0, None).unwrap();
                let mut reader = source.open(&split, None).unwrap();
                let mut head = Vec::new();
                let mut progress = Progress::Ready;
                loop {
                    let rest = read(&source, &split.0, Some(&reader.position())).unwrap();
                    prop_assert_eq!([head.clone(), rest].concat(), whole.clone());
                    if progress == Progress::End {
                        break;
                    }
                    progress = reader.read(max, &mut head).unwrap();
                }
                all.extend(whole);
            }
            prop_assert_eq!(all, expected.clone());
        }
    }

    #[test]
    fn line_numbers_and_offsets_survive_blocks_of_any_size(lengths in prop::collection::vec(0usize..300_000, 1..8)) {
        let lines: Vec<String> = lengths.iter().map(|&length| "y".repeat(length)).collect();
        let content = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + "\u{0}";
        let files = directory(&[("a", content.as_bytes())]);
        let source = FileSource::new(files.path(), TextLines);
        let mut reader = source.open(&SplitId("a".into()), None).unwrap();
        let mut found = Vec::new();
        reader.read(lines.len(), &mut found).unwrap();
        prop_assert_eq!(&found, &lines);
        let length = content.len();
        prop_assert_eq!(reader.position(), json!({"offset": length - 1, "line": lines.len() + 1, "length": length}));
    }
}
