//! The encoder. Everything is generic and inlined: an integer key becomes a byte swap and a store.

use serde::ser::{self, Serialize};

use super::{ABSENT, KeyCodecError, PRESENT, STRING_END, STRING_ESCAPE, Sink};

type Encoded = Result<(), KeyCodecError>;

pub(super) struct Encoder<'a, S> {
    pub(super) sink: &'a mut S,
}

/// Encodes the parts of tuples, structs and sequences.
pub(super) struct Parts<'a, S> {
    sink: &'a mut S,
}

impl<'a, S: Sink> Encoder<'a, S> {
    #[inline]
    fn put(self, bytes: &[u8]) -> Encoded {
        self.sink.put(bytes);
        Ok(())
    }

    #[inline]
    fn parts(self) -> Parts<'a, S> {
        Parts { sink: self.sink }
    }

    fn put_escaped(self, content: &[u8]) -> Encoded {
        let mut rest = content;
        // Branch-free over the whole string, so that the compiler vectorises it; escapes are rare.
        if !content.iter().fold(false, |found, &byte| found | (byte <= STRING_ESCAPE)) {
            self.sink.put(content);
            self.sink.put(&[STRING_END]);
            return Ok(());
        }
        while let Some(at) = rest.iter().position(|&byte| byte <= STRING_ESCAPE) {
            self.sink.put(&rest[..at]);
            self.sink.put(&[STRING_ESCAPE, rest[at] + 1]);
            rest = &rest[at + 1..];
        }
        self.sink.put(rest);
        self.sink.put(&[STRING_END]);
        Ok(())
    }
}

macro_rules! unsigned {
    ($($method:ident: $type:ty),*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Encoded {
            self.put(&value.to_be_bytes())
        }
    )*};
}

macro_rules! signed {
    ($($method:ident: $type:ty),*) => {$(
        #[inline]
        fn $method(self, value: $type) -> Encoded {
            self.put(&(value ^ <$type>::MIN).to_be_bytes())
        }
    )*};
}

impl<'a, S: Sink> ser::Serializer for Encoder<'a, S> {
    type Ok = ();
    type Error = KeyCodecError;
    type SerializeSeq = Parts<'a, S>;
    type SerializeTuple = Parts<'a, S>;
    type SerializeTupleStruct = Parts<'a, S>;
    type SerializeTupleVariant = Parts<'a, S>;
    type SerializeMap = ser::Impossible<(), KeyCodecError>;
    type SerializeStruct = Parts<'a, S>;
    type SerializeStructVariant = Parts<'a, S>;

    unsigned!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);
    signed!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);

    #[inline]
    fn serialize_bool(self, value: bool) -> Encoded {
        self.put(&[u8::from(value)])
    }

    #[inline]
    fn serialize_char(self, value: char) -> Encoded {
        self.put(&u32::from(value).to_be_bytes())
    }

    fn serialize_f32(self, value: f32) -> Encoded {
        let bits = value.to_bits();
        let flip = if value.is_sign_negative() { u32::MAX } else { 1 << 31 };
        self.put(&(bits ^ flip).to_be_bytes())
    }

    fn serialize_f64(self, value: f64) -> Encoded {
        let bits = value.to_bits();
        let flip = if value.is_sign_negative() { u64::MAX } else { 1 << 63 };
        self.put(&(bits ^ flip).to_be_bytes())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Encoded {
        self.put_escaped(value.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, value: &[u8]) -> Encoded {
        self.put_escaped(value)
    }

    #[inline]
    fn serialize_none(self) -> Encoded {
        self.put(&[ABSENT])
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        self.sink.put(&[PRESENT]);
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Encoded {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Encoded {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(self, _name: &'static str, index: u32, _variant: &'static str) -> Encoded {
        self.put(&index.to_be_bytes())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Encoded {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Encoded {
        self.sink.put(&index.to_be_bytes());
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Self::SerializeSeq, KeyCodecError> {
        Ok(self.parts())
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, KeyCodecError> {
        Ok(self.parts())
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleStruct, KeyCodecError> {
        Ok(self.parts())
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeTupleVariant, KeyCodecError> {
        self.sink.put(&index.to_be_bytes());
        Ok(self.parts())
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, KeyCodecError> {
        Err(KeyCodecError::Unsupported("a map"))
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self::SerializeStruct, KeyCodecError> {
        Ok(self.parts())
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        _len: usize,
    ) -> Result<Self::SerializeStructVariant, KeyCodecError> {
        self.sink.put(&index.to_be_bytes());
        Ok(self.parts())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl<S: Sink> Parts<'_, S> {
    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
        value.serialize(Encoder { sink: self.sink })
    }
}

impl<S: Sink> ser::SerializeSeq for Parts<'_, S> {
    type Ok = ();
    type Error = KeyCodecError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
        self.sink.put(&[PRESENT]);
        self.part(value)
    }

    fn end(self) -> Encoded {
        self.sink.put(&[ABSENT]);
        Ok(())
    }
}

macro_rules! concatenated {
    ($($trait:ident::$method:ident),*) => {$(
        impl<S: Sink> ser::$trait for Parts<'_, S> {
            type Ok = ();
            type Error = KeyCodecError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Encoded {
                Ok(())
            }
        }
    )*};
}

macro_rules! concatenated_named {
    ($($trait:ident),*) => {$(
        impl<S: Sink> ser::$trait for Parts<'_, S> {
            type Ok = ();
            type Error = KeyCodecError;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, _name: &'static str, value: &T) -> Encoded {
                self.part(value)
            }

            #[inline]
            fn end(self) -> Encoded {
                Ok(())
            }
        }
    )*};
}

concatenated!(
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);
concatenated_named!(SerializeStruct, SerializeStructVariant);
