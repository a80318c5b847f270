//! The last words of a runtime process: JSON in its pod's termination message.
//!
//! A worker says how it ended, a preflight what it found. Kubernetes keeps 4096 bytes, so texts are cut.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes of a message, at most: what Kubernetes keeps.
const MOST_BYTES: usize = 4096;
/// Characters of one text in it.
const MOST_TEXT: usize = 2000;
/// Errors that are listed; the last one says how many are left out.
const MOST_ERRORS: usize = 16;

/// How a worker process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastWords {
    /// Its exit code, one of [`exit_code`](crate::exit_code).
    pub code: u8,
    /// How, in one word: `terminated` (asked to go), `cancelled`, `failed`, `refused`, `fenced`.
    pub kind: String,
    /// Why, in a sentence.
    pub message: String,
    /// The newest completed checkpoint that this process knew of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<u64>,
}

/// What a preflight, or a deletion, found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// Whether the job can run, or was deleted.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
    /// True if nothing is known to be wrong: the storage did not answer, and asking again is fine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry: bool,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The field of the StreamJob that it comes from; empty if it comes from none.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl LastWords {
    /// Writes it where Kubernetes reads it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let message = cut(&self.message, MOST_TEXT);
        write(&Self { message, ..self.clone() }, file)
    }

    /// Reads what a process wrote; `None` if these are no such words.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Findings {
    /// Nothing is wrong.
    pub fn fine() -> Self {
        Self { ok: true, errors: Vec::new(), retry: false }
    }

    /// Something is.
    pub fn wrong(errors: Vec<Finding>, retry: bool) -> Self {
        Self { ok: false, errors, retry }
    }

    /// Writes it where Kubernetes reads it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        write(&self.shortened(), file)
    }

    /// As much of it as fits.
    fn shortened(&self) -> Self {
        let mut errors = self.errors.clone();
        let surplus = errors.len().saturating_sub(MOST_ERRORS);
        errors.truncate(MOST_ERRORS);
        if let (Some(last), 1..) = (errors.last_mut(), surplus) {
            last.message = format!("{} (and {surplus} more)", last.message);
        }
        let each = MOST_TEXT / errors.len().max(1);
        for error in &mut errors {
            error.message = cut(&error.message, each);
            error.field = cut(&error.field, 128);
        }
        Self { ok: self.ok, errors, retry: self.retry }
    }

    /// Reads what a process wrote; `None` if these are no findings.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

fn write(value: &impl Serialize, file: &Path) -> io::Result<()> {
    let text = serde_json::to_string(value)?;
    debug_assert!(text.len() <= MOST_BYTES, "{} bytes", text.len());
    // In place: Kubernetes mounts this very file into the container.
    std::fs::write(file, text)
}

/// At most so many bytes of JSON text, whole characters.
fn cut(text: &str, most: usize) -> String {
    let mut kept = String::new();
    let mut bytes = 0;
    for c in text.chars() {
        // As it is written in JSON.
        bytes += match c {
            '"' | '\\' | '\n' | '\r' | '\t' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        if bytes > most {
            return format!("{kept}…");
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_read_back_and_always_fit() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("termination-log");
        let words = LastWords { code: 3, kind: "fenced".to_owned(), message: "by g4".to_owned(), checkpoint: Some(7) };
        words.write(&file).unwrap();
        assert_eq!(LastWords::read(&std::fs::read_to_string(&file).unwrap()), Some(words.clone()));
        let long = LastWords { message: "\"ä\u{1}".repeat(10_000), ..words };
        long.write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.len() <= MOST_BYTES && LastWords::read(&text).is_some(), "{}", text.len());
    }

    #[test]
    fn many_findings_fit_and_say_that_there_are_more() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("termination-log");
        let one = Finding { field: "spec.args.events".to_owned(), message: "found \"x\"; ".repeat(200) };
        Findings::wrong(vec![one; 40], false).write(&file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.len() <= MOST_BYTES, "{}", text.len());
        assert_eq!(Findings::read(&text).unwrap().errors.len(), MOST_ERRORS);
        let few = Finding { field: String::new(), message: "m".to_owned() };
        Findings::wrong(vec![few; 18], false).write(&file).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("m (and 2 more)"));
        assert_eq!(serde_json::to_string(&Findings::fine()).unwrap(), r#"{"ok":true}"#);
    }
}
