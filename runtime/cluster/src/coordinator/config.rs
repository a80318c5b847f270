//! From the resolved job to the coordinator's settings.

use weir_api::ResolvedJob;
use weir_protocol::coordinator::CoordinatorConfig;
use weir_protocol::restart::RestartPolicy;

/// How often the journal's head is looked at when nothing else does, in milliseconds. A process that was replaced has to
/// leave within 5 s.
const HEAD_POLL_MS: u64 = 2_000;

/// The coordinator's settings for a job.
pub(super) fn coordinator_config(job: &ResolvedJob) -> CoordinatorConfig {
    let (checkpoint, restart) = (&job.checkpoint, &job.restart);
    CoordinatorConfig {
        interval_ms: Some(checkpoint.interval.as_millis().max(1)),
        every_records: checkpoint.every_records,
        every_bytes: checkpoint.every_bytes,
        min_pause_ms: checkpoint.min_pause.as_millis(),
        timeout_ms: checkpoint.timeout.as_millis(),
        retained: checkpoint.retained as usize,
        tolerable_failures: checkpoint.tolerable_failures,
        restart: RestartPolicy {
            initial_ms: restart.initial.as_millis(),
            max_ms: restart.max.as_millis(),
            reset_after_ms: restart.reset_after.as_millis(),
            budget: restart.budget,
            ..RestartPolicy::default()
        },
        head_poll_ms: HEAD_POLL_MS,
        ..CoordinatorConfig::default()
    }
}
