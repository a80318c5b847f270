//! The determinism fence, for what clippy cannot see: no source of this crate mentions a clock, randomness, threads, I/O or
//! an unordered collection, and it depends on nothing that could bring them in.

use std::path::{Path, PathBuf};

/// What must not stand in code, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("std::time", "time is an argument"),
    ("HashMap", "ordered collections only"),
    ("HashSet", "ordered collections only"),
    ("hashbrown", "ordered collections only"),
    ("RandomState", "randomness is an argument"),
    ("rand::", "randomness is an argument"),
    ("getrandom", "randomness is an argument"),
    ("std::thread", "nothing is started here"),
    ("tokio", "nothing is started here"),
    ("async ", "nothing waits here"),
    (".await", "nothing waits here"),
    ("std::fs", "no I/O"),
    ("std::net", "no I/O"),
    ("std::env", "settings are arguments"),
    ("std::io", "no I/O"),
    ("println!", "no I/O"),
    ("static mut", "no global state"),
    ("thread_local", "no global state"),
    ("OnceLock", "no global state"),
    ("LazyLock", "no global state"),
    ("AtomicU64", "no shared state"),
    ("AtomicUsize", "no shared state"),
    ("AtomicBool", "no shared state"),
    ("as *const", "addresses differ from run to run"),
    ("addr_of", "addresses differ from run to run"),
];

const ALLOWED_DEPENDENCIES: &[&str] = &["serde", "serde_json", "xxhash-rust", "crc32c", "thiserror"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("the sources are there") {
        let path = entry.expect("the sources are readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The forbidden words in a text, comments aside.
fn breaches(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut breaches = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (word, reason) in FORBIDDEN {
            if has_word(code, word) {
                breaches.push((number + 1, *word, *reason));
            }
        }
    }
    breaches
}

/// True if `code` contains `word`, and the word ends there: `.awaited()` is not an `.await`.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let open_ended = !word.ends_with(is_part);
    code.match_indices(word).any(|(at, _)| open_ended || !code[at + word.len()..].starts_with(is_part))
}

#[test]
fn no_source_breaches_the_fence() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    files.sort();
    assert!(files.len() > 30, "only {} sources were found", files.len());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("sources are text");
        let found = breaches(&text);
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn the_fence_notices_a_breach_and_overlooks_comments() {
    assert_eq!(breaches("// a HashMap would not do\nlet now = std::time::Instant::now();")[0].0, 2);
    assert_eq!(breaches("use std::collections::HashMap;").len(), 1);
    assert_eq!(breaches("call().await?; in_flight.awaited();").len(), 1);
}

#[test]
fn the_crate_depends_on_nothing_else() {
    let manifest = std::fs::read_to_string("Cargo.toml").expect("there is a Cargo.toml");
    let dependencies =
        manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next()).expect("a section");
    for line in dependencies.lines().filter(|line| !line.trim().is_empty()) {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        assert!(ALLOWED_DEPENDENCIES.contains(&name), "{name} is not allowed here: {line}");
    }
}
