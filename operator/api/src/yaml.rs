//! Manifests as YAML: reading with every refusal at its line, and writing that every reader understands.
//!
//! This is the one place where a YAML crate is named. What differs between readers is refused rather than guessed:
//! duplicate keys, merge keys, tags, and words that `kubectl` (YAML 1.1) takes for booleans or numbers where this reader
//! (YAML 1.2) takes texts. So a manifest that is read here means the same on a cluster.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::invalid::{Invalid, describe, quoted};
use crate::resolve::{Surface, resolve};
use crate::resolved::ResolvedJob;
use crate::schema;
use crate::spec::{API_VERSION, KIND, StreamJob, StreamJobSpec};

mod emit;
mod key;
mod legacy;
mod locate;
mod parse;

pub use emit::emit;
pub use locate::Position;

use locate::{locate, locate_key};

/// The most bytes of a manifest; the API server takes no larger objects either.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The most refusals that one message lists.
pub const MAX_REFUSALS: usize = 20;

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`MAX_BYTES`].
    #[error(
        "{file}: found {bytes} bytes; allowed: up to {MAX_BYTES} bytes; a manifest is a short text, is this the right file?"
    )]
    TooLarge {
        /// The file's name.
        file: String,
        /// Its size.
        bytes: usize,
    },
    /// Not YAML at all.
    #[error("{file}{}: this is not YAML: {reason}; {hint}", at(position))]
    Syntax {
        /// The file's name.
        file: String,
        /// Where, if known.
        position: Option<Position>,
        /// What the reader says.
        reason: String,
        /// What to do.
        hint: &'static str,
    },
    /// YAML, but with things that cannot be accepted.
    #[error("{}", lines(file, refusals))]
    Refused {
        /// The file's name.
        file: String,
        /// What cannot be accepted, with places; at least one.
        refusals: Vec<Refusal>,
    },
}

/// A refused field with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it stands, or where it would have to stand; `None` if the text has no such place.
    pub position: Option<Position>,
    /// What is wrong.
    pub invalid: Invalid,
}

fn at(position: &Option<Position>) -> String {
    position.map(|p| format!(":{p}")).unwrap_or_default()
}

fn lines(file: &str, refusals: &[Refusal]) -> String {
    let mut lines: Vec<String> =
        refusals.iter().take(MAX_REFUSALS).map(|r| format!("{file}{}: {}", at(&r.position), r.invalid)).collect();
    if refusals.len() > MAX_REFUSALS {
        lines.push(format!("{file}: and {} more", refusals.len() - MAX_REFUSALS));
    }
    lines.join("\n")
}

/// Reads a manifest. `file` only names it in messages.
///
/// # Errors
/// A text that is not one StreamJob of the right shape: see [`ManifestError`]. Bounds and rules between fields are
/// checked by [`resolve`].
pub fn from_str(file: &str, text: &str) -> Result<StreamJob, ManifestError> {
    let mut value = parse::parse(file, text)?;
    let refused = match check_header(&value) {
        refused if refused.is_empty() => {
            if let Value::Object(members) = &mut value {
                members.remove("status");
            }
            schema::check(schema::of_manifest(), &mut value)
        }
        refused => refused,
    };
    let refused = match refused {
        refused if refused.is_empty() => check_name(&value),
        refused => refused,
    };
    if !refused.is_empty() {
        return Err(explain(file, text, refused));
    }
    typed(value).map_err(|invalid| explain(file, text, vec![invalid]))
}

/// Reads a manifest and resolves it.
///
/// # Errors
/// Everything that [`from_str`] and [`resolve`] refuse, with its place in the text.
pub fn read(file: &str, text: &str, surface: Surface) -> Result<(StreamJob, ResolvedJob), ManifestError> {
    let job = from_str(file, text)?;
    let resolved = resolve(&job, surface).map_err(|refused| explain(file, text, refused))?;
    Ok((job, resolved))
}

/// Finds the places of refused fields in the text they came from. `refused` must not be empty.
pub fn explain(file: &str, text: &str, refused: Vec<Invalid>) -> ManifestError {
    let place = |invalid: &Invalid| match invalid.found.as_str() {
        schema::UNKNOWN_FIELD => locate_key(text, &invalid.path),
        _ => locate(text, &invalid.path),
    };
    let mut refusals: Vec<Refusal> = refused
        .into_iter()
        .enumerate()
        .map(|(i, invalid)| Refusal {
            // Each place costs another pass over the text; what is not shown needs none.
            position: (i < MAX_REFUSALS).then(|| place(&invalid)).flatten(),
            invalid,
        })
        .collect();
    refusals.sort_by_key(|refusal| (refusal.position.is_none(), refusal.position));
    ManifestError::Refused { file: file.to_owned(), refusals }
}

/// Writes a job as a manifest that every YAML reader understands alike.
pub fn to_string(job: &StreamJob) -> String {
    emit(&serde_json::to_value(job).expect("a StreamJob is JSON"))
}

/// The two fields that say whether the rest means anything.
fn check_header(value: &Value) -> Vec<Invalid> {
    let Value::Object(members) = value else {
        let hint = "is this the right file?";
        return vec![Invalid::new("", describe(value), "a StreamJob", hint)];
    };
    let mut refused = Vec::new();
    for (field, allowed) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let found = match members.get(field) {
            Some(Value::String(text)) if text == allowed => continue,
            Some(Value::String(text)) => quoted(text),
            Some(other) => describe(other),
            None => "nothing".to_owned(),
        };
        let hint = format!("write `{field}: {allowed}`, or is this another kind of file?");
        refused.push(Invalid::new(field, found, allowed, hint));
    }
    refused
}

/// A name that the API server could make up is no name here.
fn check_name(value: &Value) -> Vec<Invalid> {
    match value.pointer("/metadata/name") {
        Some(_) => Vec::new(),
        None => {
            let hint = "add it: checkpoints are found again by the job's name";
            vec![Invalid::new("metadata.name", "nothing", crate::name::ALLOWED, hint)]
        }
    }
}

/// The typed form of a value that has the schema's shape.
fn typed(mut value: Value) -> Result<StreamJob, Invalid> {
    let hint = "compare it with the reference of StreamJob";
    let (metadata, spec) = (value["metadata"].take(), value["spec"].take());
    let metadata: ObjectMeta = serde_json::from_value(metadata)
        .map_err(|e| Invalid::new("metadata", e, "Kubernetes' object metadata", hint))?;
    let spec: StreamJobSpec =
        serde_json::from_value(spec).map_err(|e| Invalid::new("spec", e, "the fields of a StreamJob", hint))?;
    Ok(StreamJob { metadata, spec, status: None })
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests;
