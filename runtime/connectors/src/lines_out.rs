//! An [`Encode`] without its type: what the sinks that write lines hold.

use crate::format::{Encode, FormatError};

/// Makes encoders, one per subtask.
pub(crate) trait Lines<T>: Send + Sync {
    fn encoder(&self) -> Box<dyn LineEncoder<T>>;
}

/// Encodes for one subtask.
pub(crate) trait LineEncoder<T>: Send {
    /// As [`Encode::encode`].
    fn encode(&mut self, records: &[T], first: bool, out: &mut Vec<u8>) -> Result<(), FormatError>;

    /// As [`Encode::extension`].
    fn extension(&self) -> &str;
}

impl<T: 'static, E: Encode<T>> Lines<T> for E {
    fn encoder(&self) -> Box<dyn LineEncoder<T>> {
        Box::new(self.clone())
    }
}

impl<T, E: Encode<T>> LineEncoder<T> for E {
    fn encode(&mut self, records: &[T], first: bool, out: &mut Vec<u8>) -> Result<(), FormatError> {
        Encode::encode(self, records, first, out)
    }

    fn extension(&self) -> &str {
        Encode::extension(self)
    }
}
