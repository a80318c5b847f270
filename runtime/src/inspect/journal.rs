//! `weir inspect journal`: the entries there are, newest first. Pure.

use std::fmt::Write;

use serde::Serialize;
use weir_protocol::Sequence;
use weir_protocol::journal::JournalEntry;

use super::overview::describe;
use crate::show::{self, Align, Table};

/// The journal of a job. Older entries were trimmed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalLines {
    /// Where the job is.
    pub uri: String,
    /// Its entries, newest first.
    pub entries: Vec<JournalLine>,
}

/// One entry. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalLine {
    /// Its position.
    pub sequence: u64,
    /// What it records; `damaged` if it cannot be read.
    pub kind: String,
    /// The same with what it is about, or how it is damaged.
    pub detail: String,
    /// When it was written.
    pub written_at: Option<i64>,
    /// The attempt that wrote it.
    pub attempt: Option<String>,
    /// The reigning generation.
    pub generation: Option<u64>,
    /// Who may claim the journal.
    pub owner: Option<String>,
    /// What the job is meant to do.
    pub status: Option<String>,
    /// Ids of the retained checkpoints, oldest first.
    pub checkpoints: Vec<u64>,
    /// Ids of checkpoints whose output may not be committed yet.
    pub pending_commits: Vec<u64>,
}

/// Puts the lines together.
pub fn journal(uri: &str, entries: &[(Sequence, Result<JournalEntry, String>)]) -> JournalLines {
    let entries = entries.iter().map(|(sequence, entry)| match entry {
        Ok(entry) => intact(*sequence, entry),
        Err(reason) => damaged(*sequence, reason),
    });
    JournalLines { uri: uri.to_owned(), entries: entries.collect() }
}

fn intact(sequence: Sequence, entry: &JournalEntry) -> JournalLine {
    let head = &entry.head;
    JournalLine {
        sequence: sequence.0,
        kind: entry.kind.name().to_owned(),
        detail: describe(&entry.kind),
        written_at: Some(entry.written_at.0),
        attempt: Some(entry.attempt.to_string()),
        generation: Some(head.generation.0),
        owner: Some(head.owner.to_string()),
        status: Some(head.status.to_string()),
        checkpoints: head.checkpoints.iter().map(|checkpoint| checkpoint.id.0).collect(),
        pending_commits: head.pending_commits.iter().map(|id| id.0).collect(),
    }
}

fn damaged(sequence: Sequence, reason: &str) -> JournalLine {
    JournalLine {
        sequence: sequence.0,
        kind: "damaged".to_owned(),
        detail: reason.to_owned(),
        written_at: None,
        attempt: None,
        generation: None,
        owner: None,
        status: None,
        checkpoints: Vec::new(),
        pending_commits: Vec::new(),
    }
}

impl JournalLines {
    /// The lines as a table.
    pub fn render(&self) -> String {
        let columns = [
            ("ENTRY", Align::Right),
            ("WRITTEN", Align::Left),
            ("GEN", Align::Right),
            ("WHAT", Align::Left),
            ("STATUS", Align::Left),
            ("RETAINED", Align::Left),
            ("UNCOMMITTED", Align::Left),
        ];
        let mut table = Table::new(&columns);
        let dash = || "-".to_owned();
        for line in &self.entries {
            table.row([
                line.sequence.to_string(),
                line.written_at.map_or_else(dash, show::time),
                line.generation.map_or_else(dash, |generation| generation.to_string()),
                line.detail.clone(),
                line.status.clone().unwrap_or_else(dash),
                ids(&line.checkpoints),
                ids(&line.pending_commits),
            ]);
        }
        let mut text = table.render(0);
        for pair in self.entries.windows(2) {
            let (newer, older) = (pair[0].sequence, pair[1].sequence);
            if older + 1 != newer {
                writeln!(text, "MISSING entries {} to {}", older + 1, newer - 1)
                    .expect("writing to a string cannot fail");
            }
        }
        text
    }
}

fn ids(ids: &[u64]) -> String {
    match ids {
        [] => "-".to_owned(),
        ids => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}
