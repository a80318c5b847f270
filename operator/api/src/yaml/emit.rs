//! Writing YAML that YAML 1.1 and 1.2 readers take for the same value.
//!
//! Block style, sorted keys. A text stands without quotes only if no reader could take it for anything else; all others
//! are double-quoted as in JSON, which is YAML.

use serde_json::Value;

/// Words that some reader takes for a boolean or for nothing.
const RESERVED: [&str; 13] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", ".nan", ".inf", "="];

/// A value as a YAML document.
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(members) if !members.is_empty() => block(value, 0, &mut out),
        Value::Array(items) if !items.is_empty() => block(value, 0, &mut out),
        scalar => {
            out.push_str(&inline(scalar));
            out.push('\n');
        }
    }
    out
}

/// Writes a list or mapping that has members, each line indented by `indent` blanks.
fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            for (name, member) in members {
                out.push_str(&pad);
                out.push_str(&text(name));
                out.push(':');
                nested(member, indent + 2, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                out.push_str(&pad);
                out.push('-');
                if has_members(item) {
                    // The first line of the member stands behind the dash.
                    let mut inner = String::new();
                    block(item, indent + 2, &mut inner);
                    out.push(' ');
                    out.push_str(&inner[indent + 2..]);
                } else {
                    nested(item, indent + 2, out);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            unreachable!("scalars stand in their line")
        }
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    if has_members(value) {
        out.push('\n');
        block(value, indent, out);
    } else {
        out.push(' ');
        out.push_str(&inline(value));
        out.push('\n');
    }
}

fn has_members(value: &Value) -> bool {
    match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(string) => text(string),
        other => other.to_string(),
    }
}

fn text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        // DEL and the two line separators are no YAML characters; JSON leaves them as they are.
        Value::String(text.to_owned())
            .to_string()
            .replace('\u{7f}', "\\u007f")
            .replace('\u{85}', "\\u0085")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029")
            .replace('\u{feff}', "\\ufeff")
    }
}

/// Begins with a letter or slash, holds nothing that could end it, and is no reserved word.
fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let ends = !text.ends_with([' ', ':']);
    let inner = |c: char| c.is_ascii_alphanumeric() || " /-_.,:;()<>=+*'`$@".contains(c);
    let lower = text.to_ascii_lowercase();
    starts && ends && text.chars().all(inner) && !text.contains(": ") && !RESERVED.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(value: Value, expected: &str) {
        assert_eq!(emit(&value), expected);
    }

    #[test]
    fn what_a_reader_could_misread_is_quoted() {
        for word in [
            "on",
            "Yes",
            "off",
            "y",
            "N",
            "null",
            "~",
            "2026-11-20",
            "12:30:45",
            "1_000",
            "=",
            "<<",
            "012",
            "1e3",
            "",
            " a",
            "a ",
            "a: b",
            "a #b",
            "- a",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "[a]",
            "{a}",
            "|",
            ">",
            "'a'",
            "a\nb",
            "0x1F",
            "1",
            ".5",
            "a:",
            "ä",
        ] {
            let emitted = emit(&Value::String(word.to_owned()));
            assert!(emitted.starts_with('"'), "{word} is written as {emitted}");
        }
        check(serde_json::json!("s3://weir/jobs"), "s3://weir/jobs\n");
        check(serde_json::json!("RocksDB"), "RocksDB\n");
    }

    #[test]
    fn lists_and_mappings_are_blocks_with_sorted_keys() {
        check(
            serde_json::json!({"b": [1, {"d": true, "c": null}, [], [2, [3]]], "a": {"on": {}}}),
            "a:\n  \"on\": {}\nb:\n  - 1\n  - c: null\n    d: true\n  - []\n  - - 2\n    - - 3\n",
        );
        check(serde_json::json!({}), "{}\n");
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,6}".prop_map(Value::from),
            "[a-z:# \\-0-9\n\t\u{85}\u{7f}\"']{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-z<: ]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_as_the_same(value in any_value()) {
            let text = emit(&value);
            let read: Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
