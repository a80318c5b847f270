//! The bounds of every number, duration and quantity of a job: each has a name and a way out.
//!
//! A bound is written once, here. It becomes a CEL rule in the schema (so that the API server refuses), a check when a
//! job is resolved (so that `weir run` refuses), and both say the same words.

use std::fmt;

use kube::core::{Message, Rule};

use crate::duration::Duration;
use crate::invalid::Invalid;
use crate::path::FieldPath;
use crate::quantity::Quantity;

/// Inclusive bounds of a whole number.
#[derive(Debug, Clone, Copy)]
pub struct IntBounds {
    /// The smallest value allowed.
    pub min: i64,
    /// The largest value allowed; `i64::MAX` means none worth naming.
    pub max: i64,
    /// What to do about a value outside.
    pub hint: &'static str,
}

/// Inclusive bounds of a duration.
#[derive(Debug, Clone, Copy)]
pub struct DurationBounds {
    /// The shortest duration allowed.
    pub min: Duration,
    /// The longest duration allowed.
    pub max: Duration,
    /// What to do about a value outside.
    pub hint: &'static str,
}

/// Inclusive bounds of a quantity, as texts because quantities are not constant expressions.
#[derive(Debug, Clone, Copy)]
pub struct QuantityBounds {
    /// The smallest quantity allowed.
    pub min: &'static str,
    /// The largest quantity allowed. There is always one: Kubernetes reads larger numbers than [`Quantity`] does.
    pub max: &'static str,
    /// What to do about a value outside.
    pub hint: &'static str,
}

const fn ints(min: i64, max: i64, hint: &'static str) -> IntBounds {
    IntBounds { min, max, hint }
}

const fn millis(min: u64, max: u64, hint: &'static str) -> DurationBounds {
    DurationBounds { min: Duration::from_millis(min), max: Duration::from_millis(max), hint }
}

const fn quantities(min: &'static str, max: &'static str, hint: &'static str) -> QuantityBounds {
    QuantityBounds { min, max, hint }
}

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;

/// `spec.workers`
pub const WORKERS: IntBounds = ints(1, 1, "a job has one worker for now: raise spec.worker.slots to use more cores");
/// `spec.maxParallelism`
pub const MAX_PARALLELISM: IntBounds =
    ints(1, 32_768, "it is the number of key groups: choose a few times the parallelism the job may ever need");
/// `spec.worker.slots`
pub const SLOTS: IntBounds = ints(1, 1024, "one slot keeps about one core busy");
/// `spec.worker.memory`
pub const MEMORY: QuantityBounds = quantities("64Mi", "4Ti", "it is the whole process's memory, state included");
/// `spec.worker.cpu`
pub const CPU: QuantityBounds = quantities("10m", "1024", "it is a number of cores");
/// `spec.worker.disk`
pub const DISK: QuantityBounds = quantities("64Mi", "64Ti", "it holds the local copy of the state");
/// `spec.checkpoint.interval`
pub const INTERVAL: DurationBounds =
    millis(10, DAY, "10s suits most jobs: the time between checkpoints is what a failure repeats");
/// `spec.checkpoint.minPause`
pub const MIN_PAUSE: DurationBounds = millis(0, DAY, "0s lets checkpoints follow each other at once");
/// `spec.checkpoint.timeout`
pub const CHECKPOINT_TIMEOUT: DurationBounds =
    millis(10, DAY, "10m suits most jobs: a checkpoint that takes longer is given up");
/// `spec.checkpoint.retained`
pub const RETAINED: IntBounds =
    ints(1, 100, "at least the newest checkpoint is kept: take a savepoint to keep one for good");
/// `spec.checkpoint.maxConcurrent`
pub const MAX_CONCURRENT: IntBounds =
    ints(1, 1, "checkpoints run one at a time, each builds on the one before: lower the interval instead");
/// `spec.checkpoint.everyRecords`
pub const EVERY_RECORDS: IntBounds = ints(1, i64::MAX, "leave it out to trigger checkpoints by time only");
/// `spec.checkpoint.everyBytes`
pub const EVERY_BYTES: QuantityBounds = quantities("1", "1Ei", "leave it out to trigger checkpoints by time only");
/// `spec.checkpoint.tolerableFailures`
pub const TOLERABLE_FAILURES: IntBounds = ints(0, 1_000_000, "0 restarts the job at the first checkpoint that fails");
/// `spec.restart.initial`
pub const RESTART_INITIAL: DurationBounds = millis(1, HOUR, "1s suits most jobs");
/// `spec.restart.max`
pub const RESTART_MAX: DurationBounds = millis(1, DAY, "1m suits most jobs");
/// `spec.restart.resetAfter`
pub const RESTART_RESET_AFTER: DurationBounds =
    millis(SECOND, 7 * DAY, "10m suits most jobs: after so long without a failure the delay starts small again");
/// `spec.restart.budget`
pub const RESTART_BUDGET: IntBounds = ints(0, 1_000_000, "0 never restarts, leave it out to restart without end");
/// `spec.upgrade.finalCheckpointTimeout`
pub const FINAL_CHECKPOINT_TIMEOUT: DurationBounds =
    millis(10, DAY, "60s suits most jobs: after that the latest completed checkpoint is used");
/// `spec.upgrade.deadline`
pub const UPGRADE_DEADLINE: DurationBounds =
    millis(SECOND, 7 * DAY, "5m suits most jobs: an upgrade without a checkpoint by then is rolled back");
/// `spec.rescale.minInterval`
pub const RESCALE_MIN_INTERVAL: DurationBounds =
    millis(SECOND, DAY, "10s suits most jobs: each rescale stops the job for its final checkpoint");
/// Nonces: `spec.restartNonce`, `spec.checkpointNonce`, `spec.savepoint.nonce`
pub const NONCE: IntBounds = ints(0, i64::MAX, "write any number not used before, such as the last one plus 1");
/// `spec.restoreFrom.checkpoint`
pub const CHECKPOINT_ID: IntBounds = ints(0, i64::MAX, "`weir inspect checkpoints` lists the ids");

impl IntBounds {
    /// The bounds in words.
    pub fn allowed(&self) -> String {
        match (self.min, self.max) {
            (min, max) if min == max => min.to_string(),
            (min, i64::MAX) => format!("{min} or more"),
            (min, max) => format!("{min} to {max}"),
        }
    }

    /// The bounds as a CEL rule on the field.
    pub fn rule(&self) -> Rule {
        let rule = match self.max {
            i64::MAX => format!("self >= {}", self.min),
            max => format!("self >= {} && self <= {max}", self.min),
        };
        Rule::new(rule).message(Message::Message(message(self.allowed(), self.hint)))
    }

    /// The value, or why it is refused.
    pub(crate) fn check(&self, path: &str, value: i64) -> Result<u64, Invalid> {
        match u64::try_from(value) {
            Ok(inside) if (self.min..=self.max).contains(&value) => Ok(inside),
            _ => Err(self.refuse(path, value)),
        }
    }

    /// The same for values that 32 bits hold because the bounds do.
    pub(crate) fn check_u32(&self, path: &str, value: i64) -> Result<u32, Invalid> {
        let value = self.check(path, value)?;
        u32::try_from(value).map_err(|_| self.refuse(path, value))
    }

    fn refuse(&self, path: &str, found: impl fmt::Display) -> Invalid {
        Invalid::new(FieldPath::dotted(path), found, self.allowed(), self.hint)
    }
}

impl DurationBounds {
    /// The bounds in words.
    pub fn allowed(&self) -> String {
        format!("{} to {}", self.min, self.max)
    }

    /// The bounds as a CEL rule on the field.
    pub fn rule(&self) -> Rule {
        let (min, max) = (self.min, self.max);
        Rule::new(format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')"))
            .message(Message::Message(message(self.allowed(), self.hint)))
    }

    /// The value, or why it is refused.
    pub(crate) fn check(&self, path: &str, value: Duration) -> Result<Duration, Invalid> {
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            let path = FieldPath::dotted(path);
            Err(Invalid::new(path, value, self.allowed(), self.hint))
        }
    }
}

impl QuantityBounds {
    /// The bounds in words.
    pub fn allowed(&self) -> String {
        format!("{} to {}", self.min, self.max)
    }

    /// The bounds as a CEL rule on the field, which holds a text or a number.
    pub fn rule(&self) -> Rule {
        let (min, max) = (self.min, self.max);
        Rule::new(format!(
            "quantity(string(self)).compareTo(quantity('{min}')) >= 0 && quantity(string(self)).compareTo(quantity('{max}')) <= 0"
        ))
        .message(Message::Message(message(self.allowed(), self.hint)))
    }

    /// The value, or why it is refused.
    pub(crate) fn check<'q>(&self, path: &str, value: &'q Quantity) -> Result<&'q Quantity, Invalid> {
        let bound = |text: &str| text.parse::<Quantity>().expect("bounds are quantities");
        if (bound(self.min)..=bound(self.max)).contains(value) {
            return Ok(value);
        }
        let shown = value.to_string();
        let hint = match shown.strip_suffix('m') {
            Some(number) if value.nanos() > 0 && !self.min.ends_with('m') => {
                format!("`m` means a thousandth: write {number}Mi for mebibytes")
            }
            _ => self.hint.to_owned(),
        };
        let path = FieldPath::dotted(path);
        Err(Invalid::new(path, shown, self.allowed(), hint))
    }
}

/// What a schema's rule says; the API server puts path and value before it.
pub(crate) fn message(allowed: impl fmt::Display, hint: &str) -> String {
    format!("allowed: {allowed}; {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: fmt::Debug>(result: Result<T, Invalid>, expected: Option<&str>) {
        let message = result.err().map(|e| e.to_string());
        assert_eq!(message.as_deref(), expected);
    }

    #[test]
    fn bounds_are_inclusive_and_say_what_is_allowed() {
        check(WORKERS.check_u32("spec.workers", 1), None);
        check(
            WORKERS.check_u32("spec.workers", 2),
            Some(
                "spec.workers: found 2; allowed: 1; a job has one worker for now: raise spec.worker.slots to use more cores",
            ),
        );
        check(SLOTS.check_u32("spec.worker.slots", 1024), None);
        check(
            SLOTS.check_u32("spec.worker.slots", -1),
            Some("spec.worker.slots: found -1; allowed: 1 to 1024; one slot keeps about one core busy"),
        );
        check(NONCE.check("spec.restartNonce", i64::MAX), None);
        check(INTERVAL.check("i", Duration::from_millis(10)), None);
        check(
            INTERVAL.check("i", Duration::from_millis(9)),
            Some(
                "i: found 9ms; allowed: 10ms to 24h; 10s suits most jobs: the time between checkpoints is what a failure repeats",
            ),
        );
        check(MEMORY.check("m", &"64Mi".parse().unwrap()), None);
        check(
            MEMORY.check("m", &"512m".parse().unwrap()),
            Some("m: found 512m; allowed: 64Mi to 4Ti; `m` means a thousandth: write 512Mi for mebibytes"),
        );
        check(
            EVERY_BYTES.check("b", &"0".parse().unwrap()),
            Some("b: found 0; allowed: 1 to 1Ei; leave it out to trigger checkpoints by time only"),
        );
    }
}
