//! What a checkpoint stores about a file.

use serde::{Deserialize, Serialize};
use weir_engine::source::{Position, SplitId};

use super::error::FileError;

/// Where a reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilePosition {
    /// Offset of the next record in the unpacked bytes of the file.
    pub(super) offset: u64,
    /// Its line, counted from 1; none in a range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<u64>,
    /// Length of the file on disk when it was first opened.
    pub(super) length: u64,
}

impl FilePosition {
    pub(super) fn to_json(self) -> Position {
        serde_json::to_value(self).expect("three integers are valid JSON")
    }
}

pub(super) fn parse(split: &SplitId, position: &Position) -> Result<FilePosition, FileError> {
    FilePosition::deserialize(position).map_err(|source| FileError::Position {
        split: split.0.clone(),
        position: position.to_string(),
        source,
    })
}
