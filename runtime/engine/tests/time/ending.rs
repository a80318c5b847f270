//! What is left on either clock when a bounded input ends.

use weir_engine::error::UserError;
use weir_engine::operators::aggregate::Count;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, TimeDomain, Timer};
use weir_engine::window::{Session, Tumbling};

use super::flow::{Job, Rec, START_MS, Script, Seen};
use super::{HOUR, HOUR_MS, ascending, windows};

/// Emits a record per key from a timer at `at` on the machine's clock.
struct Deferred {
    at: i64,
}

impl KeyedProcessFunction<u64, Rec> for Deferred {
    type Out = Rec;

    fn process(&mut self, _record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, Rec>) -> Result<(), UserError> {
        let at = self.at;
        Ok(ctx.set_timer(TimeDomain::Processing, at)?)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Rec>) -> Result<(), UserError> {
        let key = *ctx.key();
        ctx.emit((key, timer.time, 1))
    }
}

#[test]
fn what_processing_time_timers_emit_at_the_end_is_not_late_downstream() {
    for parallelism in [1, 2] {
        let (script, seen) = (Script::bounded(1), Seen::new());
        let (source, sink) = (script.clone(), seen.clone());
        let mut job = Job::new(parallelism, &[&script], move |graph| {
            let records = graph.source("in", source.clone(), ascending()).key_by(|record| record.0);
            let deferred = records.process("deferred", |_| Ok(Deferred { at: START_MS + HOUR_MS }));
            windows(&deferred).sink("out", sink.clone());
        });
        let mut running = job.start();
        // So many that firing pauses several times to let output drain.
        let records: Vec<Rec> = (0..30_000).map(|key| (key, key as i64, 1)).collect();
        script.push(0, &records);
        script.end(0);
        running.settle();
        assert_eq!(running.late("window"), 0, "parallelism {parallelism}");
        running.crash();
        assert_eq!(seen.all(), [((START_MS + HOUR_MS).div_euclid(50) * 50, 30_000)], "parallelism {parallelism}");
    }
}

#[test]
fn what_processing_time_windows_emit_at_the_end_is_not_late_downstream() {
    for (parallelism, assigner) in [(1, Tumbling::of(HOUR)), (2, Tumbling::of(HOUR)), (1, Session::with_gap(HOUR))] {
        let (script, seen) = (Script::bounded(1), Seen::new());
        let (source, sink) = (script.clone(), seen.clone());
        let mut job = Job::new(parallelism, &[&script], move |graph| {
            let records = graph.source("in", source.clone(), ascending()).key_by(|record| record.0);
            let counted = records.window(assigner).processing_time().aggregate("first", Count::new());
            let counted = counted.map(|windowed| (windowed.key, windowed.window.start, windowed.value));
            windows(&counted).map(|(_, count)| count).sink("out", sink.clone());
        });
        let mut running = job.start();
        script.push(0, &[(1, 1, 1), (2, 2, 1)]);
        script.end(0);
        running.settle();
        assert_eq!(running.late("window"), 0, "parallelism {parallelism}");
        running.crash();
        assert_eq!(seen.all(), [2], "parallelism {parallelism}");
    }
}

/// Timers that set each other: `process` sets both kinds; an event timer sets a processing timer a step on, and the other
/// way round, until `last`.
struct PingPong;

impl KeyedProcessFunction<u64, Rec> for PingPong {
    type Out = (String, i64);

    fn process(&mut self, _record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, Self::Out>) -> Result<(), UserError> {
        ctx.set_timer(TimeDomain::Event, 1_000)?;
        Ok(ctx.set_timer(TimeDomain::Processing, START_MS + HOUR_MS)?)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Self::Out>) -> Result<(), UserError> {
        let (name, next) = match timer.domain {
            TimeDomain::Event => ("event", (TimeDomain::Processing, START_MS + HOUR_MS + timer.time)),
            TimeDomain::Processing => ("processing", (TimeDomain::Event, timer.time)),
        };
        ctx.emit((name.to_owned(), timer.time))?;
        Ok(ctx.set_timer(next.0, next.1)?)
    }
}

#[test]
fn timers_that_timers_of_the_other_clock_set_at_the_end_fire() {
    let (script, seen) = (Script::bounded(1), Seen::new());
    let (source, sink) = (script.clone(), seen.clone());
    let mut job = Job::new(1, &[&script], move |graph| {
        let records = graph.source("in", source.clone(), ascending()).key_by(|record| record.0);
        records.process("timers", |_| Ok(PingPong)).sink("out", sink.clone());
    });
    let mut running = job.start();
    script.push(0, &[(1, 1, 1)]);
    script.end(0);
    running.settle();
    running.crash();
    let event = |time| ("event".to_owned(), time);
    let processing = |time| ("processing".to_owned(), time);
    // Event time comes to its end first and sets one processing-time timer; both of those set an event-time timer each.
    // Processing-time timers set by the latter come after the end of processing time and are not kept.
    let first = START_MS + HOUR_MS;
    assert_eq!(
        seen.all(),
        [event(1_000), event(first), event(first + 1_000), processing(first), processing(first + 1_000)]
    );
}

/// Fires every second on the machine's clock, for ever.
struct Periodic;

impl KeyedProcessFunction<u64, Rec> for Periodic {
    type Out = i64;

    fn process(&mut self, _record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, i64>) -> Result<(), UserError> {
        let next = ctx.now() + 1_000;
        Ok(ctx.set_timer(TimeDomain::Processing, next)?)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, i64>) -> Result<(), UserError> {
        if timer.time > START_MS + 100_000 {
            return Err("it does not come to an end".into());
        }
        ctx.set_timer(TimeDomain::Processing, timer.time + 1_000)?;
        ctx.emit(timer.time)
    }
}

#[test]
fn a_timer_that_sets_its_successor_fires_once_at_the_end_and_not_again_after_a_restore() {
    let (script, seen) = (Script::bounded(1), Seen::new());
    let (source, sink) = (script.clone(), seen.clone());
    let mut job = Job::new(1, &[&script], move |graph| {
        let records = graph.source("in", source.clone(), ascending()).key_by(|record| record.0);
        records.process("timers", |_| Ok(Periodic)).sink("out", sink.clone());
    });
    let mut running = job.start();
    script.push(0, &[(1, 1, 1)]);
    running.settle();
    running.pass(1_000);
    running.settle();
    script.end(0);
    running.settle();
    running.pass(10_000);
    running.settle();
    running.crash();
    let mut running = job.start();
    running.pass(10_000);
    running.settle();
    running.crash();
    assert_eq!(seen.all(), [START_MS + 1_000, START_MS + 2_000]);
}
