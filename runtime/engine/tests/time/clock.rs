//! Processing time as user functions see it.

use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext};
use weir_engine::time::Clock;

use super::flow::{Job, Rec, START_MS, Script, Seen};
use super::{HOUR_MS, ascending};

/// Emits the processing time at which each record came.
struct Arrival;

impl KeyedProcessFunction<u64, Rec> for Arrival {
    type Out = i64;

    fn process(&mut self, _record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, i64>) -> Result<(), UserError> {
        let now = ctx.now();
        ctx.emit(now)
    }
}

#[test]
fn the_first_batch_after_silence_is_processed_at_the_time_it_comes() {
    let (script, seen) = (Script::unbounded(1), Seen::new());
    let (source, sink) = (script.clone(), seen.clone());
    let mut job = Job::new(2, &[&script], move |graph| {
        let records = graph.source("in", source.clone(), ascending());
        records.key_by(|record| record.0).process("arrival", |_| Ok(Arrival)).sink("out", sink.clone());
    });
    let clock = job.clock();
    let mut running = job.start();
    script.push(0, &[(1, 1, 1)]);
    running.settle();
    clock.pass(HOUR_MS as u64);
    assert_eq!(clock.now_ms(), START_MS + HOUR_MS);
    script.push(0, &[(1, 2, 1)]);
    running.settle();
    running.crash();
    assert_eq!(seen.all(), [START_MS, START_MS + HOUR_MS]);
}
