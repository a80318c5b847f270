//! The unit of work: a batch of records with their event times.

/// Records in stream order, with one event time (milliseconds since the Unix epoch) each, or none at all for streams
/// without event time. `times` is either empty or exactly as long as `records`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T> {
    /// The records.
    pub records: Vec<T>,
    /// Event time of each record in milliseconds; empty when the stream has no event time.
    pub times: Vec<i64>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { records: Vec::new(), times: Vec::new() }
    }
}

impl<T> Batch<T> {
    /// A batch without event times.
    pub fn untimed(records: Vec<T>) -> Self {
        Self { records, times: Vec::new() }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Event time of record `index`, if the stream has event time.
    pub fn time(&self, index: usize) -> Option<i64> {
        self.times.get(index).copied()
    }

    /// Appends a record; `time` must be given for all records of a batch or for none.
    pub fn push(&mut self, record: T, time: Option<i64>) {
        self.records.push(record);
        if let Some(time) = time {
            self.times.push(time);
        }
        debug_assert!(self.times.is_empty() || self.times.len() == self.records.len());
    }

    /// Removes all records and keeps the allocations.
    pub fn clear(&mut self) {
        self.records.clear();
        self.times.clear();
    }
}
