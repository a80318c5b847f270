//! Sources, functions and sinks whose behaviour the tests decide, and what they must come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_engine::batch::Batch;
use weir_engine::error::UserError;
use weir_engine::graph::{Graph, JobGraph};
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, TimeDomain, Timer};
use weir_engine::sink::{Handle, Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};
use weir_engine::time::WatermarkStrategy;
use weir_protocol::CheckpointId;
use weir_state::{MapHandle, StateDescriptor, ValueHandle};

/// Distinct keys of the test jobs.
pub const KEYS: u64 = 37;
/// Length of the windows that the test function keeps by hand.
pub const WINDOW: u64 = 50;

/// How far sources may read: number `n` is there once the valve is above `n`.
#[derive(Clone, Default)]
pub struct Valve(Arc<AtomicU64>);

impl Valve {
    pub fn open_to(&self, limit: u64) {
        self.0.store(limit, Ordering::SeqCst);
    }

    fn limit(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The numbers from 0 on, as far as the valve lets them, dealt out over splits.
#[derive(Clone)]
pub struct Numbers {
    pub valve: Valve,
    pub splits: u64,
    /// The source ends before this number.
    pub end: Option<u64>,
    /// Event times of single numbers, if not the number itself.
    pub times: BTreeMap<u64, i64>,
}

/// A number with its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tick {
    pub number: u64,
    pub time: i64,
}

impl Source for Numbers {
    type Item = Tick;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok((0..self.splits).map(|index| SplitId(format!("numbers-{index}"))).collect())
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = Tick>>, ConnectorError> {
        let index: u64 = split.0.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap();
        let next = position.map_or(index, |position| position.as_u64().unwrap());
        Ok(Box::new(Reader { numbers: self.clone(), next }))
    }

    fn is_bounded(&self) -> bool {
        self.end.is_some()
    }
}

struct Reader {
    numbers: Numbers,
    next: u64,
}

/// Rows of one read: small, so that barriers fall between many batches.
const READ: u64 = 64;

impl SplitReader for Reader {
    type Item = Tick;

    fn read(&mut self, max: usize, out: &mut Vec<Tick>) -> Result<Progress, ConnectorError> {
        let end = self.numbers.end.unwrap_or(u64::MAX);
        let limit = self.numbers.valve.limit().min(end);
        let mut count = 0;
        while self.next < limit && count < READ.min(max as u64) {
            let time = self.numbers.times.get(&self.next).copied().unwrap_or(self.next as i64);
            out.push(Tick { number: self.next, time });
            self.next += self.numbers.splits;
            count += 1;
        }
        Ok(if self.next >= end {
            Progress::End
        } else if self.next >= limit {
            Progress::WaitFor(Duration::from_millis(2))
        } else {
            Progress::Ready
        })
    }

    fn position(&self) -> Position {
        self.next.into()
    }
}

/// What the test jobs write.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Line {
    /// The `nth` record of a key.
    Count { key: u64, nth: u64 },
    /// A window fired: sum of the numbers of a key.
    Window { key: u64, start: u64, sum: u64 },
    /// A record at or behind the watermark.
    Late { number: u64 },
}

/// Counts records per key, and sums up windows by hand with a map state and event-time timers.
pub struct CountAndSum {
    count: ValueHandle<u64>,
    sums: MapHandle<u64, u64>,
    trap: Trap,
}

/// Makes user code fail when told to.
#[derive(Clone, Default)]
pub struct Trap {
    /// The number that fails, if any.
    pub number: Arc<Mutex<Option<u64>>>,
    /// Panic instead of returning an error.
    pub panics: Arc<AtomicBool>,
    /// Fail once only.
    pub once: Arc<AtomicBool>,
}

impl Trap {
    fn check(&self, number: u64) -> Result<(), UserError> {
        let mut armed = self.number.lock();
        if *armed != Some(number) {
            return Ok(());
        }
        if self.once.load(Ordering::SeqCst) {
            *armed = None;
        }
        drop(armed);
        assert!(!self.panics.load(Ordering::SeqCst), "the trap at {number} snapped");
        Err(format!("the trap at {number} snapped").into())
    }
}

impl CountAndSum {
    pub fn new(count: ValueHandle<u64>, sums: MapHandle<u64, u64>, trap: Trap) -> Self {
        Self { count, sums, trap }
    }
}

impl KeyedProcessFunction<u64, Tick> for CountAndSum {
    type Out = Line;

    fn process(&mut self, tick: &Tick, ctx: &mut ProcessContext<'_, '_, u64, Line>) -> Result<(), UserError> {
        self.trap.check(tick.number)?;
        let key = *ctx.key();
        if tick.time <= ctx.watermark() {
            return ctx.emit(Line::Late { number: tick.number });
        }
        let count = ctx.value(self.count).entry()?;
        let nth = count.map_or(1, |count| count + 1);
        *count = Some(nth);
        ctx.emit(Line::Count { key, nth })?;
        let start = tick.time as u64 / WINDOW * WINDOW;
        let sum = ctx.map(self.sums).get(&start)?.unwrap_or(0);
        ctx.map(self.sums).insert(start, sum + tick.number)?;
        ctx.set_timer(TimeDomain::Event, (start + WINDOW - 1) as i64)?;
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Line>) -> Result<(), UserError> {
        let key = *ctx.key();
        let start = timer.time as u64 / WINDOW * WINDOW;
        if let Some(sum) = ctx.map(self.sums).get(&start)? {
            ctx.map(self.sums).remove(&start)?;
            ctx.emit(Line::Window { key, start, sum })?;
        }
        Ok(())
    }
}

/// A transactional sink in memory that outlives processes, and keeps book of everything that is done to it.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    hidden: BTreeMap<String, Vec<Line>>,
    visible: BTreeMap<String, Vec<Line>>,
    /// Commits to fail with a transient error.
    failing: u64,
    /// Commits that failed.
    failed: u64,
}

impl Ledger {
    /// All committed lines, sorted; a line that was committed twice is there twice.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = self.0.lock().visible.values().flatten().cloned().collect();
        lines.sort();
        lines
    }

    /// Names of committed pieces: generation, subtask, epoch.
    pub fn pieces(&self) -> BTreeSet<String> {
        self.0.lock().visible.keys().cloned().collect()
    }

    /// Names of prepared pieces that are not committed.
    pub fn hidden(&self) -> BTreeSet<String> {
        self.0.lock().hidden.keys().cloned().collect()
    }

    /// Lets the next commits fail, in a way that passes.
    pub fn fail_commits(&self, count: u64) {
        self.0.lock().failing = count;
    }

    /// How many commits failed.
    pub fn failed_commits(&self) -> u64 {
        self.0.lock().failed
    }
}

impl Sink for Ledger {
    type Item = Line;

    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = Line>>, ConnectorError> {
        let prefix = format!("g{}-s{}", ctx.generation, ctx.subtask);
        Ok(Box::new(LedgerWriter { ledger: self.clone(), prefix, lines: Vec::new() }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        Some(Box::new(self.clone()))
    }
}

struct LedgerWriter {
    ledger: Ledger,
    prefix: String,
    lines: Vec<Line>,
}

impl SinkWriter for LedgerWriter {
    type Item = Line;

    fn write(&mut self, batch: &mut Batch<Line>) -> Result<(), ConnectorError> {
        self.lines.append(&mut batch.records);
        Ok(())
    }

    fn freeze(&mut self, epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        let name = format!("{}-e{epoch}", self.prefix);
        let lines = std::mem::take(&mut self.lines);
        Ok(Some(Box::new(LedgerPrepare { ledger: self.ledger.clone(), name, lines })))
    }
}

struct LedgerPrepare {
    ledger: Ledger,
    name: String,
    lines: Vec<Line>,
}

impl Prepare for LedgerPrepare {
    fn prepare(&mut self) -> Result<Vec<Handle>, ConnectorError> {
        let replaced = self.ledger.0.lock().hidden.insert(self.name.clone(), self.lines.clone());
        assert!(replaced.is_none(), "{} was prepared twice", self.name);
        Ok(vec![self.name.clone().into()])
    }
}

impl SinkCommitter for Ledger {
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError> {
        let name = handle.as_str().unwrap().to_owned();
        let mut book = self.0.lock();
        if book.failing > 0 {
            book.failing -= 1;
            book.failed += 1;
            return Err(ConnectorError::transient(format!("{name} cannot be committed right now")));
        }
        if let Some(lines) = book.hidden.remove(&name) {
            book.visible.insert(name, lines);
        } else if !book.visible.contains_key(&name) {
            return Err(ConnectorError::permanent(format!("{name} is neither prepared nor committed")));
        }
        Ok(())
    }

    fn abort_except(&self, ctx: &SinkContext, keep: &[Handle]) -> Result<(), ConnectorError> {
        let keep: BTreeSet<&str> = keep.iter().filter_map(|handle| handle.as_str()).collect();
        let older = |name: &str| {
            let digits = name.strip_prefix('g').and_then(|rest| rest.split('-').next());
            digits.and_then(|digits| digits.parse::<u64>().ok()).unwrap() < ctx.generation
        };
        self.0.lock().hidden.retain(|name, _| keep.contains(name.as_str()) || !older(name));
        Ok(())
    }
}

/// Source → keyed counts and windows → ledger.
pub fn counting_graph(numbers: &Numbers, trap: &Trap, ledger: &Ledger) -> Result<JobGraph, String> {
    let graph = Graph::new();
    let ticks = graph.source("numbers", numbers.clone(), WatermarkStrategy::ascending(|tick: &Tick| tick.time));
    let trap = trap.clone();
    let lines = ticks.key_by(|tick| tick.number % KEYS).process("count", move |states| {
        let count = states.value(StateDescriptor::new("count"))?;
        let sums = states.map(StateDescriptor::new("sums"))?;
        Ok(CountAndSum::new(count, sums, trap.clone()))
    });
    lines.sink("ledger", ledger.clone());
    graph.finish().map_err(|errors| format!("{errors:?}"))
}

/// What the job must have written once it has read all numbers below `end`, computed without any of its operators.
pub fn expected_lines(end: u64) -> Vec<Line> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut sums: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut lines = Vec::new();
    for number in 0..end {
        let key = number % KEYS;
        let nth = counts.entry(key).or_default();
        *nth += 1;
        lines.push(Line::Count { key, nth: *nth });
        *sums.entry((key, number / WINDOW * WINDOW)).or_default() += number;
    }
    lines.extend(sums.into_iter().map(|((key, start), sum)| Line::Window { key, start, sum }));
    lines.sort();
    lines
}
