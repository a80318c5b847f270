//! The input: files of events, and everything that a job should make of them, computed by plain loops.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// Sizes that the job has as defaults, written down a second time on purpose.
const TUMBLING: i64 = 2000;
const GAP: i64 = 1501;
const BUCKET: i64 = 1000;
/// Event times of a file are at most this far out of order.
const DISORDER: i64 = 400;
/// Event time between two lines of a file.
const STEP: i64 = 10;
const FIRST: i64 = 1_700_000_000_000;
const KEYS: u64 = 400;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub id: u64,
    pub key: u32,
    pub time: i64,
    pub value: i64,
}

/// What a line of output is about. A second line about the same is a line too many.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub kind: String,
    pub key: u32,
    pub start: i64,
    pub end: i64,
}

/// What it says: count, sum of values, sum of ids.
pub type Books = (u64, i64, u64);

/// All events; the index of each is its id.
pub struct Input {
    pub events: Vec<Event>,
}

impl Input {
    /// Writes `files` files of `lines` lines each to `directory`. All event times are even, so that no two are exactly
    /// one (odd) session gap apart: what happens then depends on the order of arrival.
    pub fn write(directory: &Path, random: &mut Random, files: u64, lines: u64) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut events = Vec::new();
        for file in 0..files {
            let mut out = BufWriter::new(File::create(directory.join(format!("part-{file}"))).unwrap());
            for line in 0..lines {
                let (low, high) = (random.below(1000), random.below(1000));
                let event = Event {
                    id: events.len() as u64,
                    // Skewed: a few keys are busy, most are not.
                    key: (low * high * KEYS / 1_000_000) as u32,
                    time: FIRST + line as i64 * STEP + 2 * random.below(DISORDER as u64 / 2 + 1) as i64,
                    value: random.below(101) as i64 - 50,
                };
                serde_json::to_writer(&mut out, &event).unwrap();
                out.write_all(b"\n").unwrap();
                events.push(event);
            }
            out.flush().unwrap();
        }
        Self { events }
    }

    fn by_key(&self) -> BTreeMap<u32, Vec<&Event>> {
        let mut keys: BTreeMap<u32, Vec<&Event>> = BTreeMap::new();
        for event in &self.events {
            keys.entry(event.key).or_default().push(event);
        }
        for events in keys.values_mut() {
            events.sort_by_key(|event| event.time);
        }
        keys
    }

    /// Every line of `windows` and `timers`.
    pub fn expected(&self) -> BTreeMap<Subject, Books> {
        let mut expected = BTreeMap::new();
        for (key, events) in self.by_key() {
            let mut note = |kind: &str, start: i64, end: i64, event: &Event, ids: u64| {
                let books: &mut Books = expected.entry(Subject { kind: kind.to_owned(), key, start, end }).or_default();
                *books = (books.0 + 1, books.1 + event.value, books.2.wrapping_add(ids));
            };
            for event in &events {
                let window = event.time - event.time % TUMBLING;
                note("tumbling", window, window + TUMBLING, event, 0);
                note("bucket", 0, event.time - event.time % BUCKET + BUCKET, event, 0);
                note("final", 0, 0, event, event.id);
            }
            let mut first = 0;
            for at in 1..=events.len() {
                if at == events.len() || events[at].time - events[at - 1].time > GAP {
                    let (start, end) = (events[first].time, events[at - 1].time + GAP);
                    events[first..at].iter().for_each(|event| note("session", start, end, event, 0));
                    first = at;
                }
            }
        }
        expected
    }
}
