//! The oracle: reads what was committed, line by line, and compares it with the input. Knows nothing of Weir.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::input::{Books, Event, Input, Subject};

/// Complaints that are shown.
const SHOWN: usize = 12;

/// What was found.
#[derive(Debug, Default)]
pub struct Verdict {
    pub lines: u64,
    pub lost: u64,
    pub doubled: u64,
    pub torn: u64,
    /// Lines that say something else than they should, or about nothing there is.
    pub wrong: u64,
    /// Files that are still hidden.
    pub hidden: u64,
    complaints: Vec<String>,
}

impl Verdict {
    pub fn is_exact(&self) -> bool {
        (self.lost, self.doubled, self.torn, self.wrong, self.hidden) == (0, 0, 0, 0, 0)
    }

    fn complain(&mut self, text: impl FnOnce() -> String) {
        if self.complaints.len() < SHOWN {
            self.complaints.push(text());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lines, lost, doubled, torn, wrong, hidden, complaints } = self;
        write!(f, "{lines} lines: {lost} lost, {doubled} doubled, {torn} torn, {wrong} wrong, {hidden} hidden files")?;
        complaints.iter().try_for_each(|complaint| write!(f, "\n  {complaint}"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InWindow {
    kind: String,
    key: u32,
    start: i64,
    end: i64,
    count: u64,
    sum: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Closed {
    kind: String,
    key: u32,
    at: i64,
    count: u64,
    sum: i64,
    ids: u64,
}

/// Visible and hidden files of a directory, in order. A directory that is not there holds none.
pub fn files(directory: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return Default::default() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().partition(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

/// The directories that the job writes to.
pub const SINKS: [&str; 3] = ["ids", "windows", "timers"];

fn lines<T: DeserializeOwned>(directory: &Path, verdict: &mut Verdict, mut each: impl FnMut(T, &Path, &mut Verdict)) {
    let (visible, hidden) = files(directory);
    verdict.hidden += hidden.len() as u64;
    hidden.first().into_iter().for_each(|path| verdict.complain(|| format!("hidden: {}", path.display())));
    for path in visible {
        let text = fs::read(&path).unwrap();
        if !text.ends_with(b"\n") {
            verdict.torn += 1;
            verdict.complain(|| format!("{} does not end with a whole line", path.display()));
        }
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            verdict.lines += 1;
            match serde_json::from_slice(line) {
                Ok(value) => each(value, &path, verdict),
                Err(error) => {
                    verdict.torn += 1;
                    verdict.complain(|| format!("{}: {:?}: {error}", path.display(), String::from_utf8_lossy(line)));
                }
            }
        }
    }
}

/// Judges what is committed in `output` so far: nothing twice, nothing torn, nothing that is not so.
fn judge(input: &Input, output: &Path) -> (Verdict, Vec<u32>, BTreeMap<Subject, Books>) {
    let mut verdict = Verdict::default();
    let mut seen = vec![0_u32; input.events.len()];
    lines(&output.join("ids"), &mut verdict, |event: Event, path, verdict| match input.events.get(event.id as usize) {
        Some(expected) if *expected == event => {
            let times = &mut seen[event.id as usize];
            *times += 1;
            if *times > 1 {
                verdict.doubled += 1;
                verdict.complain(|| format!("{}: event {} comes again", path.display(), event.id));
            }
        }
        _ => {
            verdict.wrong += 1;
            verdict.complain(|| format!("{}: {event:?} is no event of the input", path.display()));
        }
    });
    let mut open = input.expected();
    let expected = open.clone();
    let mut book = |subject: Subject, books: Books, path: &Path, verdict: &mut Verdict| match (
        open.remove(&subject),
        expected.get(&subject),
    ) {
        (Some(right), _) if right == books => {}
        (Some(right), _) => {
            verdict.wrong += 1;
            verdict.complain(|| format!("{}: {subject:?} is {books:?} instead of {right:?}", path.display()));
        }
        (None, Some(right)) => {
            verdict.doubled += 1;
            verdict.complain(|| format!("{}: {subject:?} comes again: {books:?}, right is {right:?}", path.display()));
        }
        (None, None) => {
            verdict.wrong += 1;
            verdict.complain(|| format!("{}: {subject:?} with {books:?} should not be", path.display()));
        }
    };
    lines(&output.join("windows"), &mut verdict, |line: InWindow, path, verdict| {
        let InWindow { kind, key, start, end, count, sum } = line;
        book(Subject { kind, key, start, end }, (count, sum, 0), path, verdict);
    });
    lines(&output.join("timers"), &mut verdict, |line: Closed, path, verdict| {
        let Closed { kind, key, at, count, sum, ids } = line;
        book(Subject { kind, key, start: 0, end: at }, (count, sum, ids), path, verdict);
    });
    (verdict, seen, open)
}

/// Judges a job that goes on: what is missing may still come, and what is hidden may still be shown.
pub fn judge_running(input: &Input, output: &Path) -> Verdict {
    Verdict { hidden: 0, ..judge(input, output).0 }
}

/// Judges a job that has finished.
pub fn judge_finished(input: &Input, output: &Path) -> Verdict {
    let (mut verdict, seen, open) = judge(input, output);
    for (id, _) in seen.iter().enumerate().filter(|(_, times)| **times == 0) {
        verdict.lost += 1;
        verdict.complain(|| format!("event {id} is lost"));
    }
    for (subject, books) in &open {
        verdict.lost += 1;
        verdict.complain(|| format!("{subject:?} with {books:?} is lost"));
    }
    verdict
}

/// The oracle is an instrument: it must show what is wrong.
#[test]
fn the_oracle_finds_what_is_lost_doubled_torn_and_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let input = Input::write(&directory.path().join("in"), &mut crate::random::Random::new(1), 2, 300);
    let output = directory.path().join("out");
    let mut ids: Vec<String> = input.events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let (mut windows, mut timers) = (Vec::new(), Vec::new());
    for (Subject { kind, key, start, end }, (count, sum, ids)) in input.expected() {
        match kind.as_str() {
            "tumbling" | "session" => windows.push(
                serde_json::json!({"kind": kind, "key": key, "start": start, "end": end, "count": count, "sum": sum})
                    .to_string(),
            ),
            _ => timers.push(
                serde_json::json!({"kind": kind, "key": key, "at": end, "count": count, "sum": sum, "ids": ids})
                    .to_string(),
            ),
        }
    }
    let write = |sink: &str, lines: &[String], end: &str| {
        fs::create_dir_all(output.join(sink)).unwrap();
        fs::write(output.join(sink).join("a.jsonl"), lines.join("\n") + end).unwrap();
    };
    let judged = || {
        let Verdict { lost, doubled, torn, wrong, hidden, .. } = judge_finished(&input, &output);
        (lost, doubled, torn, wrong, hidden)
    };
    write("ids", &ids, "\n");
    write("windows", &windows, "\n");
    write("timers", &timers, "\n");
    assert_eq!(judged(), (0, 0, 0, 0, 0));
    write("windows", &windows[1..], "\n");
    write("ids", &ids, "");
    assert_eq!(judged(), (1, 0, 1, 0, 0));
    let line = ids[7].clone();
    ids.push(line);
    write("ids", &ids, "\n");
    write("windows", &windows, "\n");
    timers[0] = timers[0].replace("\"count\":", "\"count\":9");
    write("timers", &timers, "\n");
    fs::write(output.join("ids").join(".hidden"), "").unwrap();
    assert_eq!(judged(), (0, 1, 0, 1, 1));
}
