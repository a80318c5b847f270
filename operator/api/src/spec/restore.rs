//! What a job starts from, if not from its own latest checkpoint.

use std::str::FromStr;

use kube::KubeSchema;
use kube::core::{Message, Rule};
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::uri::StorageUri;

/// What is said when not exactly one source is named.
pub(crate) const EXACTLY_ONE: (&str, &str) =
    ("exactly one of journal, savepoint, checkpoint and empty", "keep the one the job should start from");
/// What is said when `empty` is false.
pub(crate) const EMPTY: (&str, &str) = ("true", "remove it to go on from the job's own journal");

/// Exactly one of journal, savepoint, checkpoint and empty.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = exactly_one_rule())]
pub struct RestoreFromSpec {
    /// Adopts the journal at this place, which another owner wrote: same journal, same job id. Unit: URI of a job,
    /// `<storage.uri>/<namespace>/<name>`. Default: not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<StorageUri>,

    /// Starts a new history from this savepoint. Unit: URI of a savepoint, `<job>/savepoints/<name>`.
    /// Default: not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub savepoint: Option<StorageUri>,

    /// Goes back to this retained checkpoint of the job's own journal. Unit: checkpoint id. Default: not used. Allowed: 0 or
    /// more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = bounds::CHECKPOINT_ID.rule())]
    pub checkpoint: Option<i64>,

    /// Starts without any state, although there is a journal. Unit: boolean. Default: not used. Allowed: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = empty_rule())]
    pub empty: Option<bool>,

    /// Accepts that output is repeated which was committed since what is restored: by an older checkpoint, or by a savepoint,
    /// another job's journal or empty once the job has checkpoints of its own. Unit: boolean. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_duplicates: Option<bool>,
}

/// Why a text names nothing to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreFromError {
    /// None of the known forms.
    #[error(
        "found {0:?}; allowed: empty, checkpoint:ID, savepoint:URI or journal:URI; write the kind before the colon"
    )]
    UnknownForm(String),
    /// A checkpoint id that is no number.
    #[error("found checkpoint id {0:?}; allowed: a whole number, 0 or more; `weir inspect checkpoints` lists the ids")]
    BadCheckpoint(String),
    /// A place that is no storage URI.
    #[error("found {text:?}; allowed: s3://bucket/prefix or file:///directory; {source}")]
    BadUri {
        /// What stands where a URI belongs.
        text: String,
        /// Why it is none.
        source: crate::uri::UriError,
    },
}

impl FromStr for RestoreFromSpec {
    type Err = RestoreFromError;

    /// The form of the command line's flag: `empty`, `checkpoint:17`, `savepoint:URI` or `journal:URI`.
    fn from_str(text: &str) -> Result<Self, RestoreFromError> {
        let uri = |rest: &str| {
            rest.parse::<StorageUri>().map_err(|source| RestoreFromError::BadUri { text: rest.to_owned(), source })
        };
        let mut spec = RestoreFromSpec::default();
        match text.split_once(':') {
            None if text == "empty" => spec.empty = Some(true),
            Some(("journal", rest)) => spec.journal = Some(uri(rest)?),
            Some(("savepoint", rest)) => spec.savepoint = Some(uri(rest)?),
            Some(("checkpoint", rest)) => match rest.parse::<i64>() {
                Ok(id) if id >= 0 => spec.checkpoint = Some(id),
                _ => return Err(RestoreFromError::BadCheckpoint(rest.to_owned())),
            },
            _ => return Err(RestoreFromError::UnknownForm(text.to_owned())),
        }
        Ok(spec)
    }
}

fn rule(rule: &str, (allowed, hint): (&str, &str)) -> Rule {
    Rule::new(rule).message(Message::Message(bounds::message(allowed, hint)))
}

fn exactly_one_rule() -> Rule {
    rule(
        "[has(self.journal), has(self.savepoint), has(self.checkpoint), has(self.empty)].filter(x, x).size() == 1",
        EXACTLY_ONE,
    )
}

fn empty_rule() -> Rule {
    rule("self", EMPTY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = text
            .parse::<RestoreFromSpec>()
            .map(|spec| serde_json::to_string(&spec).unwrap())
            .map_err(|e| e.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn the_flag_has_four_forms() {
        check("empty", Ok(r#"{"empty":true}"#));
        check("checkpoint:17", Ok(r#"{"checkpoint":17}"#));
        check("savepoint:file:///tmp/a/savepoints/x", Ok(r#"{"savepoint":"file:///tmp/a/savepoints/x"}"#));
        check("journal:s3://weir/jobs/a/b", Ok(r#"{"journal":"s3://weir/jobs/a/b"}"#));
        check(
            "s3://weir/jobs",
            Err(
                r#"found "s3://weir/jobs"; allowed: empty, checkpoint:ID, savepoint:URI or journal:URI; write the kind before the colon"#,
            ),
        );
        check(
            "checkpoint:latest",
            Err(
                r#"found checkpoint id "latest"; allowed: a whole number, 0 or more; `weir inspect checkpoints` lists the ids"#,
            ),
        );
        check(
            "savepoint:/tmp/x",
            Err(
                r#"found "/tmp/x"; allowed: s3://bucket/prefix or file:///directory; it has no scheme: write s3://bucket/prefix, or file:// and an absolute path"#,
            ),
        );
    }
}
