//! The canonical encoding of keys: order-preserving, self-delimiting, stable.
//!
//! Part of the stored format. The bytes of a key decide its hash, hence its key group, and its place in a run; they never
//! change for a given type. For every type whose `Ord` is derived (or built in), the byte order of encodings is the order
//! of the values, and no encoding is a prefix of another of the same type, so that encodings can be concatenated.
//!
//! | serde type | bytes |
//! |---|---|
//! | unsigned integers, `char` | big endian, fixed width |
//! | signed integers | big endian with the sign bit flipped |
//! | floats | big endian, sign bit flipped if positive, all bits flipped if negative (IEEE total order) |
//! | `bool` | `00` or `01` |
//! | strings, bytes | content with `00` as `01 01` and `01` as `01 02`, then `00` |
//! | `Option` | `00`, or `01` and the value |
//! | sequences | each element as `01` and the element, then `00` |
//! | tuples, structs, newtypes, units | their fields, one after the other |
//! | enums | variant index as `u32`, then its fields |
//! | maps | refused: their order is not a property of the value |

mod de;
mod ser;
#[cfg(test)]
mod tests;

use serde::{Serialize, de::DeserializeOwned};

pub(crate) const STRING_END: u8 = 0;
pub(crate) const STRING_ESCAPE: u8 = 1;
pub(crate) const ABSENT: u8 = 0;
pub(crate) const PRESENT: u8 = 1;

/// Why a key could not be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyCodecError {
    /// The type cannot be part of a key.
    #[error("{0} cannot be part of a key")]
    Unsupported(&'static str),
    /// The bytes end inside a value.
    #[error("the encoded key ends inside a {0}")]
    Truncated(&'static str),
    /// The bytes are not what the encoder writes for this type.
    #[error("the encoded key holds a malformed {0}")]
    Malformed(&'static str),
    /// Bytes are left over behind the value.
    #[error("{0} bytes follow the encoded key")]
    Trailing(usize),
    /// The type's own `Serialize` or `Deserialize` refused.
    #[error("{0}")]
    Custom(Box<str>),
}

impl serde::ser::Error for KeyCodecError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string().into())
    }
}

impl serde::de::Error for KeyCodecError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string().into())
    }
}

/// Where encoded bytes go.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends the canonical encoding of `key` to `sink`.
///
/// # Errors
/// When the type holds a map, or its `Serialize` fails.
#[inline]
pub fn encode<T: Serialize + ?Sized, S: Sink>(key: &T, sink: &mut S) -> Result<(), KeyCodecError> {
    key.serialize(ser::Encoder { sink })
}

/// Decodes a key that fills `bytes`.
///
/// # Errors
/// When the bytes are not one encoded `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, KeyCodecError> {
    let (key, rest) = decode_prefix(bytes)?;
    if rest.is_empty() { Ok(key) } else { Err(KeyCodecError::Trailing(rest.len())) }
}

/// Decodes a key at the start of `bytes`; returns it with the bytes behind it.
///
/// # Errors
/// When the bytes do not begin with an encoded `T`.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), KeyCodecError> {
    let mut decoder = de::Decoder { input: bytes };
    let key = T::deserialize(&mut decoder)?;
    Ok((key, decoder.input))
}
