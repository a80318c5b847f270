//! What lies below memory: the ordered store of everything older. RocksDB in production; the seam lets a simulation put an ordered
//! map in its place.

use std::ops::ControlFlow;

use crate::error::StateError;

/// What a scan does with an entry: key and stored value; it may stop the scan.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError> + 'a;

/// What a lookup of many keys does with a value that exists: the index of its key, and the stored value.
pub(crate) type Found<'a> = dyn FnMut(usize, &[u8]) -> Result<(), StateError> + 'a;

/// An ordered map from stored keys to stored values. Calls may block on the local disk.
pub(crate) trait Past: Send + Sync + std::fmt::Debug {
    /// Passes the value of `key` to `found`, if there is one.
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8]) -> Result<(), StateError>) -> Result<(), StateError>;

    /// Passes the values that exist to `found`, with their index in `keys`, which ascend.
    fn multi_get(&self, keys: &[&[u8]], found: &mut Found<'_>) -> Result<(), StateError>;

    /// Visits the entries of `lower..upper` in ascending or descending order.
    fn scan(&self, lower: &[u8], upper: &[u8], direction: Direction, visit: &mut Visit<'_>) -> Result<(), StateError>;
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ascending,
    Descending,
}

/// The smallest byte string above all that begin with `prefix`; the prefix must hold a byte below `ff`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // No stored key is that long and only `ff`: state ids stay below `ffff`.
    vec![u8::MAX; prefix.len() + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_behind_everything_that_begins_with_it() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 255]), [2]);
        assert_eq!(prefix_end(&[0, 255, 255]), [1]);
    }
}
