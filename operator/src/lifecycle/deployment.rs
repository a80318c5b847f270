//! What is deployed, as the StatefulSet's annotation keeps it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weir_api::ResolvedJob;

/// The annotation's name.
const RECORD: &str = "weir.dev/deployment";
/// The version of its form. Fields are only added, with defaults that mean what older writers meant.
const FORMAT: u32 = 1;

/// One deployment: what the StatefulSet is built from.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// The ConfigMap with the resolved job.
    pub config: String,
    /// The resolved job in it: with image and number.
    pub resolved: ResolvedJob,
    /// The image of its pods.
    pub image: String,
    /// The serial of its certificate.
    pub serial: u64,
    /// Runtime pods.
    pub replicas: i32,
    /// What else must be remembered.
    pub notes: Notes,
}

/// What must be remembered about a deployment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Notes {
    /// The hash of the spec it was resolved from, wishes left out.
    pub spec: String,
    /// When its certificate was issued; nothing while a new one is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified_at: Option<Timestamp>,
    /// How pods come to run it.
    pub mode: Mode,
    /// When it was deployed, while it has not proven itself by a checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unproven_since: Option<Timestamp>,
    /// When the job was last rescaled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rescaled_at: Option<Timestamp>,
    /// The newest deployment that has proven itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stable: Option<Stable>,
    /// A spec that was rolled back, and why; it is not tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// That it came to an end by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The last request for a checkpoint that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint_nonce: Option<u64>,
    /// The last request for a savepoint that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub savepoint_nonce: Option<u64>,
}

/// How pods come to run a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Pods of an older one are replaced.
    #[default]
    Replace,
    /// Pods stay and are told through the control API.
    Redeploy,
}

/// A deployment that has proven itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stable {
    /// Its ConfigMap.
    pub config: String,
    /// The hash of its spec.
    pub spec: String,
}

/// A spec that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its hash.
    pub spec: String,
    /// Why.
    pub why: String,
}

/// How a job came to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "as", rename_all = "camelCase")]
pub enum Ended {
    /// Its input ended and all output is committed.
    Finished,
    /// It was given up.
    Failed {
        /// Why, in one word.
        reason: String,
        /// What was said.
        message: String,
    },
}

/// The annotation's text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    format: u32,
    config: String,
    number: u64,
    serial: u64,
    #[serde(flatten)]
    notes: Notes,
}

/// What an annotation says without the ConfigMap it names.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The ConfigMap with the resolved job.
    pub config: String,
    /// The number of the resolved job in it.
    pub number: u64,
    /// The serial of its certificate.
    pub serial: u64,
    /// What else must be remembered.
    pub notes: Notes,
}

/// Why an annotation cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none.
    #[error("the StatefulSet has no annotation {RECORD}")]
    Missing,
    /// It cannot be understood.
    #[error("the StatefulSet's annotation {RECORD} cannot be understood")]
    Damaged(#[source] serde_json::Error),
    /// A newer operator wrote it.
    #[error("the StatefulSet's annotation {RECORD} has format {0}, this operator reads up to {FORMAT}")]
    Newer(u32),
}

impl Deployment {
    /// The StatefulSet's annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let record = Record {
            format: FORMAT,
            config: self.config.clone(),
            number: self.resolved.revision_number,
            serial: self.serial,
            notes: self.notes.clone(),
        };
        let text = serde_json::to_string(&record).expect("a record is JSON");
        [(RECORD.to_owned(), text)].into()
    }
}

impl Recorded {
    /// Reads a StatefulSet's annotations.
    ///
    /// # Errors
    /// When they say nothing that can be understood.
    pub fn read(annotations: &BTreeMap<String, String>) -> Result<Self, RecordError> {
        let text = annotations.get(RECORD).ok_or(RecordError::Missing)?;
        let record: Record = serde_json::from_str(text).map_err(RecordError::Damaged)?;
        if record.format > FORMAT {
            return Err(RecordError::Newer(record.format));
        }
        let Record { format: _, config, number, serial, notes } = record;
        Ok(Recorded { config, number, serial, notes })
    }
}
