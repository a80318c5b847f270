//! The schema as data: what each field is, in words, and whether a value fits.
//!
//! One schema serves the API server, the reader of manifests and the reference, so they cannot disagree. A field's
//! description ends with `Unit: …. Default: …. Allowed: ….`; this module is the only one that takes it apart.

use std::sync::LazyLock;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::generate::SchemaSettings;
use schemars::transform::AddNullable;
use serde_json::{Map, Value};

use crate::crd;
use crate::form::Form;

mod check;
mod suggest;

pub(crate) use check::{UNKNOWN_FIELD, check};

static MANIFEST: LazyLock<Value> = LazyLock::new(manifest);

/// The schema of a whole manifest: the CRD's, with `metadata` filled in and `status`, which is never read, left out.
pub(crate) fn of_manifest() -> &'static Value {
    &MANIFEST
}

fn manifest() -> Value {
    let mut schema = crd::schema();
    let settings = SchemaSettings::openapi3().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let generator = settings.with_transform(AddNullable::default()).into_generator();
    let mut metadata = generator.into_root_schema_for::<ObjectMeta>().to_value();
    crd::tidy(&mut metadata);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.remove("status");
        properties.insert("metadata".to_owned(), metadata);
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), serde_json::json!({ "type": "string" }));
        }
    }
    schema["required"] = serde_json::json!(["apiVersion", "kind", "metadata", "spec"]);
    schema
}

/// The fields of an object, in alphabetical order; `None` if it is no object with known fields.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// The names of an object's required fields.
pub(crate) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}

/// The form of a text field, if it has one.
pub(crate) fn form(schema: &Value) -> Option<&'static Form> {
    Form::by_regex(schema.get("pattern")?.as_str()?)
}

/// The names an enum allows.
pub(crate) fn enum_names(schema: &Value) -> Option<Vec<&str>> {
    let names = schema.get("enum")?.as_array()?;
    Some(names.iter().filter_map(Value::as_str).collect())
}

/// A field's type in words.
pub(crate) fn type_words(schema: &Value) -> String {
    if let Some(names) = enum_names(schema) {
        return names.join(" or ");
    }
    if let Some(form) = form(schema) {
        return form.allowed.to_owned();
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => match properties(schema) {
            Some(fields) => {
                let names: Vec<&str> = fields.keys().map(String::as_str).collect();
                format!("a mapping with {}", sorted(names).join(", "))
            }
            None => "a mapping of names to values".to_owned(),
        },
        Some("array") => "a list".to_owned(),
        Some("integer") => "a whole number".to_owned(),
        Some("number") => "a number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        _ => "a text".to_owned(),
    }
}

/// What a field may hold, in words: its type and its documented bounds.
pub(crate) fn allowed(schema: &Value) -> String {
    let is_boolean = schema.get("type").and_then(Value::as_str) == Some("boolean");
    match Described::of(schema).allowed {
        Some(only) if is_boolean => only,
        Some(bounds) => format!("{} ({bounds})", type_words(schema)),
        None => type_words(schema),
    }
}

pub(crate) fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

/// A description taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Described {
    pub(crate) summary: String,
    pub(crate) unit: Option<String>,
    pub(crate) default: Option<String>,
    pub(crate) allowed: Option<String>,
}

impl Described {
    pub(crate) fn of(schema: &Value) -> Described {
        let text = schema.get("description").and_then(Value::as_str);
        Described::parse(text.unwrap_or_default())
    }

    fn parse(text: &str) -> Described {
        let (rest, allowed) = split_mark(text, "Allowed: ");
        let (rest, default) = split_mark(rest, "Default: ");
        let (summary, unit) = split_mark(rest, "Unit: ");
        Described { summary: summary.trim().to_owned(), unit, default, allowed }
    }
}

/// What stands before a mark, and what stands after it without the full stop.
fn split_mark<'t>(text: &'t str, mark: &str) -> (&'t str, Option<String>) {
    match text.rsplit_once(mark) {
        Some((before, after)) => {
            let after = after.trim();
            (before, Some(after.strip_suffix('.').unwrap_or(after).to_owned()))
        }
        None => (text, None),
    }
}

#[cfg(test)]
mod tests;
