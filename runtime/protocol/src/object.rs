//! References to objects: name, length, checksum.

use serde::{Deserialize, Serialize};

/// An object in the store, with what is needed to verify it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Name, relative to the job's root.
    pub key: String,
    /// Length in bytes.
    pub length: u64,
    /// CRC-32C of all bytes.
    pub crc32c: u32,
}

impl ObjectRef {
    /// The reference to an object named `key` with this content.
    pub fn of(key: impl Into<String>, bytes: &[u8]) -> Self {
        Self { key: key.into(), length: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.key)
    }
}
