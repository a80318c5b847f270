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
