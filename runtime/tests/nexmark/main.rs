//! Every Nexmark query of the stock binary, run as a job with checkpoints and exactly-once files, against plain loops over
//! the same events. The loops share nothing with the engine but the event types.

mod oracle;
mod run;

use std::collections::BTreeMap;

use serde_json::Value;
use weir_connectors::nexmark::{Event, Generator, NexmarkConfig};

/// 25 seconds of event time: windows of 10 s are complete, and auctions close.
const EVENTS: u64 = 250_000;

fn events() -> Vec<Event> {
    let generator = Generator::new(&NexmarkConfig::default()).expect("the defaults are valid");
    (0..EVENTS).map(|number| generator.event(number)).collect()
}

fn sorted(rows: Vec<Value>) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// The rows a query writes at `slots` subtasks per operator. One split, so that each key's records keep their order.
fn rows(query: &str, slots: u32) -> Vec<Value> {
    run::job(query, slots, &[("events", EVENTS.into()), ("splits", 1.into())])
}

fn check(query: &str, expected: fn(&[Event]) -> Vec<Value>) {
    let expected = sorted(expected(&events()));
    assert!(!expected.is_empty(), "{query}: the loop finds rows");
    for slots in [1, 2] {
        let found = sorted(rows(query, slots));
        assert_eq!(found.len(), expected.len(), "{query} at {slots} slots: number of rows");
        if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
            panic!("{query} at {slots} slots: row {at} is {}, expected {}", found[at], expected[at]);
        }
    }
}

macro_rules! exact {
    ($($query:ident),*) => {
        $(
            #[test]
            fn $query() {
                check(concat!("nexmark-", stringify!($query)), oracle::$query);
            }
        )*
    };
}

exact!(q0, q1, q2, q3, q5, q7, q8, q9, q11, q15, q16, q17, q18, q19, q20);

#[test]
fn q4() {
    // The order in which auctions close across subtasks is not defined: every number of auctions must be there once per
    // category, and the last average must be that of all winning bids.
    let mut expected = BTreeMap::<u64, (u64, u64)>::new();
    for row in oracle::q9(&events()) {
        let (count, sum) = expected.entry(row["auction"]["category"].as_u64().expect("a number")).or_default();
        *count += 1;
        *sum += row["bid"]["price"].as_u64().expect("a number");
    }
    for slots in [1, 2] {
        let mut found = BTreeMap::<u64, BTreeMap<u64, u64>>::new();
        for row in rows("nexmark-q4", slots) {
            let number = |field: &str| row[field].as_u64().expect("a number");
            let repeated = found.entry(number("category")).or_default().insert(number("auctions"), number("average"));
            assert_eq!(repeated, None, "{row} repeats");
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (category, (count, sum)) in &expected {
            let averages = &found[category];
            assert_eq!(
                (averages.len() as u64, averages.last_key_value()),
                (*count, Some((count, &(sum / count)))),
                "category {category} at {slots} slots"
            );
        }
    }
}

#[test]
fn q12() {
    // Windows of processing time lie where they lie; what is in them must add up.
    let mut expected = BTreeMap::<u64, u64>::new();
    for event in events() {
        if let Event::Bid(bid) = event {
            *expected.entry(bid.bidder).or_default() += 1;
        }
    }
    for slots in [1, 2] {
        let mut found = BTreeMap::<u64, u64>::new();
        for row in rows("nexmark-q12", slots) {
            let number = |field: &str| row[field].as_i64().expect("a number");
            assert!(number("end") - number("start") == 10_000 && number("start") % 10_000 == 0, "{row}");
            *found.entry(number("bidder") as u64).or_default() += number("bids") as u64;
        }
        assert_eq!(found, expected, "{slots} slots");
    }
}

#[test]
fn queries_read_the_files_that_the_events_were_written_to() {
    let dir = tempfile::tempdir().expect("a directory");
    run::job_into("nexmark-events", 2, &[("events", EVENTS.into()), ("format", "json".into())], dir.path());
    let input = Value::from(dir.path().to_str().expect("UTF-8"));
    for (query, expected) in [
        ("nexmark-q5", oracle::q5 as fn(&[Event]) -> Vec<Value>),
        ("nexmark-q8", oracle::q8),
        ("nexmark-q9", oracle::q9),
    ] {
        let found = run::job(query, 2, &[("input", input.clone()), ("disorder", "60s".into())]);
        assert_eq!(sorted(found), sorted(expected(&events())), "{query}");
    }
}
