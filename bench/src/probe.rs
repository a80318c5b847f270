//! What the sink of `bench/job` writes down, read from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::process::files_below;

/// A line of one subtask.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Microseconds since the Unix epoch.
    pub at: u64,
    /// Records so far.
    pub count: u64,
    /// Longest time without output since the line before, in microseconds.
    pub gap: u64,
}

/// The output of one generation, by subtask.
#[derive(Debug, Default)]
pub struct Probe {
    /// Lines in order of time.
    pub subtasks: Vec<Vec<Line>>,
}

impl Probe {
    /// What the newest generation wrote so far.
    ///
    /// # Errors
    /// When the files cannot be read.
    pub fn newest(directory: &Path) -> Result<Self> {
        if !directory.exists() {
            return Ok(Self::default());
        }
        let mut generations: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for path in files_below(directory)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let generation = name.split('-').next().unwrap_or_default().to_owned();
            generations.entry(generation).or_default().push(path);
        }
        let newest = generations.into_values().next_back().unwrap_or_default();
        Ok(Self { subtasks: newest.iter().map(|path| read(path)).collect::<Result<_>>()? })
    }

    /// Records of all subtasks.
    pub fn count(&self) -> u64 {
        self.subtasks.iter().filter_map(|lines| lines.last()).map(|line| line.count).sum()
    }

    /// Records between two points in time, in microseconds since the Unix epoch.
    pub fn count_between(&self, from: u64, to: u64) -> u64 {
        let before =
            |lines: &[Line], at: u64| lines.iter().rev().find(|line| line.at <= at).map_or(0, |line| line.count);
        self.subtasks.iter().map(|lines| before(lines, to) - before(lines, from)).sum()
    }

    /// When there was output first, in microseconds since the Unix epoch.
    pub fn first(&self) -> Option<u64> {
        self.subtasks.iter().filter_map(|lines| lines.first()).map(|line| line.at).min()
    }

    /// The longest times without output between lines that begin after `from` and end before `to`, in microseconds.
    pub fn gaps(&self, from: u64, to: u64) -> Vec<u64> {
        let within = self.subtasks.iter().flatten().filter(|line| line.at >= from && line.at <= to);
        within.map(|line| line.gap).collect()
    }
}

fn read(path: &Path) -> Result<Vec<Line>> {
    // The last line may be under way.
    let text = std::fs::read_to_string(path)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    Ok(whole.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Line> {
    let mut numbers = line.split(' ').map(|text| text.parse::<u64>());
    let mut next = || numbers.next()?.ok();
    let (at, count, _number) = (next()?, next()?, next()?);
    Some(Line { at, count, gap: next()? })
}

/// Microseconds since the Unix epoch.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
