//! How far a deployment is: counters read while it runs, without asking its subtasks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use super::deployment::{Current, Running};
use crate::message::{LoadSample, OperatorSample, WorkerSample};

impl Current {
    /// A look at the subtasks and the store; `None` before they run.
    pub(super) fn sample(&self) -> Option<WorkerSample> {
        let running = self.running.as_ref()?;
        let mut sample = WorkerSample {
            generation: self.generation,
            loads: loads(running),
            store: self.store.stats(),
            ..WorkerSample::default()
        };
        for (key, counters) in &running.deployment.metrics {
            let watermark = counters.watermark.load(Relaxed);
            let operator = OperatorSample {
                records_in: counters.records_in.load(Relaxed),
                records_out: counters.records_out.load(Relaxed),
                bytes_in: counters.bytes_in.load(Relaxed),
                late: counters.records_late.load(Relaxed),
                dead: counters.records_dead.load(Relaxed),
                watermark: (watermark != i64::MIN).then_some(watermark),
            };
            if running.sources.contains(&key.0) {
                sample.source_records += operator.records_in;
                sample.source_bytes += operator.bytes_in;
            }
            sample.operators.insert(key.clone(), operator);
        }
        Some(sample)
    }
}

fn loads(running: &Running) -> BTreeMap<(weir_protocol::OperatorId, u32), LoadSample> {
    let total_ns = u64::try_from(running.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let load = |load: &weir_engine::task::TaskLoad| LoadSample {
        idle_ns: load.idle_ns.load(Relaxed),
        blocked_ns: load.blocked_ns.load(Relaxed),
        aligning_ns: load.aligning_ns.load(Relaxed),
        total_ns,
    };
    running.deployment.loads.iter().map(|(key, counters)| (key.clone(), load(counters))).collect()
}
