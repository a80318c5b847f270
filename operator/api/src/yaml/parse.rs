//! From YAML to JSON, refusing what would be lost or read differently by others.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::key::KeySeed;
use super::legacy::{Role, refuse_legacy_word};
use super::locate::{Part, Position, find, second_document};
use super::{MAX_BYTES, MAX_REFUSALS, ManifestError, Refusal, explain};
use crate::invalid::Invalid;
use crate::path::FieldPath;

/// The most values in a manifest, aliases written out: a few aliases can stand for any number of values.
const MAX_VALUES: usize = 100_000;

/// Reads one document as JSON.
pub(super) fn parse(file: &str, text: &str) -> Result<Value, ManifestError> {
    if text.len() > MAX_BYTES {
        return Err(ManifestError::TooLarge { file: file.to_owned(), bytes: text.len() });
    }
    let notes = Notes { source: text, ..Notes::default() };
    let Some(document) = serde_yaml::Deserializer::from_str(text).next() else {
        return Ok(Value::Null);
    };
    let seed = Node { path: FieldPath::root(), notes: &notes };
    let value = match seed.deserialize(document) {
        Ok(value) => value,
        Err(error) => {
            let refused = notes.refused.into_inner();
            if refused.is_empty() {
                return Err(syntax_error(file, text, &error));
            }
            return Err(explain(file, text, refused));
        }
    };
    if let Some(second) = second_document(text) {
        return Err(many_documents(file, second));
    }
    let mut refusals = duplicates(text, notes.duplicates.into_inner());
    refusals.append(&mut notes.legacy_words.into_inner());
    let refused = notes.refused.into_inner();
    if !refusals.is_empty() {
        refusals.sort_by_key(|refusal| (refusal.position.is_none(), refusal.position));
        return Err(ManifestError::Refused { file: file.to_owned(), refusals });
    }
    if !refused.is_empty() {
        return Err(explain(file, text, refused));
    }
    Ok(value)
}

fn syntax_error(file: &str, text: &str, error: &serde_yaml::Error) -> ManifestError {
    let position = error.location().map(|location| Position { line: location.line(), column: location.column() });
    let line = position.and_then(|p| text.lines().nth(p.line - 1));
    let indent_has_tab = line.is_some_and(|line| {
        let indent = line.len() - line.trim_start().len();
        line[..indent].contains('\t')
    });
    let hint = if indent_has_tab {
        "indent with blanks, not with tabs"
    } else {
        "check indentation, colons and quotes there and in the lines above"
    };
    // The place is said once, in front.
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
    ManifestError::Syntax { file: file.to_owned(), position, reason, hint }
}

fn many_documents(file: &str, second: Position) -> ManifestError {
    ManifestError::Refused {
        file: file.to_owned(),
        refusals: vec![Refusal {
            position: Some(second),
            invalid: Invalid::new(
                "",
                "a second document",
                "one StreamJob in a file",
                "move what follows `---` to a file of its own",
            ),
        }],
    }
}

fn duplicates(text: &str, paths: Vec<FieldPath>) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> = Vec::new();
    for (i, path) in paths.into_iter().enumerate() {
        // Each place costs another pass over the text; what is not shown needs none.
        let at = |occurrence| match i {
            0..MAX_REFUSALS => find(text, &path, Part::Key { occurrence }).map(|(position, _)| position),
            _ => None,
        };
        let hint = match at(1) {
            Some(first) => format!("keep this one or the one in line {}", first.line),
            None => "keep one of them".to_owned(),
        };
        let earlier = refusals.iter().take(MAX_REFUSALS).filter(|r| r.invalid.path == path).count();
        let position = at(earlier + 2);
        let invalid = Invalid::new(path, "the same field again", "each field once", hint);
        refusals.push(Refusal { position, invalid });
    }
    refusals
}

/// What is noticed on the way.
#[derive(Default)]
struct Notes<'s> {
    source: &'s str,
    values: Cell<usize>,
    duplicates: RefCell<Vec<FieldPath>>,
    legacy_words: RefCell<Vec<Refusal>>,
    refused: RefCell<Vec<Invalid>>,
}

impl Notes<'_> {
    /// `word` must be a piece of the source.
    fn check_word(&self, path: &FieldPath, role: Role, word: &str) {
        if let Some(refusal) = refuse_legacy_word(self.source, path, role, word) {
            self.legacy_words.borrow_mut().push(refusal);
        }
    }

    fn refuse(&self, path: &FieldPath, found: impl fmt::Display, allowed: &str, hint: &str) {
        let invalid = Invalid::new(path.clone(), found, allowed, hint);
        self.refused.borrow_mut().push(invalid);
    }
}

/// Reads one value.
struct Node<'n> {
    path: FieldPath,
    notes: &'n Notes<'n>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let count = self.notes.values.get() + 1;
        self.notes.values.set(count);
        if count > MAX_VALUES {
            let hint = "write less, or fewer aliases (`*name`)";
            let found = format!("more than {MAX_VALUES} values");
            self.notes.refuse(&FieldPath::root(), found, "fewer", hint);
            return Err(de::Error::custom("too many values"));
        }
        deserializer.deserialize_any(self)
    }
}

const QUOTE_IT: &str = "write it in quotes if the text is meant";

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        // Kubernetes keeps larger ones as floats, which would not be the same number.
        match i64::try_from(value) {
            Ok(value) => Ok(Value::from(value)),
            Err(_) => self.visit_u128(value.into()),
        }
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        let allowed = "whole numbers from -9223372036854775808 to 9223372036854775807";
        self.notes.refuse(&self.path, value, allowed, QUOTE_IT);
        Ok(Value::Null)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        let allowed = "whole numbers up to 9223372036854775807";
        self.notes.refuse(&self.path, value, allowed, QUOTE_IT);
        Ok(Value::Null)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => {
                self.notes.refuse(&self.path, value, "finite numbers", QUOTE_IT);
                Ok(Value::Null)
            }
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value, E> {
        self.notes.check_word(&self.path, Role::Value, text);
        Ok(Value::String(text.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        let hint = "remove the tag, the word that begins with `!`";
        self.notes.refuse(&self.path, "a tag", "plain values", hint);
        Err(de::Error::custom("a tag"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        let item = |index| Node { path: self.path.index(index), notes: self.notes };
        while let Some(value) = items.next_element_seed(item(values.len()))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        let any_key = || KeySeed { stop: None, arrived: None };
        while let Some(key) = members.next_key_seed(any_key())? {
            let Some(key) = key else {
                let hint = "write a word or a number before the colon";
                self.notes.refuse(&self.path, "a key that is no text", "texts as keys", hint);
                return Err(de::Error::custom("a key that is no text"));
            };
            let path = self.path.key(&key);
            if key == "<<" {
                let hint = "write the fields out: kubectl and `weir run` would merge differently";
                self.notes.refuse(&path, "a merge key", "plain fields", hint);
            } else if values.contains_key(&*key) {
                self.notes.duplicates.borrow_mut().push(path.clone());
            } else if let Cow::Borrowed(word) = key {
                self.notes.check_word(&path, Role::Key, word);
            }
            let value = members.next_value_seed(Node { path, notes: self.notes })?;
            values.insert(key.into_owned(), value);
        }
        Ok(Value::Object(values))
    }
}
