//! Bytes on their way to a file: packed, counted, checksummed. Every step may fail and be tried again: nothing is written
//! twice, nothing is left out.

use std::io::{self, Write};

use flate2::write::GzEncoder;

use crate::compression::Compression;

const ZSTD_LEVEL: i32 = 3;

/// Packs what is written to it.
pub(super) enum Packer<W: Write> {
    Plain(Counted<W>),
    Gzip(GzEncoder<Counted<W>>),
    Zstd(zstd::stream::write::Encoder<'static, Counted<W>>),
}

impl<W: Write> Packer<W> {
    pub(super) fn new(compression: Compression, inner: W) -> io::Result<Self> {
        let counted = Counted { inner, bytes: 0, crc32c: 0 };
        Ok(match compression {
            Compression::None => Self::Plain(counted),
            Compression::Gzip => Self::Gzip(GzEncoder::new(counted, flate2::Compression::default())),
            Compression::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(counted, ZSTD_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes some of the bytes and says how many.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(counted) => counted.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    /// Writes what the packing holds back; nothing may be written afterwards.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Gzip(encoder) => encoder.try_finish(),
            Self::Zstd(encoder) => encoder.do_finish(),
        }
    }

    /// What arrived in the file so far.
    pub(super) fn counted(&self) -> &Counted<W> {
        match self {
            Self::Plain(counted) => counted,
            Self::Gzip(encoder) => encoder.get_ref(),
            Self::Zstd(encoder) => encoder.get_ref(),
        }
    }
}

/// Counts and checksums what is written.
pub(super) struct Counted<W> {
    pub(super) inner: W,
    pub(super) bytes: u64,
    pub(super) crc32c: u32,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.bytes += written as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// Fails every other call and takes at most seven bytes.
    #[derive(Default)]
    struct Flaky {
        written: Vec<u8>,
        calls: u32,
    }

    impl Write for Flaky {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls % 2 == 1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = &bytes[..bytes.len().min(7)];
            self.written.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_step_can_be_repeated_after_a_failure() {
        let text: Vec<u8> = (0u32..5000).flat_map(|i| i.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packer = Packer::new(compression, Flaky::default()).unwrap();
            let (mut at, mut failures) = (0, 0);
            while at < text.len() {
                match packer.write(&text[at..(at + 100).min(text.len())]) {
                    Ok(bytes) => at += bytes,
                    Err(_) => failures += 1,
                }
            }
            while packer.finish().is_err() {
                failures += 1;
            }
            packer.finish().unwrap();
            assert!(failures > 1000, "{failures} failures");
            let Counted { inner, bytes, crc32c } = packer.counted();
            assert_eq!((*bytes, *crc32c), (inner.written.len() as u64, crc32c::crc32c(&inner.written)));
            let mut unpacked = Vec::new();
            match compression {
                Compression::None => unpacked.clone_from(&inner.written),
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(&inner.written[..]).read_to_end(&mut unpacked).map(drop).unwrap();
                }
                Compression::Zstd => unpacked = zstd::decode_all(&inner.written[..]).unwrap(),
            }
            assert!(unpacked == text, "{compression}");
        }
    }
}
