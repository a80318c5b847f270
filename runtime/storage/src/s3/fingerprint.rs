//! Length and checksum of an object, carried with it as user metadata.

use std::collections::HashMap;

/// The metadata's name: `x-amz-meta-weir-content` on the wire.
pub(super) const NAME: &str = "weir-content";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    pub(super) length: u64,
    pub(super) crc32c: u32,
}

impl Fingerprint {
    pub(super) fn of(body: &[u8]) -> Self {
        Self { length: body.len() as u64, crc32c: crc32c::crc32c(body) }
    }

    /// The fingerprint of this content with `next` behind it.
    pub(super) fn followed_by(self, next: Self) -> Self {
        let crc32c = crc32c::crc32c_combine(self.crc32c, next.crc32c, next.length as usize);
        Self { length: self.length + next.length, crc32c }
    }

    pub(super) fn encode(self) -> String {
        format!("crc32c={:08x};length={}", self.crc32c, self.length)
    }

    fn decode(text: &str) -> Option<Self> {
        let (crc32c, length) = text.strip_prefix("crc32c=")?.split_once(";length=")?;
        Some(Self { length: length.parse().ok()?, crc32c: u32::from_str_radix(crc32c, 16).ok()? })
    }

    /// The fingerprint an object was stored with; objects of other writers have none.
    pub(super) fn find(metadata: Option<&HashMap<String, String>>) -> Option<Self> {
        Self::decode(metadata?.get(NAME)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_text() {
        let fingerprint = Fingerprint::of(b"123456789");
        assert_eq!(fingerprint.encode(), "crc32c=e3069283;length=9");
        assert_eq!(Fingerprint::decode(&fingerprint.encode()), Some(fingerprint));
        for bad in ["", "crc32c=xyz;length=1", "crc32c=e3069283", "crc32c=e3069283;length=-1"] {
            assert_eq!(Fingerprint::decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn fingerprints_of_parts_give_that_of_the_whole() {
        let whole = Fingerprint::of(b"123456789");
        assert_eq!(
            Fingerprint::of(b"").followed_by(Fingerprint::of(b"1234")).followed_by(Fingerprint::of(b"56789")),
            whole
        );
    }
}
