//! A sink that counts records and drops them, for measurements.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_engine::batch::Batch;
use weir_engine::record::Record;
use weir_engine::sink::{Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::ConnectorError;
use weir_protocol::CheckpointId;

/// Drops what it gets.
pub struct Blackhole<T> {
    records: Arc<AtomicU64>,
    item: PhantomData<fn(T)>,
}

impl<T> Blackhole<T> {
    /// A sink that has seen nothing yet.
    pub fn new() -> Self {
        Self { records: Arc::default(), item: PhantomData }
    }

    /// Records dropped by all subtasks since the sink was made, replayed ones counted again; may be watched.
    pub fn records(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.records)
    }
}

impl<T> Default for Blackhole<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Record> Sink for Blackhole<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(Self { records: Arc::clone(&self.records), item: PhantomData }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

impl<T: Record> SinkWriter for Blackhole<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        self.records.fetch_add(batch.len() as u64, Ordering::Relaxed);
        batch.clear();
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context;

    #[test]
    fn records_are_counted_over_all_writers() {
        let sink = Blackhole::new();
        let records = sink.records();
        for _ in 0..2 {
            let mut writer = sink.open(&test_context()).unwrap();
            let mut batch = Batch::untimed(vec![1, 2, 3]);
            writer.write(&mut batch).unwrap();
            assert!(batch.is_empty() && writer.freeze(CheckpointId(1)).unwrap().is_none());
        }
        assert_eq!(records.load(Ordering::Relaxed), 6);
    }
}
