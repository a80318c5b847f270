//! Kubernetes quantities: `1Gi`, `500M`, `2`, `250m`.
//!
//! A quantity keeps the text its author wrote and an exact value in billionths. Signs, negative exponents and bare
//! fractions (`.5`), which Kubernetes would take, mean nothing for memory, disk or cores and are refused.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form::Form;

/// The form of a quantity in a manifest.
pub const FORM: Form = Form {
    regex: r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][0-9]{1,2})?$",
    max_length: 32,
    allowed: "a quantity such as 512Mi, 1Gi or 2",
    check: |text| text.parse::<Quantity>().map(drop).map_err(|e| e.to_string()),
};

/// Billionths in one.
const NANO: u128 = 1_000_000_000;

/// The largest value, Kubernetes' own limit.
const MAX_VALUE: u128 = i64::MAX as u128;

/// Suffixes with their worth in billionths.
const SUFFIXES: [(&str, u128); 16] = [
    ("Ki", NANO << 10),
    ("Mi", NANO << 20),
    ("Gi", NANO << 30),
    ("Ti", NANO << 40),
    ("Pi", NANO << 50),
    ("Ei", NANO << 60),
    ("", NANO),
    ("n", 1),
    ("u", 1_000),
    ("m", 1_000_000),
    ("k", NANO * 1_000),
    ("M", NANO * 1_000_000),
    ("G", NANO * 1_000_000_000),
    ("T", NANO * 1_000_000_000_000),
    ("P", NANO * 1_000_000_000_000_000),
    ("E", NANO * 1_000_000_000_000_000_000),
];

/// An amount of at least zero. Equal and ordered by value, shown as it was written.
#[derive(Clone)]
pub struct Quantity {
    text: String,
    nanos: u128,
}

/// Why a text is no quantity, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It does not begin with a number.
    #[error("write a number without sign or blanks, and a unit such as Mi or Gi")]
    NoNumber,
    /// A suffix that Kubernetes does not have.
    #[error("`{suffix}` is not a unit: {hint}")]
    UnknownSuffix {
        /// What stands where a unit belongs.
        suffix: String,
        /// What to write instead.
        hint: String,
    },
    /// More than 2^63 - 1.
    #[error("it is more than any Kubernetes quantity can be: write a smaller one")]
    TooLarge,
}

impl Quantity {
    /// A number of bytes (or of anything countable), in the largest binary unit that divides it.
    pub fn from_bytes(bytes: u64) -> Quantity {
        let (suffix, shift) = [("Ei", 60), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)]
            .into_iter()
            .find(|(_, shift)| bytes != 0 && bytes.is_multiple_of(1 << shift))
            .unwrap_or(("", 0));
        Quantity { text: format!("{}{suffix}", bytes >> shift), nanos: u128::from(bytes) * NANO }
    }

    /// A number of thousandths, such as millicores.
    pub fn from_millis(millis: u64) -> Quantity {
        let text = if millis.is_multiple_of(1000) { (millis / 1000).to_string() } else { format!("{millis}m") };
        Quantity { text, nanos: u128::from(millis) * (NANO / 1000) }
    }

    /// The whole number of bytes, rounded up as Kubernetes does.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANO)).expect("the parser holds values below 2^63")
    }

    /// The whole number of thousandths, rounded up.
    pub fn millis(&self) -> u64 {
        u64::try_from(self.nanos.div_ceil(NANO / 1000)).unwrap_or(u64::MAX)
    }

    /// The exact value in billionths.
    pub fn nanos(&self) -> u128 {
        self.nanos
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(number_end);
        let (whole, fraction) = match number.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() && !fraction.contains('.') => (whole, fraction),
            Some(_) => return Err(QuantityError::NoNumber),
            None => (number, ""),
        };
        if whole.is_empty() {
            return Err(QuantityError::NoNumber);
        }
        let worth = match SUFFIXES.iter().find(|(name, _)| *name == suffix) {
            Some((_, worth)) => *worth,
            None => exponent(suffix).ok_or_else(|| QuantityError::UnknownSuffix {
                suffix: suffix.to_owned(),
                hint: suffix_hint(suffix),
            })??,
        };
        let nanos = times(whole, worth)?
            .checked_add(part_of(fraction, worth))
            .filter(|nanos| *nanos <= MAX_VALUE * NANO)
            .ok_or(QuantityError::TooLarge)?;
        Ok(Quantity { text: text.to_owned(), nanos })
    }
}

/// The worth of `e3` or `E3`; `None` if the suffix is no exponent.
fn exponent(suffix: &str) -> Option<Result<u128, QuantityError>> {
    let digits = suffix.strip_prefix('e').or_else(|| suffix.strip_prefix('E'))?;
    if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let power: u32 = digits.parse().ok()?;
    // Beyond 10^18 only zero would fit; its value does not depend on the power.
    Some(match 10u128.checked_pow(power.min(20)) {
        Some(ten) => Ok(ten * NANO),
        None => Err(QuantityError::TooLarge),
    })
}

fn times(whole: &str, worth: u128) -> Result<u128, QuantityError> {
    let whole: u128 = whole.parse().map_err(|_| QuantityError::TooLarge)?;
    whole.checked_mul(worth).ok_or(QuantityError::TooLarge)
}

/// `worth` times `0.fraction`, rounded up to a billionth as Kubernetes does; digits after the 15th count as "a bit more".
fn part_of(fraction: &str, worth: u128) -> u128 {
    let (digits, tail) = fraction.split_at(fraction.len().min(15));
    let scale = 10u128.pow(u32::try_from(digits.len()).expect("at most 15 digits"));
    let more = u128::from(tail.bytes().any(|b| b != b'0'));
    ((digits.parse::<u128>().unwrap_or(0) + more) * worth).div_ceil(scale)
}

fn suffix_hint(suffix: &str) -> String {
    let bare = suffix.trim();
    let bare = bare.strip_suffix(['b', 'B']).unwrap_or(bare);
    match bare {
        "K" | "kib" => return "write Ki for 1024 or k for 1000".to_owned(),
        "" => return "leave it out".to_owned(),
        _ => {}
    }
    let likely = SUFFIXES
        .iter()
        .find(|(name, _)| *name == bare)
        .or_else(|| SUFFIXES.iter().find(|(name, _)| name.eq_ignore_ascii_case(bare)));
    match likely {
        Some((name, _)) if name.len() == 1 && "MGTPE".contains(name) => {
            format!("write {name}i for powers of 1024 or {name} for powers of 1000")
        }
        Some((name, _)) => format!("write {name} right behind the number"),
        None => {
            "units are Ki, Mi, Gi, Ti (powers of 1024), k, M, G, T (powers of 1000) and m (a thousandth)".to_owned()
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORM.allowed)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Quantity, E> {
                value.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Quantity, E> {
                value.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quantity".into()
    }

    /// A text or a whole number, as in Kubernetes' own types.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": FORM.regex,
            "maxLength": FORM.max_length,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<(u64, u64), &str>) {
        let found = text.parse::<Quantity>();
        match (found, expected) {
            (Ok(q), Ok(expected)) => assert_eq!((q.bytes(), q.millis()), expected, "{text}"),
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected, "{text}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_quantity_is_read_as_kubernetes_reads_it() {
        check("0", Ok((0, 0)));
        check("2", Ok((2, 2000)));
        check("0.5", Ok((1, 500)));
        check("250m", Ok((1, 250)));
        check("1Ki", Ok((1024, 1_024_000)));
        check("1.5Gi", Ok((1_610_612_736, 1_610_612_736_000)));
        check("500M", Ok((500_000_000, 500_000_000_000)));
        check("1e3", Ok((1000, 1_000_000)));
        check("1E3", Ok((1000, 1_000_000)));
        check("1E", Ok((1_000_000_000_000_000_000, u64::MAX)));
        check("0e99", Ok((0, 0)));
        check("0.1n", Ok((1, 1)));
        check("0.0000000000000000001Gi", Ok((1, 1)));
        check("9223372036854775807", Ok((i64::MAX as u64, u64::MAX)));
    }

    #[test]
    fn a_text_that_is_no_quantity_says_what_to_write() {
        let number = "write a number without sign or blanks, and a unit such as Mi or Gi";
        check("", Err(number));
        check("-1Gi", Err(number));
        check("+1Gi", Err(number));
        check(".5", Err(number));
        check("1.", Err(number));
        check("1.2.3", Err(number));
        check("much", Err(number));
        check("1GB", Err("`GB` is not a unit: write Gi for powers of 1024 or G for powers of 1000"));
        check("1g", Err("`g` is not a unit: write Gi for powers of 1024 or G for powers of 1000"));
        check("1gi", Err("`gi` is not a unit: write Gi right behind the number"));
        check("1 Gi", Err("` Gi` is not a unit: write Gi right behind the number"));
        check("1GiB", Err("`GiB` is not a unit: write Gi right behind the number"));
        check("64K", Err("`K` is not a unit: write Ki for 1024 or k for 1000"));
        check("64B", Err("`B` is not a unit: leave it out"));
        check(
            "2cores",
            Err(
                "`cores` is not a unit: units are Ki, Mi, Gi, Ti (powers of 1024), k, M, G, T (powers of 1000) and m (a thousandth)",
            ),
        );
        let large = "it is more than any Kubernetes quantity can be: write a smaller one";
        check("9223372036854775808", Err(large));
        check("8Ei", Err(large));
        check("1e99", Err(large));
        check("99999999999999999999999999999999999999999999", Err(large));
    }

    #[test]
    fn quantities_are_equal_by_value_and_keep_their_text() {
        let (a, b): (Quantity, Quantity) = ("1Gi".parse().unwrap(), "1024Mi".parse().unwrap());
        assert_eq!(a, b);
        assert_eq!(b.to_string(), "1024Mi");
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
        assert_eq!(Quantity::from_bytes(1000).to_string(), "1000");
        assert_eq!(Quantity::from_millis(2000).to_string(), "2");
        assert_eq!(Quantity::from_millis(1500).to_string(), "1500m");
        let from_number: Quantity = serde_json::from_str("1024").unwrap();
        assert_eq!(from_number, Quantity::from_bytes(1024));
        assert!(serde_json::from_str::<Quantity>("-1").is_err());
        assert!(serde_json::from_str::<Quantity>("0.5").is_err());
    }

    proptest! {
        #[test]
        fn bytes_survive_being_written_and_read(bytes in 0..=i64::MAX as u64, shift in 0u32..40) {
            let bytes = bytes >> shift << shift;
            let shown = Quantity::from_bytes(bytes).to_string();
            prop_assert_eq!(shown.parse::<Quantity>().unwrap().bytes(), bytes);
        }

        #[test]
        fn millis_survive_being_written_and_read(millis in 0u64..1 << 53) {
            let shown = Quantity::from_millis(millis).to_string();
            prop_assert_eq!(shown.parse::<Quantity>().unwrap().millis(), millis);
        }

        #[test]
        fn parser_and_pattern_accept_the_same_texts(text in "[-+]?[0-9]{0,4}(\\.[0-9]{0,2})?([KMGTPEnumk]i?|[eE][0-9]{0,3}|)") {
            let pattern = regex::Regex::new(FORM.regex).unwrap();
            let parsed = text.parse::<Quantity>();
            prop_assume!(parsed != Err(QuantityError::TooLarge));
            prop_assert_eq!(parsed.is_ok(), pattern.is_match(&text), "{}", text);
        }
    }
}
