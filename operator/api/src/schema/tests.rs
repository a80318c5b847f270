//! The schema holds nothing that this module, or an API server, would not understand.

use serde_json::{Value, json};

use super::*;

/// Everything the schema may say about a field.
const KEYWORDS: [&str; 20] = [
    "additionalProperties",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "pattern",
    "properties",
    "required",
    "title",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
    "nullable",
    "minimum",
];

fn each_node(schema: &Value, visit: &mut dyn FnMut(&Value)) {
    visit(schema);
    for inner in properties(schema).into_iter().flatten().map(|(_, inner)| inner) {
        each_node(inner, visit);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(keyword).filter(|inner| inner.is_object()) {
            each_node(inner, visit);
        }
    }
}

#[test]
fn the_schema_uses_only_keywords_and_patterns_that_are_known() {
    let mut nodes = 0;
    each_node(&crate::crd::schema(), &mut |node| {
        nodes += 1;
        for keyword in node.as_object().unwrap().keys() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "{keyword} in {node}");
        }
        assert_ne!(node.get("nullable"), Some(&json!(true)), "{node}");
        if node.get("pattern").is_some() {
            assert!(form(node).is_some(), "no form for {node}");
        }
        if let Some(format) = node.get("format") {
            assert!(["int32", "int64", "date-time"].contains(&format.as_str().unwrap()), "{node}");
        }
    });
    assert!(nodes > 60, "{nodes} nodes");
}

#[test]
fn a_description_is_taken_apart_at_its_marks() {
    let described = |text: &str| Described::parse(text);
    let full = described("What it is. Unit: bytes. Default: 1Gi. Allowed: 64Mi to 4Ti.");
    assert_eq!(
        full,
        Described {
            summary: "What it is.".to_owned(),
            unit: Some("bytes".to_owned()),
            default: Some("1Gi".to_owned()),
            allowed: Some("64Mi to 4Ti".to_owned()),
        }
    );
    assert_eq!(described("Just this.").summary, "Just this.");
}
