//! A job's name: part of object names, DNS names and paths in the bucket, hence narrow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most characters of a name: with a dash and a revision's 16 digits it still fits a DNS label of 63.
pub const MAX_LENGTH: usize = 45;

/// The pattern of a name.
pub const REGEX: &str = "^[a-z]([-a-z0-9]*[a-z0-9])?$";

/// What is allowed, for messages.
pub const ALLOWED: &str =
    "1 to 45 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or digit";

/// A name that matches [`REGEX`] and has at most [`MAX_LENGTH`] characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName(String);

/// Why a text is no job name, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("give the job a name")]
    Empty,
    /// More than [`MAX_LENGTH`] characters.
    #[error("it has {0} characters: shorten it, the names of the job's objects are made from it")]
    TooLong(usize),
    /// A first character that is no lower-case letter.
    #[error("begin it with a lower-case letter")]
    BadStart,
    /// A last character that is `-`.
    #[error("end it with a letter or digit")]
    BadEnd,
    /// A character that is not allowed.
    #[error("replace `{0}`")]
    BadCharacter(char),
}

impl JobName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JobName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let length = text.chars().count();
        if length == 0 {
            Err(NameError::Empty)
        } else if length > MAX_LENGTH {
            Err(NameError::TooLong(length))
        } else if let Some(bad) = text.chars().find(|c| !inner(*c)) {
            Err(NameError::BadCharacter(bad))
        } else if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            Err(NameError::BadStart)
        } else if text.ends_with('-') {
            Err(NameError::BadEnd)
        } else {
            Ok(JobName(text.to_owned()))
        }
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JobName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Option<NameError>) {
        assert_eq!(text.parse::<JobName>().err(), expected, "{text}");
    }

    #[test]
    fn names_are_refused_for_one_clear_reason() {
        check("bids-per-auction", None);
        check("a", None);
        check(&"a".repeat(45), None);
        check(&"a".repeat(46), Some(NameError::TooLong(46)));
        check("", Some(NameError::Empty));
        check("1st", Some(NameError::BadStart));
        check("-a", Some(NameError::BadStart));
        check("a-", Some(NameError::BadEnd));
        check("Bids", Some(NameError::BadCharacter('B')));
        check("a.b", Some(NameError::BadCharacter('.')));
        check("../etc", Some(NameError::BadCharacter('.')));
    }

    proptest! {
        #[test]
        fn parser_and_pattern_accept_the_same_texts(text in "[-a-cA0-9.]{0,50}") {
            let pattern = regex::Regex::new(REGEX).unwrap();
            let accepted = pattern.is_match(&text) && text.len() <= MAX_LENGTH;
            prop_assert_eq!(text.parse::<JobName>().is_ok(), accepted, "{}", text);
        }
    }
}
