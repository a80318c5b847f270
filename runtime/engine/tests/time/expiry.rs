//! Values that expire: by the clock of the batch at hand, from the first one on.

use std::time::Duration;

use weir_engine::error::UserError;
use weir_engine::graph::Graph;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext};
use weir_state::{StateDescriptor, Ttl, ValueHandle};

use super::flow::{Job, Rec, Script, Seen};
use super::{HOUR, HOUR_MS, ascending};

/// Numbers the records of a key, in a value that expires.
struct Expiring(ValueHandle<u64>);

impl KeyedProcessFunction<u64, Rec> for Expiring {
    type Out = (i64, u64);

    fn process(&mut self, record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, Self::Out>) -> Result<(), UserError> {
        let count = ctx.value(self.0).entry()?.get_or_insert(0);
        *count += 1;
        let count = *count;
        ctx.emit((record.1, count))
    }
}

fn expiring_job(parallelism: u32, script: &Script, seen: &Seen<(i64, u64)>, life: Duration) -> Job {
    let (source, sink) = (script.clone(), seen.clone());
    Job::new(parallelism, &[script], move |graph: &Graph| {
        let counts = graph.source("in", source.clone(), ascending()).key_by(|record| record.0);
        let state = StateDescriptor::new("count").ttl(Ttl::after_write(life));
        counts.process("count", move |states| Ok(Expiring(states.value(state.clone())?))).sink("out", sink.clone());
    })
}

#[test]
fn a_value_written_by_the_first_batch_lives_its_whole_life() {
    let (script, seen) = (Script::unbounded(1), Seen::new());
    let mut job = expiring_job(1, &script, &seen, 24 * HOUR);
    let mut running = job.start();
    script.push(0, &[(1, 1, 1)]);
    running.settle();
    script.push(0, &[(1, 2, 1)]);
    running.settle();
    assert_eq!(seen.all(), [(1, 1), (2, 2)]);
    running.crash();
}

#[test]
fn a_value_that_expired_while_the_job_was_down_is_gone_for_the_first_batch() {
    for parallelism in [1, 2] {
        let (script, seen) = (Script::unbounded(1), Seen::new());
        let mut job = expiring_job(parallelism, &script, &seen, HOUR);
        let mut running = job.start();
        script.push(0, &[(1, 1, 1)]);
        running.settle();
        // The second batch writes with a clock that some other batch has set.
        script.push(0, &[(1, 2, 1)]);
        running.settle();
        running.crash();
        job.clock().pass(2 * HOUR_MS as u64);
        let mut running = job.start();
        script.push(0, &[(1, 3, 1)]);
        running.settle();
        assert_eq!(seen.all().last(), Some(&(3, 1)), "parallelism {parallelism}");
        running.crash();
    }
}

#[test]
fn a_value_that_expired_while_the_input_was_silent_is_gone_for_the_next_batch() {
    for parallelism in [1, 2] {
        let (script, seen) = (Script::unbounded(1), Seen::new());
        let mut job = expiring_job(parallelism, &script, &seen, HOUR);
        let clock = job.clock();
        let mut running = job.start();
        script.push(0, &[(1, 1, 1)]);
        running.settle();
        script.push(0, &[(1, 2, 1)]);
        running.settle();
        clock.pass(2 * HOUR_MS as u64);
        script.push(0, &[(1, 3, 1)]);
        running.settle();
        assert_eq!(seen.all().last(), Some(&(3, 1)), "parallelism {parallelism}");
        running.crash();
    }
}
