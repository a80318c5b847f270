//! Words that YAML 1.1 readers, `kubectl` among them, take for booleans or numbers, and YAML 1.2 readers for texts.
//!
//! The YAML crate does not tell whether a text stood in quotes. But a text without escapes is handed over as a piece of the
//! source, so what stands before it there can be looked at; a text with escapes stood in quotes anyhow.

use super::{Position, Refusal};
use crate::invalid::Invalid;
use crate::path::FieldPath;

/// What a word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Key,
    Value,
}

/// Refuses a word that is a text here and a boolean or number to `kubectl`. `word` is a piece of `source`.
pub(super) fn refuse_legacy_word(source: &str, path: &FieldPath, role: Role, word: &str) -> Option<Refusal> {
    let meaning = legacy_meaning(word)?;
    let before = text_before(source, word)?;
    // An explicit tag says what is meant, as quotes do.
    if before.ends_with(['"', '\'']) || before.trim_end().ends_with("!!str") {
        return None;
    }
    let readers = format!("kubectl reads {word} as {meaning}, `weir run` as a text");
    let invalid = match role {
        Role::Key => Invalid::new(
            path.clone(),
            format!("the key {word} without quotes"),
            format!("\"{word}\""),
            format!("write it in quotes: {readers}"),
        ),
        Role::Value => Invalid::new(
            path.clone(),
            format!("{word} without quotes"),
            format!("\"{word}\" or {meaning}"),
            format!("write one of them: {readers}"),
        ),
    };
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    let position =
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 };
    Some(Refusal { position: Some(position), invalid })
}

/// What stands in `source` before `piece`, if that is a piece of it.
fn text_before<'s>(source: &'s str, piece: &str) -> Option<&'s str> {
    let offset = (piece.as_ptr() as usize).checked_sub(source.as_ptr() as usize)?;
    source.get(..offset)
}

/// What a YAML 1.1 reader makes of a plain word that is a text in YAML 1.2.
fn legacy_meaning(word: &str) -> Option<String> {
    match word.to_ascii_lowercase().as_str() {
        "y" | "yes" | "on" if is_one_case(word) => return Some("true".to_owned()),
        "n" | "no" | "off" if is_one_case(word) => return Some("false".to_owned()),
        _ => {}
    }
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", word.strip_prefix('+').unwrap_or(word)),
    };
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit()) && plain.bytes().all(|b| b.is_ascii_digit());
    if !is_number {
        return None;
    }
    let octal = plain.len() > 1 && plain.starts_with('0');
    let number = i64::from_str_radix(&plain, if octal { 8 } else { 10 }).ok()?;
    (plain.len() != digits.len() || octal).then(|| format!("{sign}{number}"))
}

/// `yes`, `Yes` and `YES`, but not `yEs`.
fn is_one_case(word: &str) -> bool {
    let tail = word.get(1..).unwrap_or_default();
    let is_lower = tail.bytes().all(|b| b.is_ascii_lowercase());
    let is_upper = word.bytes().all(|b| b.is_ascii_uppercase());
    is_lower || is_upper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<&str>) {
        assert_eq!(legacy_meaning(word).as_deref(), expected, "{word}");
    }

    #[test]
    fn only_words_that_readers_disagree_about_are_suspect() {
        check("on", Some("true"));
        check("Yes", Some("true"));
        check("Y", Some("true"));
        check("OFF", Some("false"));
        check("n", Some("false"));
        check("yEs", None);
        check("ye", None);
        check("1_000", Some("1000"));
        check("-1_0", Some("-10"));
        check("017", Some("15"));
        check("089", None);
        check("_1", None);
        check("10s", None);
        check("2026-11-20", None);
        check("0", None);
        check("-", None);
        check("", None);
    }
}
