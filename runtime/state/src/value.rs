//! Values: what qualifies as one, its stored form, and the fingerprint of its type.
//!
//! Stored form: a format byte, for [`EXPIRING`] the expiry (milliseconds since the Unix epoch, `i64` big endian), then the
//! value as postcard writes it. Postcard does not describe itself: that the type is the same is checked once per restore
//! through the type fingerprint and version of [`weir_protocol::StateInfo`].

use serde::{Serialize, de::DeserializeOwned};

use crate::error::ValueCodecError;

/// A value of keyed state. Implemented for every type that qualifies.
pub trait Value: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Value for T {}

/// Format byte of a value without expiry.
pub const PLAIN: u8 = 1;
/// Format byte of a value with expiry.
pub const EXPIRING: u8 = 2;

/// Absolute expiry in milliseconds since the Unix epoch; [`Expiry::NEVER`] for values that stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry(i64);

impl Expiry {
    pub(crate) const NEVER: Self = Self(i64::MAX);

    pub(crate) fn at(millis: i64) -> Self {
        Self(millis)
    }

    /// The expiry as unsigned bits below `mask`; 0 stands for never.
    #[inline]
    pub(crate) fn to_bits(self, mask: u64) -> u64 {
        if self == Self::NEVER { 0 } else { u64::try_from(self.0).unwrap_or(0).clamp(1, mask) }
    }

    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        if bits == 0 { Self::NEVER } else { Self(bits as i64) }
    }

    /// True once `now` has reached the expiry.
    #[inline]
    pub(crate) fn is_over(self, now: i64) -> bool {
        now >= self.0 && self != Self::NEVER
    }
}

/// Appends the stored form of `value`.
pub(crate) fn encode_value<V: Serialize>(value: &V, expiry: Expiry, out: &mut Vec<u8>) -> Result<(), ValueCodecError> {
    if expiry == Expiry::NEVER {
        out.push(PLAIN);
    } else {
        out.push(EXPIRING);
        out.extend_from_slice(&expiry.0.to_be_bytes());
    }
    postcard::serialize_with_flavor(value, Append(out)).map_err(ValueCodecError::Content)
}

/// Decodes a stored value.
pub(crate) fn decode_value<V: DeserializeOwned>(bytes: &[u8]) -> Result<(V, Expiry), ValueCodecError> {
    let (expiry, content) = split_expiry(bytes)?;
    let (value, rest) = postcard::take_from_bytes(content).map_err(ValueCodecError::Content)?;
    if rest.is_empty() { Ok((value, expiry)) } else { Err(ValueCodecError::Trailing(rest.len())) }
}

/// The expiry of a stored value, and its content; used where the type is not known.
pub(crate) fn split_expiry(bytes: &[u8]) -> Result<(Expiry, &[u8]), ValueCodecError> {
    let (&format, rest) = bytes.split_first().ok_or(ValueCodecError::Truncated)?;
    match format {
        PLAIN => Ok((Expiry::NEVER, rest)),
        EXPIRING => {
            let (expiry, content) = rest.split_first_chunk::<8>().ok_or(ValueCodecError::Truncated)?;
            Ok((Expiry(i64::from_be_bytes(*expiry)), content))
        }
        other => Err(ValueCodecError::Format(other)),
    }
}

/// Bytes a value takes beyond its inline size, roughly: what postcard would write. Zero for types without a destructor,
/// which own no heap memory.
pub(crate) fn heap_estimate<T: Serialize>(value: &T) -> usize {
    if !std::mem::needs_drop::<T>() {
        return 0;
    }
    postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).unwrap_or(0)
}

/// A postcard flavour that appends to a vector.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A type's fingerprint: its name without module paths, so that moving a type between modules changes nothing.
/// `alloc::vec::Vec<(u64, my_job::Bid)>` becomes `Vec<(u64, Bid)>`.
pub(crate) fn type_fingerprint<T: ?Sized>() -> String {
    let name = std::any::type_name::<T>();
    let mut short = String::with_capacity(name.len());
    let mut word = 0;
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        if char == ':' && chars.peek() == Some(&':') {
            chars.next();
            short.truncate(word);
            continue;
        }
        short.push(char);
        if !(char.is_alphanumeric() || char == '_') {
            word = short.len();
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored<V: Serialize>(value: &V, expiry: Expiry) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(value, expiry, &mut out).unwrap();
        out
    }

    #[test]
    fn the_stored_form_is_format_byte_expiry_and_postcard() {
        assert_eq!(stored(&300u64, Expiry::NEVER), [PLAIN, 0xac, 0x02]);
        assert_eq!(stored(&"ab", Expiry::at(258)), [EXPIRING, 0, 0, 0, 0, 0, 0, 1, 2, 2, b'a', b'b']);
    }

    #[test]
    fn values_come_back_and_malformed_ones_are_refused() {
        let value = (7u64, "seven".to_string(), vec![1u8, 2]);
        let bytes = stored(&value, Expiry::at(9));
        assert_eq!(decode_value::<(u64, String, Vec<u8>)>(&bytes).unwrap(), (value, Expiry::at(9)));
        assert_eq!(decode_value::<u8>(&[]), Err(ValueCodecError::Truncated));
        assert_eq!(decode_value::<u8>(&[9, 1]), Err(ValueCodecError::Format(9)));
        assert_eq!(decode_value::<u8>(&[EXPIRING, 1]), Err(ValueCodecError::Truncated));
        assert_eq!(decode_value::<u8>(&[PLAIN, 1, 2]), Err(ValueCodecError::Trailing(1)));
        assert!(matches!(decode_value::<String>(&[PLAIN, 5, b'a']), Err(ValueCodecError::Content(_))));
    }

    #[test]
    fn expiry_counts_from_its_instant() {
        assert!(Expiry::at(10).is_over(10));
        assert!(!Expiry::at(10).is_over(9));
        assert!(!Expiry::NEVER.is_over(i64::MAX));
    }

    #[test]
    fn fingerprints_name_types_without_their_modules() {
        assert_eq!(type_fingerprint::<Vec<(u64, Option<String>)>>(), "Vec<(u64, Option<String>)>");
        assert_eq!(type_fingerprint::<std::collections::BTreeMap<u8, Expiry>>(), "BTreeMap<u8, Expiry>");
        assert_eq!(type_fingerprint::<[u8; 4]>(), "[u8; 4]");
        assert_eq!(type_fingerprint::<()>(), "()");
    }
}
