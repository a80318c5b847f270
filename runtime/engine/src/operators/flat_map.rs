//! Any number of records for each record.

use crate::batch::Batch;
use crate::error::TaskError;
use crate::operator::{Collector, OneInput, Operator};
use crate::record::Record;

/// Applies a function that emits through its second argument.
pub struct FlatMap<F, U> {
    f: F,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<F, U> FlatMap<F, U> {
    /// An instance.
    pub fn new(f: F) -> Self {
        Self { f, marker: std::marker::PhantomData }
    }
}

impl<F: Send + 'static, U: Record> Operator for FlatMap<F, U> {
    type Out = U;
}

impl<T: Record, U: Record, F: Fn(T, &mut dyn FnMut(U)) + Send + 'static> OneInput<T> for FlatMap<F, U> {
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let Batch { records, times } = batch;
        for (index, record) in records.drain(..).enumerate() {
            let time = times.get(index).copied();
            let buffer = out.buffer();
            (self.f)(record, &mut |emitted| buffer.push(emitted, time));
            out.check()?;
        }
        Ok(())
    }
}
