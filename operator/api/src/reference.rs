//! The reference of `StreamJob` for people, made from the schema.

use std::fmt::Write;

use serde_json::Value;

use crate::crd::{self, COMMAND};
use crate::schema::{Described, properties, required, sorted, type_words};

/// The text of `docs/reference/streamjob.md`.
pub fn streamjob_markdown() -> String {
    let schema = crd::schema();
    let spec = &schema["properties"]["spec"];
    let mut out = format!(
        "<!-- Made by `{COMMAND}`, not by hand. -->\n\n\
         # StreamJob\n\n\
         `apiVersion: weir.dev/v1alpha1`, `kind: StreamJob`, short name `sj`. `weir run job.yaml` and\n\
         `kubectl apply -f job.yaml` read the same manifest with the same defaults. A field that is left out and a field\n\
         that is `null` are the same. Durations are written as in Go (`250ms`, `10s`, `1h30m`), quantities as in\n\
         Kubernetes (`512Mi`, `1Gi`, `2`).\n\n\
         `metadata.name` has {}.\n",
        crate::name::ALLOWED
    );
    section(&mut out, "spec", spec);
    out.push_str("\n## status\n\nWhat the Weir operator last saw; `weir run` does not write it.\n\n");
    out.push_str("| field | type | meaning |\n|---|---|---|\n");
    status_rows(&mut out, "status", &schema["properties"]["status"]);
    out
}

/// A table of one object's fields, then the objects in it.
fn section(out: &mut String, path: &str, schema: &Value) {
    let fields = properties(schema).expect("sections are objects");
    let names = sorted(fields.keys().map(String::as_str).collect());
    let _ = write!(out, "\n## {path}\n\n");
    if path != "spec" {
        let _ = write!(out, "{}\n\n", cell(&Described::of(schema).summary));
    }
    out.push_str("| field | type | unit | default | allowed | meaning |\n|---|---|---|---|---|---|\n");
    for name in &names {
        let field = &fields[*name];
        if properties(field).is_some() {
            let link = format!("[`{name}`](#{})", anchor(path, name));
            let summary = cell(&Described::of(field).summary);
            let _ = writeln!(out, "| {link} | object | | | | {summary} |");
            continue;
        }
        let described = Described::of(field);
        let is_required = required(schema).any(|required| required == *name);
        let _ = writeln!(
            out,
            "| `{name}`{} | {} | {} | {} | {} | {} |",
            if is_required { " (required)" } else { "" },
            type_name(field),
            cell(&described.unit.unwrap_or_default()),
            cell(&described.default.unwrap_or_default()),
            cell(&described.allowed.unwrap_or_else(|| type_words(field))),
            cell(&described.summary),
        );
    }
    for name in names {
        if properties(&fields[name]).is_some() {
            section(out, &format!("{path}.{name}"), &fields[name]);
        }
    }
}

fn status_rows(out: &mut String, path: &str, schema: &Value) {
    let fields = properties(schema).expect("status is an object");
    for name in sorted(fields.keys().map(String::as_str).collect()) {
        let field = &fields[name];
        let path = format!("{path}.{name}");
        let summary = cell(&Described::of(field).summary);
        let kind = type_name(field);
        let _ = writeln!(out, "| `{path}` | {kind} | {summary} |");
        if properties(field).is_some() {
            status_rows(out, &path, field);
        }
    }
}

fn type_name(schema: &Value) -> String {
    if schema.get("enum").is_some() {
        return "enum".to_owned();
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "quantity".to_owned();
    }
    if schema.get("pattern").and_then(Value::as_str) == Some(crate::duration::FORM.regex) {
        return "duration".to_owned();
    }
    let name = schema.get("type").and_then(Value::as_str);
    match name.unwrap_or("any") {
        "array" => format!("list of {}", type_name(&schema["items"])),
        other => other.to_owned(),
    }
}

/// The anchor that Markdown renderers give the heading of a section.
fn anchor(path: &str, name: &str) -> String {
    format!("{path}.{name}").replace('.', "").to_lowercase()
}

/// A text inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
