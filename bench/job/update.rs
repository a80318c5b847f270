//! The function: compares what the state holds with what the record says it must, and replaces it.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use weir::prelude::*;

use crate::touches::{Before, Touch};

/// A value of incompressible bytes that nobody but this record has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    number: u64,
    bytes: Bytes,
}

#[derive(Debug, Clone)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsIs;
        impl Visitor<'_> for AsIs {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(AsIs)
    }
}

/// SplitMix64.
fn words(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    })
}

fn seed(key: u64, number: u64) -> u64 {
    key.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ number.rotate_left(32)
}

impl Held {
    fn write(&mut self, key: u64, number: u64) {
        self.number = number;
        let bytes = self.bytes.0.chunks_mut(8);
        bytes.zip(words(seed(key, number))).for_each(|(to, word)| to.copy_from_slice(&word[..to.len()]));
    }

    fn is_intact(&self, key: u64) -> bool {
        self.bytes.0.chunks(8).zip(words(seed(key, self.number))).all(|(held, word)| *held == word[..held.len()])
    }
}

/// Replaces the value of each record's key.
pub struct Update {
    state: ValueHandle<Held>,
    value: usize,
}

impl Update {
    pub fn open(states: &mut States<'_, u64>, value: usize) -> Result<Self, UserError> {
        Ok(Self { state: states.value("held")?, value })
    }
}

impl KeyedProcessFunction<u64, Touch> for Update {
    type Out = u64;

    fn process(&mut self, touch: &Touch, ctx: &mut ProcessContext<'_, '_, u64, u64>) -> Result<(), UserError> {
        let (key, value) = (touch.key, self.value);
        let slot = ctx.value(self.state).entry()?;
        let fits = match (&slot, touch.before) {
            (None, Before::Nothing) => true,
            (Some(held), Before::Something) => held.is_intact(key),
            (Some(held), Before::Record(number)) => held.number == number && held.is_intact(key),
            (None, _) | (Some(_), Before::Nothing) => false,
        };
        if !fits {
            let found = slot.as_ref().map(|held| (held.number, held.is_intact(key)));
            return Err(format!("state is not what {touch:?} must find: {found:?}").into());
        }
        slot.get_or_insert_with(|| Held { number: 0, bytes: Bytes(vec![0; value]) }).write(key, touch.number);
        ctx.emit(touch.number)
    }
}
