//! Durations in Go's syntax: `250ms`, `10s`, `1h30m`.
//!
//! Kubernetes users know this form, CEL's `duration()` reads it, and it says its unit. Arithmetic is exact, in whole
//! nanoseconds; a duration is never negative. What [`FORM`] accepts as a pattern is what the parser accepts, so that an
//! object the API server stored can always be read.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form::Form;

/// The form of a duration in a manifest.
pub const FORM: Form = Form {
    regex: r"^(0|([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+)$",
    max_length: 32,
    allowed: "a duration such as 250ms, 10s or 1h30m",
    check: |text| text.parse::<Duration>().map(drop).map_err(|e| e.to_string()),
};

/// Units from large to small, with their length in nanoseconds.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The longest duration, Go's own limit: about 292 years.
pub const MAX: Duration = Duration { nanos: i64::MAX as u64 };

/// A length of time of at least zero, in whole nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    nanos: u64,
}

/// Why a text is no duration, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing was written.
    #[error("write a number and a unit, such as 10s")]
    Empty,
    /// A number without a unit.
    #[error("`{0}` has no unit: write `{0}s` for seconds or `{0}ms` for milliseconds")]
    NoUnit(String),
    /// A unit that Go's syntax does not have.
    #[error("`{unit}` is not a unit: {hint}")]
    UnknownUnit {
        /// What stands where a unit belongs.
        unit: String,
        /// What to write instead.
        hint: &'static str,
    },
    /// Something that is no digit where a number belongs.
    #[error("a number is expected at `{0}`: write it without blanks or signs, such as 1h30m")]
    NoNumber(String),
    /// Below zero.
    #[error("a duration cannot be negative: remove the sign")]
    Negative,
    /// More than [`MAX`].
    #[error("it is longer than 292 years: write a shorter one")]
    TooLong,
}

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration { nanos: 0 };

    /// A duration of whole milliseconds, at most [`MAX`].
    pub const fn from_millis(millis: u64) -> Duration {
        match millis.checked_mul(1_000_000) {
            Some(nanos) if nanos <= MAX.nanos => Duration { nanos },
            _ => MAX,
        }
    }

    /// A duration of whole seconds, at most [`MAX`].
    pub const fn from_secs(secs: u64) -> Duration {
        Duration::from_millis(secs.saturating_mul(1000))
    }

    /// Whole milliseconds; a rest below one counts as one, so that a short wait never becomes none.
    pub const fn as_millis(self) -> u64 {
        self.nanos.div_ceil(1_000_000)
    }

    /// Nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// The same as a standard duration.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.nanos)
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.as_std()
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        match text {
            "" => return Err(DurationError::Empty),
            "0" => return Ok(Duration::ZERO),
            _ if text.starts_with('-') => return Err(DurationError::Negative),
            _ => {}
        }
        let mut rest = text;
        let mut total: u128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = take_component(rest)?;
            total = total.saturating_add(nanos);
            rest = after;
        }
        match u64::try_from(total) {
            Ok(nanos) if nanos <= MAX.nanos => Ok(Duration { nanos }),
            _ => Err(DurationError::TooLong),
        }
    }
}

/// Reads one number with its unit; gives nanoseconds and what follows.
fn take_component(text: &str) -> Result<(u128, &str), DurationError> {
    let (whole, rest) = take_while(text, |c| c.is_ascii_digit());
    if whole.is_empty() {
        return Err(DurationError::NoNumber(text.to_owned()));
    }
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => {
            let (digits, rest) = take_while(after, |c| c.is_ascii_digit());
            if digits.is_empty() {
                return Err(DurationError::NoNumber(text.to_owned()));
            }
            (digits, rest)
        }
        None => ("", rest),
    };
    let (unit, rest) = take_while(rest, |c| !c.is_ascii_digit() && c != '.');
    if unit.is_empty() {
        return Err(DurationError::NoUnit(text.to_owned()));
    }
    let Some((_, length)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::UnknownUnit { unit: unit.to_owned(), hint: unit_hint(unit) });
    };
    let length = u128::from(*length);
    let whole: u128 = whole.parse().map_err(|_| DurationError::TooLong)?;
    // 18 digits are more than any unit has nanoseconds; finer ones are cut, as Go does.
    let digits = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(digits.len()).expect("at most 18 digits"));
    let part = digits.parse::<u128>().unwrap_or(0) * length / scale;
    Ok((whole.saturating_mul(length).saturating_add(part), rest))
}

fn take_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

fn unit_hint(unit: &str) -> &'static str {
    match unit.trim().to_ascii_lowercase().as_str() {
        "d" | "day" | "days" => "write days in hours, such as 24h",
        "sec" | "secs" | "second" | "seconds" => "write s, as in 10s",
        "min" | "mins" | "minute" | "minutes" => "write m, as in 5m",
        "hour" | "hours" | "hr" => "write h, as in 1h",
        "msec" | "millis" | "millisecond" | "milliseconds" => "write ms, as in 250ms",
        "h" | "m" | "s" | "ms" | "us" | "ns" => "write it in lower case right behind the number, as in 10s",
        _ => "units are ms, s, m and h",
    }
}

impl fmt::Display for Duration {
    /// The shortest whole components: `1h30m`, `1s500ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.nanos;
        for (unit, length) in UNITS {
            if rest >= length {
                write!(f, "{}{unit}", rest / length)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": FORM.regex, "maxLength": FORM.max_length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<(u64, &str), &str>) {
        let found = text.parse::<Duration>().map(|d| (d.as_nanos(), d.to_string()));
        match (found, expected) {
            (Ok((nanos, shown)), Ok((expected, expected_shown))) => {
                assert_eq!((nanos, shown.as_str()), (expected, expected_shown), "{text}");
            }
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected, "{text}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_duration_is_read_exactly_and_shown_in_whole_components() {
        const S: u64 = 1_000_000_000;
        check("0", Ok((0, "0s")));
        check("0s", Ok((0, "0s")));
        check("10s", Ok((10 * S, "10s")));
        check("250ms", Ok((S / 4, "250ms")));
        check("1h30m", Ok((5400 * S, "1h30m")));
        check("90m", Ok((5400 * S, "1h30m")));
        check("1.5s", Ok((S * 3 / 2, "1s500ms")));
        check("0.1s", Ok((S / 10, "100ms")));
        check("100us5ns", Ok((100_005, "100us5ns")));
        check("1.0000000000000000000001ns", Ok((1, "1ns")));
        check("2562047h47m16.854775807s", Ok((i64::MAX as u64, "2562047h47m16s854ms775us807ns")));
    }

    #[test]
    fn a_text_that_is_no_duration_says_what_to_write() {
        check("", Err("write a number and a unit, such as 10s"));
        check("10", Err("`10` has no unit: write `10s` for seconds or `10ms` for milliseconds"));
        check("1m30", Err("`30` has no unit: write `30s` for seconds or `30ms` for milliseconds"));
        check("1d", Err("`d` is not a unit: write days in hours, such as 24h"));
        check("10 s", Err("` s` is not a unit: write it in lower case right behind the number, as in 10s"));
        check("10S", Err("`S` is not a unit: write it in lower case right behind the number, as in 10s"));
        check("5min", Err("`min` is not a unit: write m, as in 5m"));
        check("3parsecs", Err("`parsecs` is not a unit: units are ms, s, m and h"));
        check("-5s", Err("a duration cannot be negative: remove the sign"));
        check("+5s", Err("a number is expected at `+5s`: write it without blanks or signs, such as 1h30m"));
        check("soon", Err("a number is expected at `soon`: write it without blanks or signs, such as 1h30m"));
        check(".5s", Err("a number is expected at `.5s`: write it without blanks or signs, such as 1h30m"));
        check("1.s", Err("a number is expected at `1.s`: write it without blanks or signs, such as 1h30m"));
        check("2562048h", Err("it is longer than 292 years: write a shorter one"));
        check("99999999999999999999999999999999999999999h", Err("it is longer than 292 years: write a shorter one"));
    }

    #[test]
    fn a_rest_below_a_millisecond_counts_as_one() {
        assert_eq!("1us".parse::<Duration>().unwrap().as_millis(), 1);
        assert_eq!("10s".parse::<Duration>().unwrap().as_millis(), 10_000);
        assert_eq!(Duration::from_secs(u64::MAX), MAX);
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_as_the_same(nanos in 0..=MAX.nanos) {
            let duration = Duration { nanos };
            prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        }

        #[test]
        fn parser_and_pattern_accept_the_same_texts(text in "[0-9]{0,3}(\\.[0-9]{0,2})?(ns|us|ms|s|m|h|d|)[0-9]{0,2}(s|m|)") {
            let pattern = regex::Regex::new(FORM.regex).unwrap();
            prop_assert_eq!(text.parse::<Duration>().is_ok(), pattern.is_match(&text), "{}", text);
        }
    }
}
