//! The decoder: the encoder's inverse. Refuses what the encoder never writes.

use std::borrow::Cow;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};

use super::{ABSENT, KeyCodecError, PRESENT, STRING_END, STRING_ESCAPE};

pub(super) struct Decoder<'de> {
    pub(super) input: &'de [u8],
}

impl<'de> Decoder<'de> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], KeyCodecError> {
        let (bytes, rest) = self.input.split_first_chunk::<N>().ok_or(KeyCodecError::Truncated(what))?;
        self.input = rest;
        Ok(*bytes)
    }

    fn tag(&mut self, what: &'static str) -> Result<bool, KeyCodecError> {
        match self.take::<1>(what)? {
            [ABSENT] => Ok(false),
            [PRESENT] => Ok(true),
            _ => Err(KeyCodecError::Malformed(what)),
        }
    }

    fn content(&mut self, what: &'static str) -> Result<Cow<'de, [u8]>, KeyCodecError> {
        let end = self.input.iter().position(|&byte| byte == STRING_END).ok_or(KeyCodecError::Truncated(what))?;
        let raw = &self.input[..end];
        self.input = &self.input[end + 1..];
        if !raw.contains(&STRING_ESCAPE) {
            return Ok(Cow::Borrowed(raw));
        }
        let mut content = Vec::with_capacity(raw.len());
        let mut bytes = raw.iter();
        while let Some(&byte) = bytes.next() {
            content.push(match byte {
                STRING_ESCAPE => match bytes.next() {
                    Some(&escaped @ 1..=2) => escaped - 1,
                    _ => return Err(KeyCodecError::Malformed(what)),
                },
                other => other,
            });
        }
        Ok(Cow::Owned(content))
    }
}

macro_rules! unsigned {
    ($($method:ident, $visit:ident: $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
            visitor.$visit(<$type>::from_be_bytes(self.take(stringify!($type))?))
        }
    )*};
}

macro_rules! signed {
    ($($method:ident, $visit:ident: $type:ty),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
            visitor.$visit(<$type>::from_be_bytes(self.take(stringify!($type))?) ^ <$type>::MIN)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Decoder<'de> {
    type Error = KeyCodecError;

    unsigned!(
        deserialize_u8, visit_u8: u8,
        deserialize_u16, visit_u16: u16,
        deserialize_u32, visit_u32: u32,
        deserialize_u64, visit_u64: u64,
        deserialize_u128, visit_u128: u128
    );
    signed!(
        deserialize_i8, visit_i8: i8,
        deserialize_i16, visit_i16: i16,
        deserialize_i32, visit_i32: i32,
        deserialize_i64, visit_i64: i64,
        deserialize_i128, visit_i128: i128
    );

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, KeyCodecError> {
        Err(KeyCodecError::Unsupported("a value of unknown type"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, KeyCodecError> {
        Err(KeyCodecError::Unsupported("an ignored value"))
    }

    fn deserialize_map<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, KeyCodecError> {
        Err(KeyCodecError::Unsupported("a map"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        self.deserialize_u32(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_bool(self.tag("bool")?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let code = u32::from_be_bytes(self.take("char")?);
        visitor.visit_char(char::from_u32(code).ok_or(KeyCodecError::Malformed("char"))?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let bits = u32::from_be_bytes(self.take("f32")?);
        let flip = if bits >> 31 == 0 { u32::MAX } else { 1 << 31 };
        visitor.visit_f32(f32::from_bits(bits ^ flip))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let bits = u64::from_be_bytes(self.take("f64")?);
        let flip = if bits >> 63 == 0 { u64::MAX } else { 1 << 63 };
        visitor.visit_f64(f64::from_bits(bits ^ flip))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        let malformed = KeyCodecError::Malformed("string");
        match self.content("string")? {
            Cow::Borrowed(bytes) => visitor.visit_borrowed_str(std::str::from_utf8(bytes).map_err(|_| malformed)?),
            Cow::Owned(bytes) => visitor.visit_string(String::from_utf8(bytes).map_err(|_| malformed)?),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        match self.content("byte string")? {
            Cow::Borrowed(bytes) => visitor.visit_borrowed_bytes(bytes),
            Cow::Owned(bytes) => visitor.visit_byte_buf(bytes),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        if self.tag("option")? { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_seq(Elements { decoder: self })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, KeyCodecError> {
        visitor.visit_seq(Fields { decoder: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements of a sequence, each announced by a tag.
struct Elements<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = KeyCodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, KeyCodecError> {
        if self.decoder.tag("sequence")? { seed.deserialize(&mut *self.decoder).map(Some) } else { Ok(None) }
    }
}

/// A known number of concatenated fields.
struct Fields<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = KeyCodecError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, KeyCodecError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> de::EnumAccess<'de> for &mut Decoder<'de> {
    type Error = KeyCodecError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), KeyCodecError> {
        let index = u32::from_be_bytes(self.take("variant")?);
        Ok((seed.deserialize(index.into_deserializer())?, self))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Decoder<'de> {
    type Error = KeyCodecError;

    fn unit_variant(self) -> Result<(), KeyCodecError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, KeyCodecError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, KeyCodecError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, KeyCodecError> {
        de::Deserializer::deserialize_tuple(self, fields.len(), visitor)
    }
}
