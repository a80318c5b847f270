//! What a checkpoint stores about a prepared file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use weir_engine::sink::Handle;

use super::error::FileSinkError;

const FORMAT: u32 = 1;

/// A durable hidden file and what it is to be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileHandle {
    format: u32,
    /// Where both names are.
    directory: String,
    pub(super) hidden: String,
    #[serde(rename = "final")]
    pub(super) target: String,
    /// Length of the file.
    pub(super) bytes: u64,
    /// CRC-32C of the file.
    pub(super) crc32c: u32,
    pub(super) records: u64,
}

impl FileHandle {
    pub(super) fn new(
        directory: &Path,
        (hidden, target): (String, String),
        (bytes, crc32c, records): (u64, u32, u64),
    ) -> Result<Self, FileSinkError> {
        let directory =
            directory.to_str().ok_or_else(|| FileSinkError::Name { path: directory.to_owned() })?.to_owned();
        Ok(Self { format: FORMAT, directory, hidden, target, bytes, crc32c, records })
    }

    pub(super) fn to_json(&self) -> Handle {
        serde_json::to_value(self).expect("strings and integers are valid JSON")
    }

    /// Reads a handle and checks that its names are plain file names.
    pub(super) fn parse(handle: &Handle) -> Result<Self, FileSinkError> {
        if let Some(found) = handle.get("format").and_then(|format| u32::deserialize(format).ok())
            && found != FORMAT
        {
            return Err(FileSinkError::HandleFormat { handle: handle.to_string(), found });
        }
        let parsed =
            Self::deserialize(handle).map_err(|source| FileSinkError::Handle { handle: handle.to_string(), source })?;
        let plain = |name: &str| !name.is_empty() && name != ".." && name != "." && !name.contains(['/', '\0']);
        if plain(&parsed.hidden) && plain(&parsed.target) {
            Ok(parsed)
        } else {
            Err(FileSinkError::HandleName { handle: handle.to_string() })
        }
    }

    pub(super) fn directory(&self) -> &Path {
        Path::new(&self.directory)
    }

    pub(super) fn hidden_path(&self) -> PathBuf {
        self.directory().join(&self.hidden)
    }

    pub(super) fn target_path(&self) -> PathBuf {
        self.directory().join(&self.target)
    }
}
