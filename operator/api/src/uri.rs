//! Where state is kept: `s3://bucket/prefix`, or `file:///directory` for `weir run`.
//!
//! A URI is stored in journals and compared for identity, so one place has one spelling: no trailing slash, no empty,
//! hidden or relative segments, no escapes. The schema's pattern knows only `s3://`; whether `file://` is allowed is
//! decided where the job is resolved, because only there it is known who reads the manifest.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::form::Form;

/// The form of a storage URI: the pattern is the cluster's, the check takes both schemes.
pub const FORM: Form = Form {
    regex: r"^s3://[a-z0-9][-.a-z0-9]{1,61}[a-z0-9](/[-_A-Za-z0-9!*'()=+@,][-._A-Za-z0-9!*'()=+@,]*)*/?$",
    max_length: 512,
    allowed: "s3://bucket/prefix, or file:///directory for `weir run`",
    check: |text| text.parse::<StorageUri>().map(drop).map_err(|e| e.to_string()),
};

/// A directory or a place in a bucket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StorageUri {
    /// A local directory.
    File {
        /// Its absolute path, without a trailing slash.
        path: String,
    },
    /// A place in an S3 bucket.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The prefix of all keys, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
}

/// Why a text is no storage URI, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No scheme.
    #[error("it has no scheme: write s3://bucket/prefix, or file:// and an absolute path")]
    NoScheme,
    /// A scheme other than `s3` and `file`.
    #[error("`{0}` is not a kind of storage: write s3:// or file://")]
    UnknownScheme(String),
    /// `s3://` without a bucket.
    #[error("it names no bucket: write s3://bucket/prefix")]
    NoBucket,
    /// A bucket's name that no S3 service takes.
    #[error(
        "`{0}` is not a bucket's name: 3 to 63 lower-case letters, digits, `-` and `.`, a letter or digit at both ends"
    )]
    BadBucket(String),
    /// A segment of the prefix that would make two spellings of one place, or leave it.
    #[error("`{0}` cannot be part of the prefix: use letters, digits and -_.!*'()=+@, and begin no part with a dot")]
    BadSegment(String),
    /// `file://` with a host or a relative path.
    #[error("a directory needs three slashes and an absolute path: write file:///{0}")]
    NotAbsolute(String),
    /// `..`, an escape or a control character in a path.
    #[error("`{0}` cannot be part of the path: write it without `.`, `..`, `%`, `?`, `#` and control characters")]
    BadPath(String),
}

impl StorageUri {
    /// Whether this is a local directory.
    pub fn is_file(&self) -> bool {
        matches!(self, StorageUri::File { .. })
    }
}

impl FromStr for StorageUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        match text.split_once("://") {
            Some(("s3", rest)) => parse_s3(rest),
            Some(("file", rest)) => parse_file(rest),
            Some((scheme, _)) => Err(UriError::UnknownScheme(scheme.to_owned())),
            None => Err(UriError::NoScheme),
        }
    }
}

fn parse_s3(rest: &str) -> Result<StorageUri, UriError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(UriError::NoBucket);
    }
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bucket_is_valid = (3..=63).contains(&bucket.len())
        && bucket.chars().all(|c| edge(c) || "-.".contains(c))
        && bucket.starts_with(edge)
        && bucket.ends_with(edge)
        && !bucket.contains("..");
    if !bucket_is_valid {
        return Err(UriError::BadBucket(bucket.to_owned()));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let has_empty_end = rest.ends_with("//");
    if (!prefix.is_empty() || has_empty_end)
        && let Some(bad) = prefix.split('/').find(|s| !is_segment(s))
    {
        return Err(UriError::BadSegment(bad.to_owned()));
    }
    Ok(StorageUri::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

fn is_segment(segment: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._!*'()=+@,".contains(c);
    !segment.is_empty() && !segment.starts_with('.') && !segment.contains("..") && segment.chars().all(inner)
}

fn parse_file(rest: &str) -> Result<StorageUri, UriError> {
    let Some(path) = rest.strip_prefix('/') else {
        return Err(UriError::NotAbsolute(rest.trim_start_matches("./").to_owned()));
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_bad = |s: &str| matches!(s, "" | "." | "..") || s.chars().any(|c| c.is_control() || "%?#\\".contains(c));
    if let Some(bad) = path.split('/').find(|s| is_bad(s)) {
        return Err(UriError::BadPath(bad.to_owned()));
    }
    Ok(StorageUri::File { path: format!("/{path}") })
}

impl fmt::Display for StorageUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageUri::File { path } => write!(f, "file://{path}"),
            StorageUri::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            StorageUri::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl fmt::Debug for StorageUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for StorageUri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StorageUri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for StorageUri {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StorageUri".into()
    }

    /// What the pattern cannot say (RE2 has no look-ahead) is a rule: `..` nowhere.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": FORM.regex,
            "maxLength": FORM.max_length,
            "x-kubernetes-validations": [{
                "rule": "!self.contains('..')",
                "message": "allowed: s3://bucket/prefix; write it without `..`",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = text.parse::<StorageUri>();
        match (&found, expected) {
            (Ok(uri), Ok(expected)) => assert_eq!(uri.to_string(), expected, "{text}"),
            (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected, "{text}"),
            (found, expected) => panic!("{text}: {found:?}, expected {expected:?}"),
        }
        let on_the_cluster = regex::Regex::new(FORM.regex).unwrap().is_match(text) && !text.contains("..");
        assert_eq!(on_the_cluster, found.is_ok_and(|uri| !uri.is_file()), "{text}");
    }

    #[test]
    fn one_place_has_one_spelling() {
        check("s3://weir", Ok("s3://weir"));
        check("s3://weir/", Ok("s3://weir"));
        check("s3://weir/jobs/", Ok("s3://weir/jobs"));
        check("s3://we.ir-1/a/b_c/d=1", Ok("s3://we.ir-1/a/b_c/d=1"));
        check("file:///var/lib/weir/", Ok("file:///var/lib/weir"));
        check("file:///tmp/with blank", Ok("file:///tmp/with blank"));
    }

    #[test]
    fn a_text_that_is_no_storage_uri_says_what_to_write() {
        check("weir/jobs", Err("it has no scheme: write s3://bucket/prefix, or file:// and an absolute path"));
        check("/var/lib/weir", Err("it has no scheme: write s3://bucket/prefix, or file:// and an absolute path"));
        check("s3a://weir", Err("`s3a` is not a kind of storage: write s3:// or file://"));
        check("S3://weir", Err("`S3` is not a kind of storage: write s3:// or file://"));
        check("s3://", Err("it names no bucket: write s3://bucket/prefix"));
        check("s3:///jobs", Err("it names no bucket: write s3://bucket/prefix"));
        let bucket =
            "is not a bucket's name: 3 to 63 lower-case letters, digits, `-` and `.`, a letter or digit at both ends";
        check("s3://Weir/jobs", Err(&format!("`Weir` {bucket}")));
        check("s3://ab", Err(&format!("`ab` {bucket}")));
        check("s3://a..b", Err(&format!("`a..b` {bucket}")));
        check("s3://-ab", Err(&format!("`-ab` {bucket}")));
        let segment = "cannot be part of the prefix: use letters, digits and -_.!*'()=+@, and begin no part with a dot";
        check("s3://weir/a/../b", Err(&format!("`..` {segment}")));
        check("s3://weir/a..b", Err(&format!("`a..b` {segment}")));
        check("s3://weir//", Err(&format!("`` {segment}")));
        check("s3://weir//jobs", Err(&format!("`` {segment}")));
        check("s3://weir/.hidden", Err(&format!("`.hidden` {segment}")));
        check("s3://weir/a?b", Err(&format!("`a?b` {segment}")));
        check("file://data", Err("a directory needs three slashes and an absolute path: write file:///data"));
        check("file://./data", Err("a directory needs three slashes and an absolute path: write file:///data"));
        let path = "cannot be part of the path: write it without `.`, `..`, `%`, `?`, `#` and control characters";
        check("file:///", Err(&format!("`` {path}")));
        check("file:///a/../b", Err(&format!("`..` {path}")));
        check("file:///a//b", Err(&format!("`` {path}")));
        check("file:///a%20b", Err(&format!("`a%20b` {path}")));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_as_the_same(
            bucket in "[a-z0-9][a-z0-9-]{1,20}[a-z0-9]",
            segments in proptest::collection::vec("[A-Za-z0-9_=+@,-]{1,8}", 0..4),
        ) {
            let prefix = segments.join("/");
            let s3 = StorageUri::S3 { bucket, prefix: prefix.clone() };
            prop_assert_eq!(s3.to_string().parse::<StorageUri>(), Ok(s3));
            if !prefix.is_empty() {
                let file = StorageUri::File { path: format!("/{prefix}") };
                prop_assert_eq!(file.to_string().parse::<StorageUri>(), Ok(file));
            }
        }

        #[test]
        fn parser_and_pattern_accept_the_same_texts(text in "s3://[a-zA.-]{0,5}(/[a./?-]{0,3}){0,3}") {
            let on_the_cluster = regex::Regex::new(FORM.regex).unwrap().is_match(&text) && !text.contains("..");
            prop_assert_eq!(text.parse::<StorageUri>().is_ok(), on_the_cluster, "{}", text);
        }
    }
}
