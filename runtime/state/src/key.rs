//! Keys: what qualifies as one, and its stable hash.

use std::fmt::Debug;
use std::hash::Hash;

use serde::{Serialize, de::DeserializeOwned};
use weir_protocol::key_hash;

use crate::keycodec::{self, KeyCodecError, Sink};

/// A key of keyed state, or a user key of a map. Implemented for every type that qualifies.
///
/// `Ord` must be the derived (or built-in) order, `Eq` the derived equality: keys are stored under their canonical
/// encoding ([`crate::keycodec`]), whose order and equality those are.
pub trait Key: Clone + Eq + Hash + Ord + Send + Sync + Serialize + DeserializeOwned + Debug + 'static {}

impl<T: Clone + Eq + Hash + Ord + Send + Sync + Serialize + DeserializeOwned + Debug + 'static> Key for T {}

/// Keys up to this many encoded bytes are hashed without touching the heap.
const INLINE: usize = 64;

/// Collects an encoded key on the stack, and on the heap only if it is long.
pub(crate) struct KeyBuffer<'a> {
    len: usize,
    inline: [u8; INLINE],
    spill: &'a mut Vec<u8>,
}

impl<'a> KeyBuffer<'a> {
    #[inline]
    fn new(spill: &'a mut Vec<u8>) -> Self {
        Self { len: 0, inline: [0; INLINE], spill }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        if self.len <= INLINE { &self.inline[..self.len] } else { self.spill }
    }
}

impl Sink for KeyBuffer<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(free) = self.inline.get_mut(self.len..end) {
            free.copy_from_slice(bytes);
        } else {
            self.overflow(bytes);
        }
        self.len = end;
    }
}

impl KeyBuffer<'_> {
    #[cold]
    #[inline(never)]
    fn overflow(&mut self, bytes: &[u8]) {
        if self.len <= INLINE {
            self.spill.clear();
            self.spill.extend_from_slice(&self.inline[..self.len]);
        }
        self.spill.extend_from_slice(bytes);
    }
}

/// The stable hash of a key: XXH3-64 of its canonical encoding. `scratch` is used for long keys only; its content is
/// overwritten.
///
/// # Panics
/// When the type holds a map or its `Serialize` fails: such a type cannot be a key. [`try_hash_key`] says so politely.
#[inline]
pub fn hash_key<K: Serialize + ?Sized>(key: &K, scratch: &mut Vec<u8>) -> u64 {
    match try_hash_key(key, scratch) {
        Ok(hash) => hash,
        Err(error) => refuse_key(std::any::type_name::<K>(), &error),
    }
}

#[cold]
#[inline(never)]
fn refuse_key(name: &str, error: &KeyCodecError) -> ! {
    panic!("the key type {name} cannot be hashed: {error}")
}

/// [`hash_key`] for types that are not known to qualify.
///
/// # Errors
/// When the key cannot be encoded.
#[inline]
pub fn try_hash_key<K: Serialize + ?Sized>(key: &K, scratch: &mut Vec<u8>) -> Result<u64, KeyCodecError> {
    let mut buffer = KeyBuffer::new(scratch);
    keycodec::encode(key, &mut buffer)?;
    Ok(key_hash(buffer.bytes()))
}

/// The hash of a key that is already in a table, for rehashing.
pub(crate) fn hash_again<K: Key>(key: &K) -> u64 {
    // An empty `Vec` does not allocate; only keys longer than `INLINE` do.
    hash_key(key, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_encoding_at_every_length() {
        let mut scratch = vec![1, 2, 3];
        for len in 0..200 {
            let key = "x".repeat(len);
            let mut encoded = Vec::new();
            keycodec::encode(&key, &mut encoded).unwrap();
            assert_eq!(hash_key(&key, &mut scratch), key_hash(&encoded), "{len}");
            assert_eq!(hash_key(&(&key, 5u64, &key), &mut scratch), {
                let mut encoded = Vec::new();
                keycodec::encode(&(&key, 5u64, &key), &mut encoded).unwrap();
                key_hash(&encoded)
            });
        }
        assert_eq!(hash_key(&7u64, &mut scratch), key_hash(&7u64.to_be_bytes()));
    }

    #[test]
    fn a_key_that_holds_a_map_is_refused() {
        let key = std::collections::BTreeMap::from([(1, 2)]);
        assert!(try_hash_key(&key, &mut Vec::new()).is_err());
    }
}
