//! `weir inspect`: a job on one page. Pure.

use std::fmt::Write;

use serde::Serialize;
use weir_protocol::Manifest;
use weir_protocol::journal::{EntryKind, JobStatus, RestorePoint};

use super::garbage::{self, Heap, Inventory, Storage};
use super::model::{Checkpoint, CheckpointFacts, History, Savepoint, chain_parts};
use crate::show::{self, Align, Table};

/// A job on one page. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// Where the job is.
    pub uri: String,
    /// Drawn by the journal's first claim.
    pub job_id: String,
    /// Who may claim the journal.
    pub owner: String,
    /// Earlier owners.
    pub displaced_owners: Vec<String>,
    /// The reigning generation.
    pub generation: u64,
    /// What the job is meant to do: `running`, `stopped`, `finished` or `failed: …`.
    pub status: String,
    /// Number of the resolved job that runs.
    pub revision: u64,
    /// Its hash.
    pub revision_hash: String,
    /// What the next deployment starts from.
    pub restores: String,
    /// The newest journal entry.
    pub newest_entry: NewestEntry,
    /// Journal entries there are.
    pub journal_entries: u64,
    /// Parallelism and key groups of the newest checkpoint.
    pub scale: Option<Scale>,
    /// Checkpoints whose output may not be committed yet.
    pub pending_commits: Vec<u64>,
    /// The retained checkpoints, newest first.
    pub checkpoints: Vec<CheckpointLine>,
    /// Savepoints below the job.
    pub savepoints: Vec<SavepointLine>,
    /// Objects by what keeps them.
    pub storage: Storage,
    /// When this was read.
    pub read_at: i64,
}

/// The newest journal entry.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewestEntry {
    /// Its position.
    pub sequence: u64,
    /// What it records.
    pub kind: String,
    /// When it was written.
    pub written_at: i64,
}

/// How a job is divided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scale {
    /// Subtasks of each operator.
    pub parallelism: u32,
    /// Key groups.
    pub max_parallelism: u32,
}

/// A retained checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointLine {
    /// What the journal says about it.
    #[serde(flatten)]
    pub facts: CheckpointFacts,
    /// Objects it names.
    pub objects: Option<u64>,
    /// Runs in its chain.
    pub runs: Option<u64>,
    /// Bases in its chain.
    pub bases: Option<u64>,
    /// Why its manifest cannot be read.
    pub damaged: Option<String>,
}

/// A savepoint.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SavepointLine {
    /// The user's name for it.
    pub name: String,
    /// The checkpoint it is a copy of.
    pub checkpoint: Option<u64>,
    /// When it was durable.
    pub completed_at: Option<i64>,
    /// Objects below it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why its manifest cannot be read.
    pub incomplete: Option<String>,
}

/// Puts a page together. `now` is in milliseconds since the Unix epoch.
pub fn overview(history: &History, savepoints: &[Savepoint], inventory: &Inventory, now: i64) -> Overview {
    let head = &history.newest.head;
    let newest = history.checkpoints.iter().rev().find_map(|checkpoint| checkpoint.manifest.as_ref().ok());
    Overview {
        uri: history.uri.clone(),
        job_id: head.job_id.to_string(),
        owner: head.owner.to_string(),
        displaced_owners: head.displaced.iter().map(ToString::to_string).collect(),
        generation: head.generation.0,
        status: head.status.to_string(),
        revision: head.revision.number,
        revision_hash: head.revision.hash.clone(),
        restores: restores(&head.restore),
        newest_entry: NewestEntry {
            sequence: history.newest.sequence.0,
            kind: describe(&history.newest.kind),
            written_at: history.newest.written_at.0,
        },
        journal_entries: history.entries.len() as u64,
        scale: newest.map(scale_of),
        pending_commits: head.pending_commits.iter().map(|id| id.0).collect(),
        checkpoints: history.checkpoints.iter().rev().map(line_of).collect(),
        savepoints: savepoints.iter().map(savepoint_line).collect(),
        storage: garbage::sort(history, inventory),
        read_at: now,
    }
}

fn scale_of(manifest: &Manifest) -> Scale {
    Scale { parallelism: manifest.parallelism, max_parallelism: manifest.max_parallelism.get() }
}

/// What a deployment starts from, in words.
pub(crate) fn restores(point: &RestorePoint) -> String {
    match point {
        RestorePoint::Empty => "nothing, sources start at their beginning".to_owned(),
        RestorePoint::Checkpoint(id) => format!("checkpoint {id}"),
        RestorePoint::Imported { source, checkpoint, .. } => format!("checkpoint {checkpoint} of {source}"),
    }
}

/// An entry's kind with what it is about.
pub(super) fn describe(kind: &EntryKind) -> String {
    match kind {
        EntryKind::Claim { owner, adopted_from: None, restored_from } => {
            format!("claim by {owner}, from {}", restores(restored_from))
        }
        EntryKind::Claim { owner, adopted_from: Some(earlier), restored_from } => {
            format!("claim by {owner}, adopted from {earlier}, from {}", restores(restored_from))
        }
        EntryKind::Checkpoint { checkpoint } => format!("checkpoint {checkpoint}"),
        EntryKind::Savepoint { name, checkpoint } => format!("savepoint {name} of checkpoint {checkpoint}"),
        EntryKind::Failed { reason } => format!("failed: {reason}"),
        EntryKind::Reserve | EntryKind::Retire | EntryKind::Stopped | EntryKind::Finished | EntryKind::Deleted => {
            kind.name().to_owned()
        }
    }
}

fn line_of(checkpoint: &Checkpoint) -> CheckpointLine {
    let manifest = checkpoint.manifest.as_ref().ok();
    let parts = manifest.map(chain_parts);
    CheckpointLine {
        facts: checkpoint.facts(),
        objects: manifest.map(|manifest| manifest.object_keys().len() as u64),
        runs: parts.map(|(runs, _)| runs),
        bases: parts.map(|(_, bases)| bases),
        damaged: checkpoint.manifest.as_ref().err().cloned(),
    }
}

fn savepoint_line(savepoint: &Savepoint) -> SavepointLine {
    let manifest = savepoint.manifest.as_ref().ok();
    SavepointLine {
        name: savepoint.name.clone(),
        checkpoint: manifest.map(|manifest| manifest.checkpoint.0),
        completed_at: manifest.map(|manifest| manifest.completed_at.0),
        objects: savepoint.objects,
        bytes: savepoint.bytes,
        incomplete: savepoint.manifest.as_ref().err().cloned(),
    }
}

impl Overview {
    /// The page as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        self.render_head(&mut text).expect("writing to a string cannot fail");
        self.render_checkpoints(&mut text).expect("writing to a string cannot fail");
        self.render_storage(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn age(&self, at: i64) -> String {
        show::ago(u64::try_from(self.read_at - at).unwrap_or(0))
    }

    fn render_head(&self, text: &mut String) -> std::fmt::Result {
        let entry = &self.newest_entry;
        writeln!(text, "job          {}", self.uri)?;
        writeln!(text, "id           {}, owner {}", self.job_id, self.owner)?;
        if !self.displaced_owners.is_empty() {
            writeln!(text, "taken over   from {}", self.displaced_owners.join(", then "))?;
        }
        writeln!(text, "status       {}, generation {}, revision {}", self.status, self.generation, self.revision)?;
        if let Some(Scale { parallelism, max_parallelism }) = self.scale {
            writeln!(text, "parallelism  {parallelism} of {max_parallelism} key groups")?;
        }
        let (kind, age) = (&entry.kind, self.age(entry.written_at));
        writeln!(text, "journal      {} entries, newest {}: {kind}, {age}", self.journal_entries, entry.sequence)?;
        writeln!(text, "restores     {}", self.restores)?;
        if !self.pending_commits.is_empty() {
            let ids: Vec<String> = self.pending_commits.iter().map(ToString::to_string).collect();
            writeln!(text, "commits      output of checkpoint {} may still be invisible", ids.join(", "))?;
        }
        Ok(())
    }

    fn render_checkpoints(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n{}", show::count_of(self.checkpoints.len() as u64, "retained checkpoint"))?;
        let columns = [
            ("ID", Align::Right),
            ("KIND", Align::Left),
            ("GEN", Align::Right),
            ("COMPLETED", Align::Left),
            ("AGE", Align::Right),
            ("TOOK", Align::Right),
            ("FULL", Align::Right),
            ("UPLOADED", Align::Right),
            ("OBJECTS", Align::Right),
            ("CHAIN", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for line in &self.checkpoints {
            let chain = match (&line.damaged, line.runs, line.bases) {
                (Some(damaged), _, _) => damaged.clone(),
                (None, Some(runs), Some(0)) => show::count_of(runs, "run"),
                (None, Some(runs), Some(bases)) => {
                    format!("{} + {}", show::count_of(bases, "base"), show::count_of(runs, "run"))
                }
                (None, _, _) => "-".to_owned(),
            };
            let facts = &line.facts;
            table.row([
                facts.id.to_string(),
                facts.kind.clone(),
                facts.generation.to_string(),
                show::time(facts.completed_at),
                self.age(facts.completed_at),
                show::millis(facts.duration_ms),
                show::bytes(facts.bytes_full),
                show::bytes(facts.bytes_incremental),
                line.objects.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                chain,
            ]);
        }
        if !self.checkpoints.is_empty() {
            text.push_str(&table.render(2));
        }
        if !self.savepoints.is_empty() {
            writeln!(text, "\n{}", show::count_of(self.savepoints.len() as u64, "savepoint"))?;
            text.push_str(&self.savepoint_table().render(2));
        }
        Ok(())
    }

    fn savepoint_table(&self) -> Table {
        let columns = [
            ("NAME", Align::Left),
            ("CHECKPOINT", Align::Right),
            ("COMPLETED", Align::Left),
            ("SIZE", Align::Right),
            ("OBJECTS", Align::Right),
        ];
        let mut table = Table::new(&columns);
        for line in &self.savepoints {
            let completed = match (&line.incomplete, line.completed_at) {
                (Some(reason), _) => reason.clone(),
                (None, Some(at)) => show::time(at),
                (None, None) => "-".to_owned(),
            };
            let checkpoint = line.checkpoint.map_or_else(|| "-".to_owned(), |id| id.to_string());
            table.row([line.name.clone(), checkpoint, completed, show::bytes(line.bytes), line.objects.to_string()]);
        }
        table
    }

    fn render_storage(&self, text: &mut String) -> std::fmt::Result {
        let storage = &self.storage;
        let heap = |heap: &Heap| format!("{} in {}", show::bytes(heap.bytes), show::count_of(heap.objects, "object"));
        writeln!(text, "\nstorage      {}", heap(&storage.total))?;
        writeln!(text, "  checkpoints   {}", heap(&storage.referenced))?;
        writeln!(text, "  journal       {}", heap(&storage.journal))?;
        if storage.savepoints.objects > 0 {
            writeln!(text, "  savepoints    {}", heap(&storage.savepoints))?;
        }
        if storage.unnamed.objects > 0 {
            writeln!(text, "  not named yet {}, of the reigning generation", heap(&storage.unnamed))?;
        }
        writeln!(text, "  unreferenced  {}", heap(&storage.unreferenced))?;
        if storage.foreign.objects > 0 {
            writeln!(text, "  not Weir's    {}", heap(&storage.foreign))?;
        }
        writeln!(text, "  open uploads  {}", storage.open_uploads.len())?;
        for key in &storage.open_uploads {
            writeln!(text, "    {key}")?;
        }
        for missing in &storage.missing {
            writeln!(text, "DAMAGED      {missing}")?;
        }
        Ok(())
    }

    /// Whether something is damaged.
    pub fn is_damaged(&self) -> bool {
        !self.storage.missing.is_empty() || self.checkpoints.iter().any(|line| line.damaged.is_some())
    }

    /// Whether the job is meant to run.
    pub fn is_running(&self) -> bool {
        self.status == JobStatus::Running.to_string()
    }
}
