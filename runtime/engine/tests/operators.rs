//! Operators of the typed API against plain loops over the same records, at several parallelisms, with barriers all the
//! time.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use support::{Run, VecSink, VecSource, run};
use weir_engine::error::UserError;
use weir_engine::graph::Graph;
use weir_engine::operator::OutputTag;
use weir_engine::operators::aggregate::Count;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, TimeDomain, Timer};
use weir_engine::source::{ConnectorError, Position, Source, SplitId, SplitReader};
use weir_engine::stream::Stream;
use weir_engine::time::WatermarkStrategy;
use weir_engine::window::{CountWindow, Session, Sliding, Tumbling, Windowed};
use weir_state::{BackendKind, ValueHandle};

/// (key, time, value)
type Rec = (u64, i64, u64);

fn source(graph: &Graph, id: &str, records: &[Rec], bound: u64) -> Stream<Rec> {
    let half = records.len() / 2;
    let splits = vec![records[..half].to_vec(), records[half..].to_vec()];
    graph.source(
        id,
        VecSource { splits, step: 7 },
        WatermarkStrategy::bounded(|r: &Rec| r.1, Duration::from_millis(bound)),
    )
}

/// Records within 200 ms of order per split, so that a bound of 200 ms makes none late.
fn records(max: usize) -> impl Strategy<Value = Vec<Rec>> {
    proptest::collection::vec((0u64..12, 0i64..200, 0u64..1000), 0..max).prop_map(|raw| {
        raw.into_iter()
            .enumerate()
            .map(|(index, (key, jitter, value))| (key, index as i64 * 10 + jitter, value))
            .collect()
    })
}

fn collect<T: weir_engine::record::Record + Ord>(parallelism: u32, build: impl FnOnce(&Graph) -> Stream<T>) -> Vec<T> {
    let graph = Graph::new();
    let sink = VecSink::new();
    build(&graph).sink("out", sink.clone());
    let backend = if parallelism == 2 { BackendKind::RocksDb } else { BackendKind::Memory };
    run(&Run { parallelism, backend, ..Run::default() }, graph).expect("the graph runs");
    let mut out = std::mem::take(&mut *sink.0.lock().expect("no panic"));
    out.sort();
    out
}

#[test]
fn stateless_operators_pass_every_record_once() {
    let input: Vec<Rec> = (0..5000).map(|i| (i % 10, i as i64, i)).collect();
    for parallelism in [1, 3] {
        let out = collect(parallelism, |graph| {
            let all = source(graph, "in", &input, 0);
            let even = all.filter(|r| r.2 % 2 == 0).map(|r| r.2);
            let odd = all.filter(|r| r.2 % 2 == 1).rebalance().flat_map(|r, emit| {
                emit(r.2);
                emit(r.2 + 1_000_000);
            });
            even.union(&odd)
        });
        let mut expected: Vec<u64> = (0..5000)
            .filter(|i| i % 2 == 0)
            .chain((0..5000).filter(|i| i % 2 == 1).flat_map(|i| [i, i + 1_000_000]))
            .collect();
        expected.sort();
        assert_eq!(out, expected, "parallelism {parallelism}");
    }
}

#[test]
fn running_counts_number_each_keys_records() {
    let input: Vec<Rec> = (0..3000).map(|i| (i * i % 17, i as i64, i)).collect();
    for parallelism in [1, 2, 3] {
        let out = collect(parallelism, |graph| {
            source(graph, "in", &input, 0).key_by(|r| r.0).aggregate("count", Count::new())
        });
        let mut counts = BTreeMap::<u64, u64>::new();
        let mut expected: Vec<(u64, u64)> = input
            .iter()
            .map(|r| {
                let count = counts.entry(r.0).or_default();
                *count += 1;
                (r.0, *count)
            })
            .collect();
        expected.sort();
        assert_eq!(out, expected, "parallelism {parallelism}");
    }
}

fn expected_windows(input: &[Rec], size: i64, slide: i64) -> Vec<(u64, i64, u64)> {
    let mut counts = BTreeMap::<(u64, i64), u64>::new();
    for &(key, time, value) in input {
        let mut start = time.div_euclid(slide) * slide;
        while start > time - size {
            *counts.entry((key, start)).or_default() += value;
            start -= slide;
        }
    }
    counts.into_iter().map(|((key, start), sum)| (key, start, sum)).collect()
}

fn expected_sessions(input: &[Rec], gap: i64) -> Vec<(u64, i64, i64, u64)> {
    let mut by_key = BTreeMap::<u64, Vec<i64>>::new();
    input.iter().for_each(|r| by_key.entry(r.0).or_default().push(r.1));
    let mut out = Vec::new();
    for (key, mut times) in by_key {
        times.sort();
        let mut open: Option<(i64, i64, u64)> = None;
        for time in times {
            open = match open {
                Some((start, end, count)) if time <= end => Some((start, time + gap, count + 1)),
                closed => {
                    out.extend(closed.map(|(start, end, count)| (key, start, end, count)));
                    Some((time, time + gap, 1))
                }
            };
        }
        out.extend(open.map(|(start, end, count)| (key, start, end, count)));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn time_windows_equal_a_plain_loop(input in records(300), parallelism in 1u32..4) {
        let tumbling = collect(parallelism, |graph| {
            source(graph, "in", &input, 200).key_by(|r| r.0).window(Tumbling::of(Duration::from_millis(100))).reduce("sum", |a, b| a.2 += b.2)
                .map(|w| (w.key, w.window.start, w.value.2))
        });
        prop_assert_eq!(tumbling, expected_windows(&input, 100, 100));
        let sliding = collect(parallelism, |graph| {
            source(graph, "in", &input, 200).key_by(|r| r.0).window(Sliding::of(Duration::from_millis(250), Duration::from_millis(100)))
                .apply("sum", |key, window, records: Vec<Rec>, emit| emit((*key, window.start, records.iter().map(|r| r.2).sum::<u64>())))
        });
        prop_assert_eq!(sliding, expected_windows(&input, 250, 100));
    }

    #[test]
    fn session_windows_equal_a_plain_loop(input in records(300), parallelism in 1u32..4, gap in 20i64..300) {
        let out = collect(parallelism, |graph| {
            source(graph, "in", &input, 200).key_by(|r| r.0).window(Session::with_gap(Duration::from_millis(gap as u64)))
                .aggregate("sessions", Count::new()).map(|w| (w.key, w.window.start, w.window.end, w.value))
        });
        prop_assert_eq!(out, expected_sessions(&input, gap));
    }

    #[test]
    fn interval_joins_equal_nested_loops(left in records(120), right in records(120), parallelism in 1u32..4) {
        let out = collect(parallelism, |graph| {
            let a = source(graph, "left", &left, 200).key_by(|r| r.0);
            let b = source(graph, "right", &right, 200).key_by(|r| r.0);
            a.interval_join(&b, Duration::from_millis(50), Duration::from_millis(120)).process("join", |a, b, emit| emit((*a, *b)))
        });
        let mut expected = Vec::new();
        for a in &left {
            for b in right.iter().filter(|b| b.0 == a.0 && (a.1 - 50..=a.1 + 120).contains(&b.1)) {
                expected.push((*a, *b));
            }
        }
        expected.sort();
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn window_joins_equal_nested_loops(left in records(120), right in records(120), parallelism in 1u32..4) {
        let out = collect(parallelism, |graph| {
            let a = source(graph, "left", &left, 200).key_by(|r| r.0);
            let b = source(graph, "right", &right, 200).key_by(|r| r.0);
            a.window_join(&b, Tumbling::of(Duration::from_millis(100))).process("join", |a, b, window, emit| emit((window.start, *a, *b)))
        });
        let mut expected = Vec::new();
        for a in &left {
            let start = a.1.div_euclid(100) * 100;
            for b in right.iter().filter(|b| b.0 == a.0 && b.1.div_euclid(100) * 100 == start) {
                expected.push((start, *a, *b));
            }
        }
        expected.sort();
        prop_assert_eq!(out, expected);
    }
}

#[test]
fn count_windows_close_after_their_number_of_records() {
    let input: Vec<Rec> = (0..1000).map(|i| (i % 3, i as i64, i)).collect();
    let out = collect(1, |graph| {
        source(graph, "in", &input[..], 0)
            .key_by(|r| r.0)
            .window(CountWindow::of(100))
            .aggregate("hundred", Count::new())
            .map(|w| (w.key, w.window.start, w.value))
    });
    let expected: Vec<(u64, i64, u64)> = (0..3).flat_map(|key| (0..3).map(move |number| (key, number, 100))).collect();
    assert_eq!(out, expected);
}

#[test]
fn late_records_go_to_the_late_output_or_fire_again_within_the_allowed_lateness() {
    // One split, read record by record; the watermark follows at the latest before the next barrier.
    let input: Vec<Rec> = vec![(1, 10, 1), (1, 1000, 1), (1, 20, 1), (1, 2000, 1)];
    let tag = OutputTag::<Rec>::new("late");
    let graph = Graph::new();
    let (windows, late) = (VecSink::<Windowed<u64, u64>>::new(), VecSink::<Rec>::new());
    let records = graph.source("in", Paced(input), WatermarkStrategy::ascending(|r: &Rec| r.1));
    let counted = records
        .key_by(|r| r.0)
        .window(Tumbling::of(Duration::from_millis(100)))
        .late_output(&tag)
        .aggregate("count", Count::new());
    counted.side_output(&tag).sink("late", late.clone());
    counted.sink("out", windows.clone());
    run(&Run::default(), graph).expect("the graph runs");
    let ends: Vec<i64> = windows.0.lock().expect("no panic").iter().map(|w| w.window.start).collect();
    assert_eq!(ends, [0, 1000, 2000]);
    assert_eq!(*late.0.lock().expect("no panic"), [(1, 20, 1)]);

    let graph = Graph::new();
    let windows = VecSink::<Windowed<u64, u64>>::new();
    let records = graph.source(
        "in",
        Paced(vec![(1, 10, 1), (1, 1000, 1), (1, 20, 1), (1, 5000, 1), (1, 30, 1)]),
        WatermarkStrategy::ascending(|r: &Rec| r.1),
    );
    records
        .key_by(|r| r.0)
        .window(Tumbling::of(Duration::from_millis(100)))
        .allowed_lateness(Duration::from_secs(2))
        .aggregate("count", Count::new())
        .sink("out", windows.clone());
    run(&Run::default(), graph).expect("the graph runs");
    let fired: Vec<(i64, u64)> =
        windows.0.lock().expect("no panic").iter().map(|w| (w.window.start, w.value)).collect();
    assert_eq!(fired, [(0, 1), (0, 2), (1000, 1), (5000, 1)]);
}

/// One split that pauses after every record for longer than a busy source withholds its watermark.
struct Paced(Vec<Rec>);

impl weir_engine::source::Source for Paced {
    type Item = Rec;

    fn discover(&self) -> Result<Vec<weir_engine::source::SplitId>, weir_engine::source::ConnectorError> {
        Ok(vec![weir_engine::source::SplitId("split-0".into())])
    }

    fn open(
        &self,
        _split: &weir_engine::source::SplitId,
        position: Option<&weir_engine::source::Position>,
    ) -> Result<Box<dyn weir_engine::source::SplitReader<Item = Rec>>, weir_engine::source::ConnectorError> {
        let next = position.map_or(0, |position| position.as_u64().expect("made by position") as usize);
        Ok(Box::new(PacedReader(self.0.clone(), next)))
    }

    fn is_bounded(&self) -> bool {
        true
    }
}

struct PacedReader(Vec<Rec>, usize);

impl weir_engine::source::SplitReader for PacedReader {
    type Item = Rec;

    fn read(
        &mut self,
        _max: usize,
        out: &mut Vec<Rec>,
    ) -> Result<weir_engine::source::Progress, weir_engine::source::ConnectorError> {
        use weir_engine::source::Progress;
        let Some(record) = self.0.get(self.1) else { return Ok(Progress::End) };
        // Every other call says that there is nothing for now, upon which the source sends its watermark.
        out.push(*record);
        self.1 += 1;
        Ok(Progress::WaitFor(Duration::from_millis(25)))
    }

    fn position(&self) -> weir_engine::source::Position {
        self.1.into()
    }
}

struct Alarm {
    count: ValueHandle<u64>,
}

impl KeyedProcessFunction<u64, Rec> for Alarm {
    type Out = (u64, i64, u64);

    fn process(&mut self, record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, Self::Out>) -> Result<(), UserError> {
        if record.2 == 666 {
            return Err("the number of the beast".into());
        }
        let count = ctx.value(self.count).entry()?.get_or_insert(0);
        *count += 1;
        let time = ctx.time().ok_or("no event time")?;
        ctx.set_timer(TimeDomain::Event, time / 100 * 100 + 100)?;
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Self::Out>) -> Result<(), UserError> {
        let count = ctx.value(self.count).get()?.copied().unwrap_or(0);
        ctx.value(self.count).clear()?;
        let key = *ctx.key();
        ctx.emit((key, timer.time, count))
    }
}

#[test]
fn timers_fire_once_per_key_and_time_with_the_state_of_their_key() {
    let input: Vec<Rec> = (0..2000).map(|i| (i % 5, i as i64, 0)).collect();
    let out = collect(2, |graph| {
        let stream = graph.source(
            "in",
            VecSource { splits: vec![input.clone()], step: 3 },
            WatermarkStrategy::ascending(|r: &Rec| r.1),
        );
        stream.key_by(|r| r.0).process("alarm", |states| Ok(Alarm { count: states.value("count")? }))
    });
    assert_eq!(out.len(), 5 * 20);
    assert_eq!(out.iter().map(|r| r.2).sum::<u64>(), 2000);
}

#[test]
fn a_refused_record_fails_the_job_with_its_text_or_goes_to_the_dead_letters() {
    let input: Vec<Rec> = vec![(1, 1, 1), (1, 2, 666), (1, 3, 1)];
    let graph = Graph::new();
    source(&graph, "in", &input, 0)
        .key_by(|r| r.0)
        .process("alarm", |states| Ok(Alarm { count: states.value("count")? }))
        .sink("out", VecSink::new());
    let error = run(&Run::default(), graph).expect_err("it fails");
    assert!(error.contains("operator alarm, subtask 0: the number of the beast on record [1,2,666]"), "{error}");

    let graph = Graph::new();
    let letters = VecSink::new();
    let alarm = source(&graph, "in", &input, 0)
        .key_by(|r| r.0)
        .process("alarm", |states| Ok(Alarm { count: states.value("count")? }));
    alarm.dead_letters().sink("dead", letters.clone());
    alarm.sink("out", VecSink::new());
    run(&Run::default(), graph).expect("it goes on");
    let letters = letters.0.lock().expect("no panic");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].operator.as_str(), letters[0].error.as_str(), letters[0].record.as_str()),
        ("alarm", "the number of the beast", "[1,2,666]")
    );
}

/// Splits that end, of a source that does not: more may be discovered.
struct Followed(VecSource<Rec>);

impl Source for Followed {
    type Item = Rec;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        self.0.discover()
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = Rec>>, ConnectorError> {
        self.0.open(split, position)
    }

    fn is_bounded(&self) -> bool {
        false
    }
}

#[test]
fn windows_fire_when_all_splits_of_an_unbounded_source_have_ended() {
    // At parallelism 2 one subtask ends at 15 and the other at 95: neither may hold the watermark back.
    for parallelism in [1, 2] {
        let graph = Graph::new();
        let followed =
            Followed(VecSource { splits: vec![vec![(1, 5, 1), (1, 15, 1)], vec![(1, 60, 1), (1, 95, 1)]], step: 7 });
        graph
            .source("in", followed, WatermarkStrategy::ascending(|r: &Rec| r.1))
            .key_by(|r| r.0)
            .window(Tumbling::of(Duration::from_millis(90)))
            .aggregate("window", Count::new())
            .try_map("seen", |windowed| -> Result<Rec, UserError> {
                Err(format!("window {} with {}", windowed.window.start, windowed.value).into())
            })
            .sink("out", VecSink::new());
        // The job never ends, so its only way out is the failure that the window's result causes.
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || tx.send(run(&Run { parallelism, ..Run::default() }, graph)));
        let error = rx.recv_timeout(Duration::from_secs(60)).expect("the window fires").expect_err("by its failure");
        assert!(error.contains("window 0 with 3"), "{error}");
    }
}

#[test]
fn a_panic_names_the_operator() {
    let graph = Graph::new();
    source(&graph, "in", &[(1, 1, 1)], 0).map(|r| 10 / (r.2 - 1)).sink("out", VecSink::new());
    let error = run(&Run::default(), graph).expect_err("it fails");
    assert!(error.contains("operator map-1, subtask 0: user code panicked: attempt to divide by zero"), "{error}");
}

#[test]
fn mistakes_in_a_graph_are_all_named() {
    let graph = Graph::new();
    let stream = source(&graph, "in", &[], 0);
    stream.sink("in", VecSink::new());
    stream.sink("Bad Id", VecSink::new());
    let errors = graph.finish().map(|_| ()).expect_err("two mistakes");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(texts[0].starts_with("operator id in is used twice"), "{texts:?}");
    assert!(texts[1].starts_with("operator id \"Bad Id\" is not allowed"), "{texts:?}");
}
