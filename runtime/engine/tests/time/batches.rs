//! Records with event time and records without, in one stream.

use weir_engine::error::UserError;
use weir_engine::operators::process::{KeyedProcessFunction, ProcessContext, TimeDomain, Timer};
use weir_engine::time::WatermarkStrategy;

use super::flow::{Job, Rec, START_MS, Script, Seen};

/// Emits each record as it comes, without a time, and again from a timer that is due at once, with one.
struct Twice;

impl KeyedProcessFunction<u64, Rec> for Twice {
    type Out = Rec;

    fn process(&mut self, record: &Rec, ctx: &mut ProcessContext<'_, '_, u64, Rec>) -> Result<(), UserError> {
        let now = ctx.now();
        ctx.set_timer(TimeDomain::Processing, now)?;
        ctx.emit(*record)
    }

    fn on_timer(&mut self, timer: Timer, ctx: &mut ProcessContext<'_, '_, u64, Rec>) -> Result<(), UserError> {
        let key = *ctx.key();
        ctx.emit((key, timer.time, 2))
    }
}

#[test]
fn records_with_and_without_event_time_share_no_batch() {
    for keyed in [false, true] {
        let (script, seen) = (Script::unbounded(1), Seen::new());
        let (source, sink) = (script.clone(), seen.clone());
        let mut job = Job::new(2, &[&script], move |graph| {
            let records = graph.source("in", source.clone(), WatermarkStrategy::none()).key_by(|record| record.0);
            let twice = records.process("twice", |_| Ok(Twice));
            let moved =
                if keyed { twice.key_by(|_| 0u64).partitioned() } else { twice.rebalance().with_parallelism(1) };
            moved.filter(|record| record.0 > 0).sink("out", sink.clone());
        });
        let mut running = job.start();
        script.push(0, &[(0, 1, 1), (1, 2, 1), (2, 3, 1)]);
        running.settle();
        running.crash();
        assert_eq!(seen.all(), [(1, 2, 1), (1, START_MS, 2), (2, 3, 1), (2, START_MS, 2)], "keyed: {keyed}");
    }
}
