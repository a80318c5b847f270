//! A source slowed down, so that kills land in the middle of its input.

use std::time::Duration;

use weir::engine::source::{ConnectorError, Position, Progress, Source, SplitId, SplitReader};

/// Delivers at most so many records of a split before the split pauses.
pub struct Paced<S> {
    source: S,
    rows: usize,
    pause: Option<Duration>,
}

impl<S> Paced<S> {
    /// Slows `source` down, if there is a pause.
    pub fn new(source: S, rows: usize, pause: Option<Duration>) -> Self {
        Self { source, rows, pause }
    }
}

struct PacedReader<T> {
    reader: Box<dyn SplitReader<Item = T>>,
    rows: usize,
    pause: Duration,
}

impl<S: Source> Source for Paced<S> {
    type Item = S::Item;

    fn discover(&self) -> Result<Vec<SplitId>, ConnectorError> {
        self.source.discover()
    }

    fn open(
        &self,
        split: &SplitId,
        position: Option<&Position>,
    ) -> Result<Box<dyn SplitReader<Item = S::Item>>, ConnectorError> {
        let reader = self.source.open(split, position)?;
        match self.pause {
            Some(pause) => Ok(Box::new(PacedReader { reader, rows: self.rows, pause })),
            None => Ok(reader),
        }
    }

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    fn discovery_interval(&self) -> Option<Duration> {
        self.source.discovery_interval()
    }
}

impl<T> SplitReader for PacedReader<T> {
    type Item = T;

    fn read(&mut self, max: usize, out: &mut Vec<T>) -> Result<Progress, ConnectorError> {
        match self.reader.read(max.min(self.rows), out)? {
            Progress::Ready => Ok(Progress::WaitFor(self.pause)),
            other => Ok(other),
        }
    }

    fn position(&self) -> Position {
        self.reader.position()
    }

    fn lag(&self) -> Option<u64> {
        self.reader.lag()
    }
}
