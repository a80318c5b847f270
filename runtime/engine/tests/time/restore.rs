//! Event time over crashes and restores: it never goes back.

use weir_engine::error::UserError;
use weir_engine::operators::aggregate::Count;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, TimeDomain, Timer};
use weir_engine::stream::Stream;
use weir_engine::window::{Session, Tumbling};
use weir_state::ValueHandle;

use super::flow::{Job, Rec, Script, Seen};
use super::{ascending, millis, windows};

/// What makes something of windows: the graph's operators that keep them, by different means.
type Windowing = fn(&Stream<Rec>) -> Stream<(i64, u64)>;

fn sessions(stream: &Stream<Rec>) -> Stream<(i64, u64)> {
    let counted = stream.key_by(|_| 0u64).window(Session::with_gap(millis(20))).aggregate("window", Count::new());
    counted.map(|windowed| (windowed.window.start, windowed.value))
}

fn joined(stream: &Stream<Rec>) -> Stream<(i64, u64)> {
    let keyed = stream.key_by(|_| 0u64);
    let windows = keyed.window_join(&keyed, Tumbling::of(millis(50)));
    windows.process("window", |a: &Rec, b: &Rec, window, emit| {
        if a == b {
            emit((window.start, 1));
        }
    })
}

/// Windows of 50 ms by hand.
struct ByHand(ValueHandle<u64>);

impl KeyedProcessFunction<i64, Rec> for ByHand {
    type Out = (i64, u64);

    fn process(&mut self, record: &Rec, ctx: &mut ProcessContext<'_, '_, i64, Self::Out>) -> Result<(), UserError> {
        if record.1 <= ctx.watermark() {
            return Ok(());
        }
        *ctx.value(self.0).entry()?.get_or_insert(0) += 1;
        Ok(ctx.set_timer(TimeDomain::Event, record.1 / 50 * 50 + 49)?)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, i64, Self::Out>) -> Result<(), UserError> {
        let count = ctx.value(self.0).get()?.copied().unwrap_or(0);
        ctx.value(self.0).clear()?;
        ctx.emit((timer.time - 49, count))
    }
}

fn by_hand(stream: &Stream<Rec>) -> Stream<(i64, u64)> {
    stream.key_by(|record| record.1 / 50).process("window", |states| Ok(ByHand(states.value("count")?)))
}

#[test]
fn a_restore_does_not_set_the_watermark_back_to_a_split_that_was_idle() {
    for windowing in [windows, sessions, joined, by_hand] as [Windowing; 4] {
        for parallelism in [1, 2] {
            let (script, seen) = (Script::unbounded(2), Seen::new());
            let (source, sink) = (script.clone(), seen.clone());
            let mut job = Job::new(parallelism, &[&script], move |graph| {
                let strategy = ascending().idle_after(millis(20));
                windowing(&graph.source("in", source.clone(), strategy)).sink("out", sink.clone());
            });
            let mut running = job.start();
            script.push(0, &[(1, 15, 1)]);
            script.push(1, &[(1, 10, 1)]);
            running.settle();
            running.pass(15);
            script.push(0, &[(1, 101, 1)]);
            running.settle();
            // Now the second split has been silent for 25 ms and is left out.
            running.pass(10);
            running.settle();
            let fired = seen.all();
            assert!(!fired.is_empty(), "parallelism {parallelism}");
            assert_eq!(running.watermark("window"), 100);
            running.crash();

            let mut running = job.start();
            // It counts as live again, and says where it stands.
            running.settle();
            script.push(1, &[(1, 20, 1)]);
            running.settle();
            script.push(0, &[(1, 301, 1)]);
            script.push(1, &[(1, 301, 1)]);
            running.settle();
            running.crash();
            // The record at 20 was late, so nothing of its time fires again; what follows 100 does fire.
            let all = seen.all();
            let (again, later): (Vec<_>, Vec<_>) = all.into_iter().partition(|(start, _)| *start < 50);
            assert_eq!(again, fired, "parallelism {parallelism}");
            assert!(!later.is_empty(), "parallelism {parallelism}");
        }
    }
}

#[test]
fn a_file_with_older_times_is_late_however_often_the_job_is_restored() {
    for parallelism in [1, 2] {
        let (script, seen) = (Script::unbounded(1), Seen::new());
        let (source, sink) = (script.clone(), seen.clone());
        let mut job = Job::new(parallelism, &[&script], move |graph| {
            windows(&graph.source("in", source.clone(), ascending())).sink("out", sink.clone());
        });
        let mut running = job.start();
        script.push(0, &[(1, 10, 1), (1, 1001, 1)]);
        script.end(0);
        running.settle();
        assert_eq!(running.watermark("window"), 1000);
        running.crash();
        // The second file is dealt to the same subtask.
        (0..parallelism).for_each(|_| script.add_split());
        let second = parallelism as usize;
        let mut running = job.start();
        // It is not read before a checkpoint names it.
        running.checkpoint();
        script.push(second, &[(1, 20, 1), (1, 30, 1)]);
        running.settle();
        assert_eq!(running.late("window"), 2, "parallelism {parallelism}");
        running.crash();
        let mut running = job.start();
        running.settle();
        script.push(second, &[(1, 40, 1), (1, 1201, 1)]);
        (1..=second).for_each(|split| script.end(split));
        running.settle();
        assert_eq!(running.late("window"), 1, "parallelism {parallelism}");
        running.crash();
        assert_eq!(seen.all(), [(0, 1), (1000, 1)], "parallelism {parallelism}");
    }
}

#[test]
fn the_end_of_a_bounded_input_does_not_make_every_later_file_late() {
    let (script, seen) = (Script::bounded(1), Seen::new());
    let (source, sink) = (script.clone(), seen.clone());
    let mut job = Job::new(1, &[&script], move |graph| {
        windows(&graph.source("in", source.clone(), ascending())).sink("out", sink.clone());
    });
    let mut running = job.start();
    script.push(0, &[(1, 10, 1), (1, 1001, 1)]);
    running.settle();
    script.end(0);
    running.settle();
    assert_eq!(running.watermark("window"), i64::MAX);
    running.crash();
    script.add_split();
    let mut running = job.start();
    running.checkpoint();
    script.push(1, &[(1, 20, 1), (1, 1201, 1)]);
    running.settle();
    assert_eq!(running.late("window"), 1, "only the one behind the last watermark before the end");
    script.end(1);
    running.settle();
    running.crash();
    assert_eq!(seen.all(), [(0, 1), (1000, 1), (1200, 1)]);
}

#[test]
fn a_checkpoint_before_the_first_watermark_keeps_the_restored_one() {
    for parallelism in [1, 2] {
        let (script, seen) = (Script::unbounded(1), Seen::new());
        let (source, sink) = (script.clone(), seen.clone());
        let mut job = Job::new(parallelism, &[&script], move |graph| {
            windows(&graph.source("in", source.clone(), ascending())).sink("out", sink.clone());
        });
        let mut running = job.start();
        script.push(0, &[(1, 10, 1), (1, 1000, 1)]);
        running.settle();
        running.crash();
        let mut running = job.start();
        running.checkpoint();
        running.crash();
        let mut running = job.start();
        script.push(0, &[(1, 20, 1)]);
        running.settle();
        assert_eq!(running.late("window"), 1, "parallelism {parallelism}");
        running.crash();
        assert_eq!(seen.all(), [(0, 1)], "parallelism {parallelism}");
    }
}
