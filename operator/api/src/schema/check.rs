//! Whether a manifest has the shape of its schema: known fields, right types, readable texts. Bounds and rules between
//! fields are left to [`resolve`](crate::resolve), which says more about them.

use serde_json::{Map, Value};

use super::suggest::{closest, home_of, is_same};
use super::{allowed, enum_names, form, properties, required, sorted, type_words};
use crate::invalid::{Invalid, describe, quoted};
use crate::path::FieldPath;

/// What is found where no field of that name is known: messages about it point at the key.
pub(crate) const UNKNOWN_FIELD: &str = "an unknown field";

/// Checks `value` and everything in it; `null` members that may be left out are removed.
pub(crate) fn check(schema: &Value, value: &mut Value) -> Vec<Invalid> {
    let mut checker = Checker { root: schema, refused: Vec::new() };
    checker.value(schema, value, &FieldPath::root());
    checker.refused
}

struct Checker<'s> {
    root: &'s Value,
    refused: Vec<Invalid>,
}

impl Checker<'_> {
    fn value(&mut self, schema: &Value, value: &mut Value, path: &FieldPath) {
        if schema.get("x-kubernetes-int-or-string").is_some() {
            return self.quantity(schema, value, path);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => match value {
                Value::Object(members) => self.object(schema, members, path),
                _ => self.wrong_type(schema, value, path),
            },
            Some("array") => match (value, schema.get("items")) {
                (Value::Array(items), Some(schema)) => {
                    for (i, item) in items.iter_mut().enumerate() {
                        self.value(schema, item, &path.index(i));
                    }
                }
                (Value::Array(_), None) => {}
                (value, _) => self.wrong_type(schema, value, path),
            },
            Some("integer") => self.integer(schema, value, path),
            Some("number") if !value.is_number() => self.wrong_type(schema, value, path),
            Some("boolean") if !value.is_boolean() => self.wrong_type(schema, value, path),
            Some("string") => self.text(schema, value, path),
            _ => {}
        }
    }

    fn object(&mut self, schema: &Value, members: &mut Map<String, Value>, path: &FieldPath) {
        let Some(fields) = properties(schema) else {
            if let Some(each) = schema.get("additionalProperties").filter(|s| s.is_object()) {
                for (name, member) in members {
                    self.value(each, member, &path.key(name));
                }
            }
            return;
        };
        members.retain(|name, member| !member.is_null() || !fields.contains_key(name));
        for name in required(schema).filter(|name| !members.contains_key(*name)) {
            let field = &fields[name];
            self.refuse(&path.key(name), "nothing", allowed(field), "add it, it is required");
        }
        for (name, member) in members {
            match fields.get(name) {
                Some(field) => self.value(field, member, &path.key(name)),
                None => self.unknown(fields, name, path),
            }
        }
    }

    fn unknown(&mut self, fields: &Map<String, Value>, name: &str, path: &FieldPath) {
        let names = || fields.keys().map(String::as_str);
        let hint = match (closest(name, names()), home_of(name, self.root)) {
            (Some(meant), _) if is_same(meant, name) => format!("write `{meant}`"),
            (_, Some(home)) => format!("move it to {home}"),
            (Some(meant), None) => format!("write `{meant}` if you mean that"),
            (None, None) => "remove it".to_owned(),
        };
        let allowed = sorted(names().collect()).join(", ");
        self.refuse(&path.key(name), UNKNOWN_FIELD, allowed, hint);
    }

    fn integer(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        let Some(number) = value.as_i64() else {
            return self.wrong_type(schema, value, path);
        };
        let is_narrow = schema.get("format").and_then(Value::as_str) == Some("int32");
        if is_narrow && i32::try_from(number).is_err() {
            self.refuse(path, number, allowed(schema), "write a smaller number");
        }
    }

    fn text(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        let Value::String(text) = value else {
            return self.wrong_type(schema, value, path);
        };
        if let Some(names) = enum_names(schema) {
            if !names.contains(&text.as_str()) {
                let hint = match closest(text, names.iter().copied()) {
                    Some(meant) => format!("write {meant} if you mean that"),
                    None => "write one of them".to_owned(),
                };
                self.refuse(path, quoted(text), names.join(" or "), hint);
            }
        } else if let Some(form) = form(schema)
            && let Err(hint) = form.check(text)
        {
            self.refuse(path, form.show(text), allowed(schema), hint);
        }
    }

    /// A quantity: a text or a whole number.
    fn quantity(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        match value {
            Value::String(_) => self.text(schema, value, path),
            Value::Number(number) if number.is_i64() || number.is_u64() => {
                let text = Value::String(number.to_string());
                self.text(schema, &text, path);
            }
            _ => self.wrong_type(schema, value, path),
        }
    }

    fn wrong_type(&mut self, schema: &Value, value: &Value, path: &FieldPath) {
        let hint = way_out(schema, value);
        self.refuse(path, describe(value), allowed(schema), hint);
    }

    fn refuse(
        &mut self,
        path: &FieldPath,
        found: impl std::fmt::Display,
        allowed: impl std::fmt::Display,
        hint: impl std::fmt::Display,
    ) {
        self.refused.push(Invalid::new(path.clone(), found, allowed, hint));
    }
}

/// What to do about a value of the wrong type.
fn way_out(schema: &Value, value: &Value) -> String {
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("string");
    match (kind, value) {
        ("string", Value::Number(_) | Value::Bool(_)) => match form(schema) {
            Some(form) => {
                (form.check)(&value.to_string()).err().unwrap_or_else(|| format!("write it in quotes: \"{value}\""))
            }
            None => format!("write it in quotes: \"{value}\""),
        },
        ("integer", Value::String(text)) if text.parse::<i64>().is_ok() => {
            format!("write {text} without quotes")
        }
        ("integer", Value::Number(_)) => "write a whole number".to_owned(),
        ("boolean", Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => "write true without quotes".to_owned(),
            "false" | "no" | "off" | "n" => "write false without quotes".to_owned(),
            _ => "write true or false".to_owned(),
        },
        ("object", Value::Array(_)) => "write its fields without dashes".to_owned(),
        ("object", _) => "write its fields below it, indented".to_owned(),
        ("array", _) => "begin each element with a dash".to_owned(),
        (_, Value::Array(_) | Value::Object(_)) => "write a single value".to_owned(),
        _ => format!("write {}", type_words(schema)),
    }
}
