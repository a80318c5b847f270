//! The envelope of stored records: one line of JSON and one line that seals it.
//!
//! ```text
//! {"format":1, …}
//! {"crc32c":"1f0c92ab"}
//! ```
//!
//! The seal covers every byte of the first line including its line feed. Both lines are JSON, so that common tools can read the object. The
//! seal is compared byte for byte: every truncation and every flipped bit, also in the seal itself, is detected, and the
//! error names the object.

use serde::{Serialize, de::DeserializeOwned};

use crate::object::ObjectRef;

/// Why a stored record was refused. Every variant names the object.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// The seal is missing or is not the one of the content: the object is damaged or cut short.
    #[error("{key}: damaged or truncated: {detail}")]
    Corrupt {
        /// The object.
        key: String,
        /// What was found.
        detail: String,
    },
    /// The record was written in a format that this build does not know.
    #[error("{key}: format {found} is not known to this version, which reads {oldest} to {newest}")]
    UnknownFormat {
        /// The object.
        key: String,
        /// The format found.
        found: u32,
        /// The oldest readable format.
        oldest: u32,
        /// The newest readable format.
        newest: u32,
    },
    /// The content is intact, but not a record of this kind.
    #[error("{key}: not a valid record")]
    Malformed {
        /// The object.
        key: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// The record contradicts itself.
    #[error("{key}: contradicts itself: {detail}")]
    Inconsistent {
        /// The object.
        key: String,
        /// What contradicts what.
        detail: String,
    },
}

impl StoredError {
    /// The object that was refused.
    pub fn key(&self) -> &str {
        match self {
            Self::Corrupt { key, .. }
            | Self::UnknownFormat { key, .. }
            | Self::Malformed { key, .. }
            | Self::Inconsistent { key, .. } => key,
        }
    }
}

/// The range of formats that a build reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formats {
    pub oldest: u32,
    pub newest: u32,
}

/// Encodes and seals a record.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(record).expect("stored records have string keys and no failing serializers");
    bytes.push(b'\n');
    let seal = seal_of(&bytes);
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

/// Checks the seal and the format and decodes the record.
pub(crate) fn decode<T: DeserializeOwned>(key: &str, bytes: &[u8], formats: Formats) -> Result<T, StoredError> {
    let corrupt = |detail: String| StoredError::Corrupt { key: key.to_owned(), detail };
    let malformed = |source| StoredError::Malformed { key: key.to_owned(), source };
    let end = bytes
        .iter()
        .position(|&byte| byte == b'\n')
        .ok_or_else(|| corrupt(format!("{} bytes without a seal", bytes.len())))?;
    let (content, seal) = bytes.split_at(end + 1);
    let expected = seal_of(content);
    if seal != expected.as_bytes() {
        let found = String::from_utf8_lossy(seal);
        return Err(corrupt(format!("the seal is {:?}, the content's is {:?}", found.trim_end(), expected.trim_end())));
    }
    let FormatOnly { format } = serde_json::from_slice(content).map_err(malformed)?;
    if !(formats.oldest..=formats.newest).contains(&format) {
        let Formats { oldest, newest } = formats;
        return Err(StoredError::UnknownFormat { key: key.to_owned(), found: format, oldest, newest });
    }
    serde_json::from_slice(content).map_err(malformed)
}

/// Checks that `bytes` are what a reference names, before anything is decoded.
///
/// # Errors
/// [`StoredError::Corrupt`] when length or checksum differ.
pub fn verify(object: &ObjectRef, bytes: &[u8]) -> Result<(), StoredError> {
    let found = ObjectRef::of(object.key.clone(), bytes);
    if found == *object {
        return Ok(());
    }
    Err(StoredError::Corrupt {
        key: object.key.clone(),
        detail: format!(
            "{} bytes with checksum {:08x}, expected are {} bytes with checksum {:08x}",
            found.length, found.crc32c, object.length, object.crc32c
        ),
    })
}

#[derive(serde::Deserialize)]
struct FormatOnly {
    format: u32,
}

fn seal_of(content: &[u8]) -> String {
    format!("{{\"crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(content))
}
