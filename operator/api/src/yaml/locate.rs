//! Where a field stands in a YAML text.
//!
//! The YAML crate tells places only in errors. So the way to a field is walked once more, and an error is raised on
//! arrival. That is another pass over the text, spent only when there is something to complain about.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::key::KeySeed;
use crate::path::{FieldPath, Step};

/// A line and a column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line from 1.
    pub line: usize,
    /// Column in characters from 1.
    pub column: usize,
}

/// Which part of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The `occurrence`-th time (from 1) that its key is written.
    Key { occurrence: usize },
    /// Its value.
    Value,
}

/// What stands at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Key,
    Nothing,
    Scalar,
    Nested,
}

/// The place to point at for a field: its value if that is a scalar, its key if there is more below it, and if the field
/// does not exist, the nearest that does.
pub(super) fn locate(text: &str, path: &FieldPath) -> Option<Position> {
    let mut path = path.clone();
    loop {
        if let Some((value, arrival)) = find(text, &path, Part::Value) {
            let key = locate_key(text, &path);
            return match arrival {
                Arrival::Nested => key.or(Some(value)),
                Arrival::Key | Arrival::Nothing | Arrival::Scalar => Some(value),
            };
        }
        if let Some(key) = locate_key(text, &path) {
            return Some(key);
        }
        path = path.parent()?;
    }
}

/// The place of a field's key, if the field exists and has one.
pub(super) fn locate_key(text: &str, path: &FieldPath) -> Option<Position> {
    find(text, path, Part::Key { occurrence: 1 }).map(|(key, _)| key)
}

/// The place of one part of a field, and what stands there.
pub(super) fn find(text: &str, path: &FieldPath, part: Part) -> Option<(Position, Arrival)> {
    let arrived = Cell::new(None);
    let walk = Walk { steps: path.steps(), part, arrived: &arrived };
    let document = serde_yaml::Deserializer::from_str(text).next()?;
    let error = walk.deserialize(document).err()?;
    let arrival = arrived.get()?;
    let location = error.location()?;
    let position = Position { line: location.line(), column: location.column() };
    Some((position, arrival))
}

/// Where the first document after the first begins that holds anything.
pub(super) fn second_document(text: &str) -> Option<Position> {
    let arrived = Cell::new(None);
    for document in serde_yaml::Deserializer::from_str(text).skip(1) {
        let walk = Walk { steps: &[], part: Part::Value, arrived: &arrived };
        let location = walk.deserialize(document).err().and_then(|e| e.location());
        if let (Some(Arrival::Scalar | Arrival::Nested), Some(location)) = (arrived.get(), location) {
            return Some(Position { line: location.line(), column: location.column() });
        }
    }
    None
}

/// Walks down `steps` and fails on arrival.
#[derive(Clone, Copy)]
struct Walk<'a> {
    steps: &'a [Step],
    part: Part,
    arrived: &'a Cell<Option<Arrival>>,
}

impl Walk<'_> {
    fn arrive<T, E: de::Error>(self, arrival: Arrival) -> Result<T, E> {
        if self.steps.is_empty() {
            self.arrived.set(Some(arrival));
        }
        Err(E::custom("here, or there is no such place"))
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.arrive(Arrival::Nothing)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Err(E::custom("there is nothing"))
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.arrive(Arrival::Scalar)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.steps.split_first() else {
            return self.arrive(Arrival::Nested);
        };
        for _ in 0..*wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        let inner = Walk { steps: rest, ..self };
        items.next_element_seed(inner)?;
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.steps.split_first() else {
            return self.arrive(Arrival::Nested);
        };
        let stop_at_key = match self.part {
            Part::Key { occurrence } if rest.is_empty() => Some(occurrence),
            _ => None,
        };
        let mut seen = 0;
        loop {
            let stop = stop_at_key.filter(|n| seen + 1 == *n).map(|_| wanted.as_str());
            let key = members.next_key_seed(KeySeed { stop, arrived: Some(self.arrived) })?;
            match key {
                None => return Ok(()),
                Some(key) if key.as_deref() == Some(wanted) => {
                    seen += 1;
                    if stop_at_key.is_none() {
                        return members.next_value_seed(Walk { steps: rest, ..self });
                    }
                    members.next_value::<IgnoredAny>()?;
                }
                Some(_) => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
    }
}
