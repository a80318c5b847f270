//! Event time at the source, and the clock.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where processing time comes from. Injected, so that tests and simulations decide it.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since the Unix epoch.
    fn now_us(&self) -> u64;

    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64 {
        (self.now_us() / 1000) as i64
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map(|d| d.as_micros() as u64).unwrap_or(0)
    }
}

/// Appends one event time per record.
pub(crate) type Assign<T> = Arc<dyn Fn(&[T], &mut Vec<i64>) + Send + Sync>;

/// How a source's records get event times, and how far out of order they may be.
///
/// The watermark of a split is its highest event time so far, minus the bound, minus 1 ms; a subtask's is the lowest of
/// its splits; it never goes backwards and is stored in every checkpoint.
pub struct WatermarkStrategy<T> {
    pub(crate) assign: Option<Assign<T>>,
    pub(crate) bound_ms: i64,
    pub(crate) idle_after: Option<Duration>,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        Self { assign: self.assign.clone(), bound_ms: self.bound_ms, idle_after: self.idle_after }
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// No event time: windows and timers run on processing time.
    pub fn none() -> Self {
        Self { assign: None, bound_ms: 0, idle_after: None }
    }

    /// Event times (milliseconds since the Unix epoch) that never decrease within a split.
    pub fn ascending(time: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Self {
        Self::bounded(time, Duration::ZERO)
    }

    /// Event times that are at most `bound` behind the highest one seen in their split.
    pub fn bounded(time: impl Fn(&T) -> i64 + Send + Sync + 'static, bound: Duration) -> Self {
        let assign: Assign<T> = Arc::new(move |records, times| times.extend(records.iter().map(&time)));
        Self { assign: Some(assign), bound_ms: i64::try_from(bound.as_millis()).unwrap_or(i64::MAX), idle_after: None }
    }

    /// A split without records for this long no longer holds the watermark back.
    #[must_use]
    pub fn idle_after(mut self, timeout: Duration) -> Self {
        self.idle_after = Some(timeout);
        self
    }
}
