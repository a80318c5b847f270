//! Inputs that end, fall idle and wake.

use super::flow::{Job, Script, Seen};
use super::{ascending, millis, windows};

#[test]
fn an_ended_input_leaves_the_watermark_to_the_idle_ones() {
    let (script, seen) = (Script::bounded(2), Seen::new());
    let (source, sink) = (script.clone(), seen.clone());
    let mut job = Job::new(2, &[&script], move |graph| {
        let strategy = ascending().idle_after(millis(20));
        windows(&graph.source("in", source.clone(), strategy)).sink("out", sink.clone());
    });
    let mut running = job.start();
    script.push(0, &[(1, 1000, 1)]);
    script.push(1, &[(1, 10, 1)]);
    script.end(0);
    running.settle();
    running.pass(30);
    running.settle();
    script.push(1, &[(1, 20, 1), (1, 60, 1), (1, 1100, 1)]);
    running.settle();
    assert_eq!(running.late("window"), 0);
    script.end(1);
    running.settle();
    assert_eq!(seen.all(), [(0, 2), (50, 1), (1000, 1), (1100, 1)]);
    running.crash();
}

#[test]
fn an_input_that_wakes_without_progress_holds_back_again() {
    let (quick, slow, seen) = (Script::unbounded(1), Script::unbounded(1), Seen::new());
    let (sources, sink) = ((quick.clone(), slow.clone()), seen.clone());
    let mut job = Job::new(1, &[&quick, &slow], move |graph| {
        let quick = graph.source("quick", sources.0.clone(), ascending());
        let slow = graph.source("slow", sources.1.clone(), ascending().idle_after(millis(20)));
        // Two subtasks of its own, which merge and pass on the watermark but not every record.
        let passed = slow.rebalance().with_parallelism(2).filter(|record| record.2 > 0);
        windows(&passed.union(&quick)).sink("out", sink.clone());
    });
    let mut running = job.start();
    slow.push(0, &[(1, 101, 1)]);
    quick.push(0, &[(1, 90, 1)]);
    running.settle();
    assert_eq!(running.watermark("window"), 89);
    running.pass(30);
    running.settle();
    // It wakes with a record that is no progress and goes no further than the filter.
    slow.push(0, &[(1, 101, 0)]);
    running.settle();
    quick.push(0, &[(1, 5000, 1)]);
    running.settle();
    assert_eq!(running.watermark("window"), 100);
    slow.push(0, &[(1, 102, 1)]);
    running.settle();
    assert_eq!(running.late("window"), 0);
    running.crash();
    assert_eq!(seen.all(), [(50, 1)]);
}
