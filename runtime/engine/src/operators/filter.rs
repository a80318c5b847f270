//! The records for which a predicate holds.

use crate::batch::Batch;
use crate::error::TaskError;
use crate::operator::{Collector, OneInput, Operator};
use crate::record::Record;

/// Drops records in place and hands the batch on.
pub struct Filter<F, T> {
    f: F,
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<F, T> Filter<F, T> {
    /// An instance.
    pub fn new(f: F) -> Self {
        Self { f, marker: std::marker::PhantomData }
    }
}

impl<F: Send + 'static, T: Record> Operator for Filter<F, T> {
    type Out = T;
}

impl<T: Record, F: Fn(&T) -> bool + Send + 'static> OneInput<T> for Filter<F, T> {
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, T>) -> Result<(), TaskError> {
        let Batch { records, times } = batch;
        if times.is_empty() {
            records.retain(&self.f);
        } else {
            let (mut read, mut kept) = (0, 0);
            records.retain(|record| {
                let keep = (self.f)(record);
                if keep {
                    times[kept] = times[read];
                    kept += 1;
                }
                read += 1;
                keep
            });
            times.truncate(kept);
        }
        out.forward(batch)
    }
}
