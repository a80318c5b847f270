//! Words that YAML 1.1 readers, `kubectl` among them, take for booleans or numbers, and YAML 1.2 readers for texts.
//!
//! The YAML crate does not tell whether a text stood in quotes, so the source is looked at where it stands.

use super::Refusal;
use super::locate::{Part, Position, find};
use crate::invalid::Invalid;
use crate::path::FieldPath;

/// A word whose meaning may differ, and where it stands.
pub(super) struct Suspect {
    pub(super) path: FieldPath,
    pub(super) part: Part,
    pub(super) word: String,
}

/// Words that are texts here, and booleans or numbers to `kubectl`, if they stand without quotes.
pub(super) fn refuse_legacy_words(text: &str, suspects: Vec<Suspect>) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for Suspect { path, part, word } in suspects {
        let Some((position, _)) = find(text, &path, part) else {
            continue;
        };
        if is_quoted(text, position) {
            continue;
        }
        let meaning = legacy_meaning(&word).unwrap_or_default();
        let readers = format!("kubectl reads {word} as {meaning}, `weir run` as a text");
        let invalid = match part {
            Part::Key { .. } => Invalid::new(
                path,
                format!("the key {word} without quotes"),
                format!("\"{word}\""),
                format!("write it in quotes: {readers}"),
            ),
            Part::Value => Invalid::new(
                path,
                format!("{word} without quotes"),
                format!("\"{word}\" or {meaning}"),
                format!("write one of them: {readers}"),
            ),
        };
        refusals.push(Refusal { position: Some(position), invalid });
    }
    refusals
}

/// What a YAML 1.1 reader makes of a plain word that is a text in YAML 1.2.
pub(super) fn legacy_meaning(word: &str) -> Option<String> {
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

fn is_quoted(text: &str, position: Position) -> bool {
    let line = text.lines().nth(position.line - 1).unwrap_or_default();
    let mut rest: String = line.chars().skip(position.column - 1).collect();
    // An anchor or a tag may stand before the value; an explicit tag says what is meant.
    if rest.starts_with('&') {
        rest = rest.split_once(' ').map(|(_, r)| r.trim_start().to_owned()).unwrap_or_default();
    }
    rest.starts_with(['"', '\'', '!', '|', '>'])
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
