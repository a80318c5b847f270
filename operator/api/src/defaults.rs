//! Every default of a job, once. The reference and the schema's descriptions are held against these by tests.

use crate::duration::Duration;

/// `spec.workers`; also in the schema, because the scale subresource reads the field.
pub const WORKERS: i32 = 1;
/// `spec.maxParallelism`; also in the schema, because it is immutable.
pub const MAX_PARALLELISM: i32 = 128;
/// `spec.worker.slots`
pub const SLOTS: i32 = 1;
/// `spec.worker.memory`
pub const MEMORY: &str = "1Gi";
/// `spec.worker.cpu`, per slot, in thousandths of a core
pub const CPU_MILLIS_PER_SLOT: u64 = 1000;
/// `spec.worker.disk`
pub const DISK: &str = "10Gi";
/// `spec.storage.region` if there is an endpoint: services of that kind ignore it or expect this one
pub const REGION_WITH_ENDPOINT: &str = "us-east-1";
/// `spec.checkpoint.interval`
pub const INTERVAL: Duration = Duration::from_secs(10);
/// `spec.checkpoint.minPause`
pub const MIN_PAUSE: Duration = Duration::ZERO;
/// `spec.checkpoint.timeout`
pub const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(600);
/// `spec.checkpoint.retained`
pub const RETAINED: i32 = 6;
/// `spec.checkpoint.maxConcurrent`
pub const MAX_CONCURRENT: i32 = 1;
/// `spec.checkpoint.tolerableFailures`
pub const TOLERABLE_FAILURES: i32 = 3;
/// `spec.restart.initial`
pub const RESTART_INITIAL: Duration = Duration::from_secs(1);
/// `spec.restart.max`
pub const RESTART_MAX: Duration = Duration::from_secs(60);
/// `spec.restart.resetAfter`
pub const RESTART_RESET_AFTER: Duration = Duration::from_secs(600);
/// `spec.upgrade.finalCheckpointTimeout`
pub const FINAL_CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(60);
/// `spec.rescale.minInterval`
pub const RESCALE_MIN_INTERVAL: Duration = Duration::from_secs(10);
/// `spec.upgrade.deadline`
pub const UPGRADE_DEADLINE: Duration = Duration::from_secs(300);
