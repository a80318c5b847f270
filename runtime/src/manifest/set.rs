//! `--set path=value` and `--restore-from`: fields of a manifest, replaced on the command line.

use std::str::FromStr;

use serde_json::Value;
use weir_api::spec::RestoreFromSpec;
use weir_api::{FieldPath, StorageUri, path::Step};

use super::json_or_text;

/// A field and its new value.
#[derive(Debug, Clone, PartialEq)]
pub struct Set {
    path: FieldPath,
    value: Value,
    flag: &'static str,
}

/// Why a replacement is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Not `path=value`.
    #[error(
        "found {0:?}; allowed: path=value such as spec.checkpoint.interval=1s; write the path of a field before the first `=`"
    )]
    Form(String),
    /// A path that does not begin where manifests do.
    #[error(
        "found {0:?}; allowed: a path that begins with spec or metadata; write it as in messages, such as spec.args.events"
    )]
    Path(String),
    /// A path through something that has no members.
    #[error("--set {path}: {inside} holds a value, not fields")]
    NotAMapping {
        /// The whole path.
        path: String,
        /// The part of it that is in the way.
        inside: String,
    },
}

impl FromStr for Set {
    type Err = SetError;

    /// `path=value`; the value is JSON if it can be read as such, else a text.
    fn from_str(text: &str) -> Result<Self, SetError> {
        let (path, value) = text.split_once('=').ok_or_else(|| SetError::Form(text.to_owned()))?;
        let known = path.split('.').next().is_some_and(|root| ["spec", "metadata"].contains(&root));
        if !known || path.split('.').any(str::is_empty) || !path.contains('.') {
            return Err(SetError::Path(path.to_owned()));
        }
        Ok(Self { path: FieldPath::dotted(path), value: json_or_text(value), flag: "--set" })
    }
}

impl Set {
    /// `spec.restoreFrom`, replaced by `--restore-from`.
    pub fn restore_from(spec: &RestoreFromSpec) -> Self {
        let value = serde_json::to_value(spec).expect("a restoreFrom is JSON");
        Self { path: FieldPath::dotted("spec.restoreFrom"), value, flag: "--restore-from" }
    }

    /// The flag that it comes from.
    pub(super) fn flag(&self) -> &'static str {
        self.flag
    }

    /// Whether the field at `path` is this one, or in it.
    pub(super) fn covers(&self, path: &FieldPath) -> bool {
        path.steps().starts_with(self.path.steps())
    }

    /// Replaces the field in a manifest; mappings on the way are made.
    pub(super) fn apply(&self, manifest: &mut Value) -> Result<(), SetError> {
        let mut inside = FieldPath::root();
        let mut at = manifest;
        for step in self.path.steps() {
            let Step::Key(name) = step else { continue };
            if at.is_null() {
                *at = Value::Object(serde_json::Map::new());
            }
            let Value::Object(members) = at else {
                return Err(SetError::NotAMapping { path: self.path.to_string(), inside: inside.to_string() });
            };
            at = members.entry(name.clone()).or_insert(Value::Null);
            inside = inside.key(name);
        }
        *at = self.value.clone();
        Ok(())
    }
}

/// What `--restore-from` takes: `empty`, `checkpoint:ID`, `savepoint:URI`, `journal:URI`, or a bare URI, which is a
/// savepoint's if its last folder but one is `savepoints`, and else a job's.
///
/// # Errors
/// When it is none of these.
pub fn parse_restore_from(text: &str) -> Result<RestoreFromSpec, String> {
    if let Ok(uri) = text.parse::<StorageUri>() {
        let mut folders = text.trim_end_matches('/').rsplit('/');
        let is_savepoint = folders.nth(1) == Some("savepoints");
        let (savepoint, journal) = if is_savepoint { (Some(uri), None) } else { (None, Some(uri)) };
        return Ok(RestoreFromSpec { savepoint, journal, ..RestoreFromSpec::default() });
    }
    text.parse().map_err(|error: weir_api::spec::RestoreFromError| error.to_string())
}
