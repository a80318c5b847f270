//! `weir inspect checkpoints`: how each retained checkpoint went, phase by phase. Pure.

use std::fmt::Write;

use serde::Serialize;
use weir_protocol::SubtaskTimeline;

use super::InspectError;
use super::model::{Checkpoint, CheckpointFacts, History, chain_parts};
use crate::show::{self, Align, Table};

/// The retained checkpoints, newest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoints {
    /// Where the job is.
    pub uri: String,
    /// One row for each of them.
    pub checkpoints: Vec<CheckpointRow>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointRow {
    /// What the journal says about it.
    #[serde(flatten)]
    pub facts: CheckpointFacts,
    /// Runs in its chain.
    pub runs: u64,
    /// Bases in its chain.
    pub bases: u64,
    /// Entries in its chain, tombstones included.
    pub entries: u64,
    /// The longest of each phase over all subtasks.
    pub phases: Phases,
    /// The subtask that was durable last, as `operator[subtask]`.
    pub slowest: Option<String>,
    /// Every subtask.
    pub subtasks: Vec<SubtaskRow>,
    /// Why its manifest cannot be read.
    pub damaged: Option<String>,
}

/// Lengths of the phases in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phases {
    /// From the trigger to the first barrier.
    pub start_us: u64,
    /// From the first barrier to the last.
    pub alignment_us: u64,
    /// On the record path: seal, freeze, forward.
    pub sync_us: u64,
    /// Behind the stream, uploading included.
    pub async_us: u64,
    /// Uploading.
    pub upload_us: u64,
}

/// One subtask's part in a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubtaskRow {
    /// The operator.
    pub operator: String,
    /// The subtask.
    pub subtask: u32,
    /// When it was durable, in microseconds after the trigger.
    pub end_us: u64,
    /// Bytes it made durable.
    pub bytes: u64,
    /// Its phases.
    pub phases: Phases,
}

/// Puts the rows together; only checkpoint `only`, if one is named.
///
/// # Errors
/// When `only` is not retained.
pub fn checkpoints(history: &History, only: Option<u64>) -> Result<Checkpoints, InspectError> {
    let wanted = |checkpoint: &&Checkpoint| only.is_none_or(|id| checkpoint.entry.id.0 == id);
    let checkpoints: Vec<_> = history.checkpoints.iter().rev().filter(wanted).map(row).collect();
    match only {
        Some(id) if checkpoints.is_empty() => Err(InspectError::NoCheckpoint { id, retained: retained(history) }),
        _ => Ok(Checkpoints { uri: history.uri.clone(), checkpoints }),
    }
}

fn retained(history: &History) -> String {
    let ids: Vec<String> = history.checkpoints.iter().rev().map(|checkpoint| checkpoint.entry.id.to_string()).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

fn row(checkpoint: &Checkpoint) -> CheckpointRow {
    let manifest = checkpoint.manifest.as_ref().ok();
    let subtasks: Vec<SubtaskRow> = manifest.iter().flat_map(|manifest| &manifest.timeline).map(subtask).collect();
    let (runs, bases) = manifest.map(chain_parts).unwrap_or_default();
    CheckpointRow {
        facts: checkpoint.facts(),
        runs,
        bases,
        entries: manifest.map_or(0, |manifest| manifest.chain.iter().map(|run| run.entries).sum()),
        phases: longest(&subtasks),
        slowest: subtasks.iter().max_by_key(|row| row.end_us).map(|row| format!("{}[{}]", row.operator, row.subtask)),
        subtasks,
        damaged: checkpoint.manifest.as_ref().err().cloned(),
    }
}

fn subtask(timeline: &SubtaskTimeline) -> SubtaskRow {
    let start = timeline.alignment_start_us.saturating_sub(timeline.trigger_at_us);
    SubtaskRow {
        operator: timeline.operator.to_string(),
        subtask: timeline.subtask.0,
        end_us: timeline.duration_us(),
        bytes: timeline.bytes,
        phases: Phases {
            start_us: u64::try_from(start).unwrap_or(0),
            alignment_us: timeline.alignment_us(),
            sync_us: timeline.sync_us,
            async_us: timeline.async_us,
            upload_us: timeline.upload_us,
        },
    }
}

fn longest(subtasks: &[SubtaskRow]) -> Phases {
    subtasks.iter().map(|row| row.phases).fold(Phases::default(), |longest, phases| Phases {
        start_us: longest.start_us.max(phases.start_us),
        alignment_us: longest.alignment_us.max(phases.alignment_us),
        sync_us: longest.sync_us.max(phases.sync_us),
        async_us: longest.async_us.max(phases.async_us),
        upload_us: longest.upload_us.max(phases.upload_us),
    })
}

const PHASES: [(&str, Align); 5] = [
    ("START", Align::Right),
    ("ALIGN", Align::Right),
    ("SYNC", Align::Right),
    ("ASYNC", Align::Right),
    ("UPLOAD", Align::Right),
];

impl Phases {
    fn cells(self) -> [String; 5] {
        let Self { start_us, alignment_us, sync_us, async_us, upload_us } = self;
        [start_us, alignment_us, sync_us, async_us, upload_us].map(show::micros)
    }
}

impl Checkpoints {
    /// The rows as a table; with each checkpoint's subtasks below it if `subtasks` says so.
    pub fn render(&self, subtasks: bool) -> String {
        let mut text = String::new();
        if subtasks {
            for row in &self.checkpoints {
                text.push_str(&self.table(std::slice::from_ref(row)).render(0));
                text.push_str(&subtask_table(&row.subtasks).render(4));
                text.push('\n');
            }
        } else {
            text.push_str(&self.table(&self.checkpoints).render(0));
        }
        for row in &self.checkpoints {
            if let Some(damaged) = &row.damaged {
                writeln!(text, "DAMAGED checkpoint {}: {damaged}", row.facts.id)
                    .expect("writing to a string cannot fail");
            }
        }
        text
    }

    fn table(&self, rows: &[CheckpointRow]) -> Table {
        let mut columns = vec![
            ("ID", Align::Right),
            ("KIND", Align::Left),
            ("GEN", Align::Right),
            ("TRIGGERED", Align::Left),
            ("TOOK", Align::Right),
        ];
        columns.extend(PHASES);
        columns.extend([
            ("FULL", Align::Right),
            ("UPLOADED", Align::Right),
            ("RUNS", Align::Right),
            ("BASES", Align::Right),
            ("SLOWEST", Align::Left),
        ]);
        let mut table = Table::new(&columns);
        for row in rows {
            let facts = &row.facts;
            let mut cells = vec![
                facts.id.to_string(),
                facts.kind.clone(),
                facts.generation.to_string(),
                show::time(facts.triggered_at),
                show::millis(facts.duration_ms),
            ];
            cells.extend(row.phases.cells());
            cells.extend([
                show::bytes(facts.bytes_full),
                show::bytes(facts.bytes_incremental),
                row.runs.to_string(),
                row.bases.to_string(),
            ]);
            cells.push(row.slowest.clone().unwrap_or_else(|| "-".to_owned()));
            table.row(cells);
        }
        table
    }
}

fn subtask_table(rows: &[SubtaskRow]) -> Table {
    let mut columns = vec![("OPERATOR", Align::Left), ("SUBTASK", Align::Right)];
    columns.extend(PHASES);
    columns.extend([("DURABLE AFTER", Align::Right), ("BYTES", Align::Right)]);
    let mut table = Table::new(&columns);
    for row in rows {
        let mut cells = vec![row.operator.clone(), row.subtask.to_string()];
        cells.extend(row.phases.cells());
        cells.extend([show::micros(row.end_us), show::bytes(row.bytes)]);
        table.row(cells);
    }
    table
}
