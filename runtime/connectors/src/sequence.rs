//! The numbers 0, 1, 2, …: the simplest source, for tests and measurements.
//!
//! Split `k` of `n` delivers the numbers that leave the remainder `k` when divided by `n`. A position is the next number.

use serde::{Deserialize, Serialize};
use weir_engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};

use crate::pace::{Clock, Pace};
use crate::split::{Share, parse_share, share_ids};

const NAME: &str = "sequence";

/// A source of consecutive numbers.
#[derive(Clone)]
pub struct Sequence {
    end: Option<u64>,
    splits: u32,
    rate: Option<u64>,
    clock: Clock,
}

impl Sequence {
    /// The numbers below `end`, in one split, as fast as they are taken.
    pub fn bounded(end: u64) -> Self {
        Self { end: Some(end), splits: 1, rate: None, clock: Clock::system() }
    }

    /// All numbers, in one split, as fast as they are taken.
    pub fn unbounded() -> Self {
        Self { end: None, splits: 1, rate: None, clock: Clock::system() }
    }

    /// Divides the numbers into `splits` (at least one).
    #[must_use]
    pub fn splits(mut self, splits: u32) -> Self {
        self.splits = splits.max(1);
        self
    }

    /// At most `rate` numbers per second over all splits: number `i` is due at `start + i / rate`.
    #[must_use]
    pub fn rate(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }
}

impl Source for Sequence {
    type Item = u64;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        Ok(share_ids(NAME, self.splits))
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = u64>>, ConnectorError> {
        let share = parse_share(split, NAME, self.splits)?;
        let stored = position.map(|position| parse_position(split, share, position)).transpose()?;
        Ok(Box::new(SequenceReader {
            next: stored.as_ref().map_or(u64::from(share.index), |stored| stored.next),
            step: u64::from(share.of),
            end: self.end.unwrap_or(u64::MAX),
            pace: Pace::new(self.rate, stored.and_then(|stored| stored.started), &self.clock),
        }))
    }

    fn is_bounded(&self) -> bool {
        self.end.is_some()
    }
}

/// What is stored in checkpoints.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequencePosition {
    next: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<i64>,
}

fn parse_position(split: &SplitId, share: Share, position: &Position) -> Result<SequencePosition, ConnectorError> {
    let misfit = || ConnectorError::permanent(format!("position {position} does not belong to split {split}"));
    let stored = SequencePosition::deserialize(position).map_err(|error| misfit().caused_by(error))?;
    if stored.next % u64::from(share.of) != u64::from(share.index) {
        return Err(misfit());
    }
    Ok(stored)
}

struct SequenceReader {
    next: u64,
    step: u64,
    end: u64,
    pace: Option<Pace>,
}

impl SplitReader for SequenceReader {
    type Item = u64;

    fn read(&mut self, max: usize, out: &mut Vec<u64>) -> Result<Progress, ConnectorError> {
        let limit = self.pace.as_ref().map_or(self.end, |pace| pace.due().min(self.end));
        let left = limit.saturating_sub(self.next).div_ceil(self.step);
        let count = left.min(max as u64);
        out.extend((0..count).map(|index| self.next + index * self.step));
        self.next += count * self.step;
        Ok(match &self.pace {
            _ if self.next >= self.end => Progress::End,
            Some(pace) if self.next >= limit => Progress::WaitFor(pace.wait(self.next)),
            _ => Progress::Ready,
        })
    }

    fn position(&self) -> Position {
        let started = self.pace.as_ref().map(Pace::started);
        serde_json::to_value(SequencePosition { next: self.next, started }).expect("two integers are valid JSON")
    }

    fn lag(&self) -> Option<u64> {
        let due = self.pace.as_ref()?.due().min(self.end);
        Some(due.saturating_sub(self.next).div_ceil(self.step))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Duration;

    use super::*;

    fn read_all(source: &Sequence, split: &SplitId, position: Option<&Position>, max: usize) -> Vec<u64> {
        let mut reader = source.open(split, position).unwrap();
        let mut numbers = Vec::new();
        while reader.read(max, &mut numbers).unwrap() != Progress::End {}
        numbers
    }

    #[test]
    fn the_splits_together_deliver_every_number_once() {
        for (end, splits) in [(0, 1), (1, 4), (10, 1), (10, 3), (12, 3), (1000, 7)] {
            let source = Sequence::bounded(end).splits(splits);
            let mut all: Vec<u64> =
                source.discover().unwrap().iter().flat_map(|split| read_all(&source, split, None, 5)).collect();
            all.sort_unstable();
            assert_eq!(all, (0..end).collect::<Vec<_>>(), "{end} numbers in {splits} splits");
        }
    }

    #[test]
    fn a_reader_opened_at_a_position_delivers_what_followed() {
        let source = Sequence::bounded(100).splits(3);
        let split = &source.discover().unwrap()[1];
        let all = read_all(&source, split, None, 100);
        let mut reader = source.open(split, None).unwrap();
        let mut head = Vec::new();
        for _ in 0..all.len() {
            let rest = read_all(&source, split, Some(&reader.position()), 4);
            assert_eq!([head.clone(), rest].concat(), all);
            reader.read(1, &mut head).unwrap();
        }
        assert_eq!(reader.position(), serde_json::json!({"next": 100}));
        assert!(read_all(&source, split, Some(&reader.position()), 4).is_empty());
    }

    #[test]
    fn a_position_of_another_split_is_refused() {
        let source = Sequence::bounded(100).splits(3);
        let split = &source.discover().unwrap()[1];
        for position in [serde_json::json!({"next": 3}), serde_json::json!({"nxt": 1}), serde_json::json!(null)] {
            let Err(error) = source.open(split, Some(&position)) else { panic!("{position} was taken") };
            assert!(error.message.contains("sequence/3-1"), "{error}");
        }
    }

    #[test]
    fn the_rate_holds_over_all_splits_and_across_a_restore() {
        let now = Arc::new(AtomicI64::new(5_000_000));
        let clock = Clock::from_fn({
            let now = Arc::clone(&now);
            move || now.load(Ordering::Relaxed)
        });
        let source = Sequence { end: None, splits: 2, rate: Some(10), clock };
        let splits = source.discover().unwrap();
        let mut reader = source.open(&splits[0], None).unwrap();
        let mut out = Vec::new();
        assert_eq!(reader.read(10, &mut out).unwrap(), Progress::WaitFor(Duration::from_millis(200)));
        assert_eq!(out, [0]);
        now.fetch_add(1_000_000, Ordering::Relaxed);
        let mut restored = source.open(&splits[0], Some(&reader.position())).unwrap();
        assert_eq!(restored.lag(), Some(5));
        assert_eq!(restored.read(3, &mut out).unwrap(), Progress::Ready);
        assert_eq!(restored.read(3, &mut out).unwrap(), Progress::WaitFor(Duration::from_millis(200)));
        assert_eq!(out, [0, 2, 4, 6, 8, 10]);
    }
}
