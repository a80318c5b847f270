//! Sinks that keep records in memory, for tests of jobs.
//!
//! [`Collect`] shows what was written, at once and with repetitions after a restore. [`CollectCommitted`] shows what was
//! committed, exactly once, and holds the engine to the contract of sinks: a commit of something that was never prepared,
//! or a restore that drops what a checkpoint names, fails.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use weir_engine::batch::Batch;
use weir_engine::record::Record;
use weir_engine::sink::{Handle, Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::ConnectorError;
use weir_protocol::CheckpointId;

/// Keeps all records that are written. Clones share them.
pub struct Collect<T>(Arc<Mutex<Vec<T>>>);

impl<T: Clone> Collect<T> {
    /// An empty collection.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// What was written so far, in the order of arrival over all subtasks.
    pub fn records(&self) -> Vec<T> {
        self.0.lock().clone()
    }
}

impl<T: Clone> Default for Collect<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Collect<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Record> Sink for Collect<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(self.clone()))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

impl<T: Record> SinkWriter for Collect<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        self.0.lock().append(&mut batch.records);
        batch.clear();
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}

/// Shows records when they are committed. Clones share them; they outlive the deployments of a job in one process.
pub struct CollectCommitted<T>(Arc<Mutex<Shelf<T>>>);

struct Shelf<T> {
    prepared: BTreeMap<Output, Vec<T>>,
    committed: BTreeMap<Output, Vec<T>>,
}

/// One subtask's epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Output {
    operator: String,
    epoch: u64,
    subtask: u32,
    generation: u64,
}

impl<T: Clone> CollectCommitted<T> {
    /// An empty collection.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Shelf { prepared: BTreeMap::new(), committed: BTreeMap::new() })))
    }

    /// What was committed so far, in the order of epochs, then of subtasks.
    pub fn records(&self) -> Vec<T> {
        self.0.lock().committed.values().flatten().cloned().collect()
    }

    /// Number of records that were prepared and neither committed nor aborted.
    pub fn pending(&self) -> usize {
        self.0.lock().prepared.values().map(Vec::len).sum()
    }
}

impl<T: Clone> Default for CollectCommitted<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for CollectCommitted<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Record> Sink for CollectCommitted<T> {
    type Item = T;

    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        Ok(Box::new(Collector { ctx: ctx.clone(), shelf: Arc::clone(&self.0), records: Vec::new() }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        Some(Box::new(self.clone()))
    }
}

struct Collector<T> {
    ctx: SinkContext,
    shelf: Arc<Mutex<Shelf<T>>>,
    records: Vec<T>,
}

impl<T: Record> SinkWriter for Collector<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        self.records.append(&mut batch.records);
        batch.clear();
        Ok(())
    }

    fn freeze(&mut self, epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        let records = std::mem::take(&mut self.records);
        if records.is_empty() {
            return Ok(None);
        }
        let SinkContext { operator, subtask, generation, .. } = &self.ctx;
        let output = Output { operator: operator.clone(), epoch: epoch.0, subtask: *subtask, generation: *generation };
        Ok(Some(Box::new(Frozen { output, shelf: Arc::clone(&self.shelf), records: Some(records) })))
    }
}

struct Frozen<T> {
    output: Output,
    shelf: Arc<Mutex<Shelf<T>>>,
    records: Option<Vec<T>>,
}

impl<T: Record> Prepare for Frozen<T> {
    fn prepare(&mut self) -> Result<Vec<Handle>, ConnectorError> {
        if let Some(records) = self.records.take() {
            self.shelf.lock().prepared.insert(self.output.clone(), records);
        }
        Ok(vec![serde_json::to_value(&self.output).expect("strings and integers are valid JSON")])
    }
}

fn parse(handle: &Handle) -> Result<Output, ConnectorError> {
    Output::deserialize(handle).map_err(|error| {
        ConnectorError::permanent(format!("handle {handle} is not one of a collecting sink")).caused_by(error)
    })
}

impl<T: Record> SinkCommitter for CollectCommitted<T> {
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError> {
        let output = parse(handle)?;
        let mut shelf = self.0.lock();
        if let Some(records) = shelf.prepared.remove(&output) {
            shelf.committed.insert(output, records);
            return Ok(());
        }
        match shelf.committed.contains_key(&output) {
            true => Ok(()),
            false => Err(ConnectorError::permanent(format!("{handle} was neither prepared nor committed"))),
        }
    }

    fn abort_except(&self, ctx: &SinkContext, keep: &[Handle]) -> Result<(), ConnectorError> {
        let keep: Vec<Output> = keep.iter().map(parse).collect::<Result<_, _>>()?;
        self.0.lock().prepared.retain(|output, _| {
            output.operator != ctx.operator || output.generation >= ctx.generation || keep.contains(output)
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_context;

    fn prepared(sink: &CollectCommitted<u32>, ctx: &SinkContext, epoch: u64, records: &[u32]) -> Handle {
        let mut writer = sink.open(ctx).unwrap();
        writer.write(&mut Batch::untimed(records.to_vec())).unwrap();
        let mut frozen = writer.freeze(CheckpointId(epoch)).unwrap().unwrap();
        frozen.prepare().unwrap();
        frozen.prepare().unwrap().remove(0)
    }

    #[test]
    fn written_records_are_shown_at_once() {
        let sink = Collect::new();
        sink.open(&test_context()).unwrap().write(&mut Batch::untimed(vec![1, 2])).unwrap();
        assert_eq!(sink.clone().records(), [1, 2]);
    }

    #[test]
    fn only_committed_records_are_shown_and_once() {
        let sink = CollectCommitted::new();
        let ctx = test_context();
        let later = SinkContext { generation: ctx.generation + 1, ..ctx.clone() };
        let first = prepared(&sink, &ctx, 1, &[1, 2]);
        let second = prepared(&sink, &ctx, 2, &[3]);
        prepared(&sink, &ctx, 3, &[4]);
        assert_eq!((sink.records(), sink.pending()), (vec![], 4));
        for _ in 0..2 {
            sink.commit(&first).unwrap();
            assert_eq!((sink.records(), sink.pending()), (vec![1, 2], 2));
        }
        sink.abort_except(&ctx, &[]).unwrap();
        assert_eq!(sink.pending(), 2, "a generation keeps its own");
        sink.abort_except(&later, &[first, second.clone()]).unwrap();
        assert_eq!(sink.pending(), 1);
        sink.commit(&second).unwrap();
        assert_eq!(sink.records(), [1, 2, 3]);
    }

    #[test]
    fn a_commit_of_what_was_aborted_fails() {
        let sink = CollectCommitted::new();
        let ctx = test_context();
        let handle = prepared(&sink, &ctx, 1, &[1]);
        sink.abort_except(&SinkContext { generation: ctx.generation + 1, ..ctx }, &[]).unwrap();
        assert!(sink.commit(&handle).unwrap_err().message.ends_with("was neither prepared nor committed"));
        assert!(sink.commit(&serde_json::json!(1)).is_err());
    }
}
