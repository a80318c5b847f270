//! One record for each record.

use crate::batch::Batch;
use crate::error::{TaskError, UserError};
use crate::operator::{Collector, OneInput, Operator};
use crate::operators::dead_letter;
use crate::record::Record;

/// Applies a function that cannot fail.
pub struct Map<F, U> {
    f: F,
    marker: std::marker::PhantomData<fn() -> U>,
}

impl<F, U> Map<F, U> {
    /// An instance.
    pub fn new(f: F) -> Self {
        Self { f, marker: std::marker::PhantomData }
    }
}

impl<F: Send + 'static, U: Record> Operator for Map<F, U> {
    type Out = U;
}

impl<T: Record, U: Record, F: Fn(T) -> U + Send + 'static> OneInput<T> for Map<F, U> {
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        let buffer = out.buffer();
        buffer.records.extend(batch.records.drain(..).map(&self.f));
        buffer.times.append(&mut batch.times);
        out.check()
    }
}

/// Applies a function that may refuse a record.
pub struct TryMap<F, U, E> {
    f: F,
    marker: std::marker::PhantomData<fn() -> (U, E)>,
}

impl<F, U, E> TryMap<F, U, E> {
    /// An instance.
    pub fn new(f: F) -> Self {
        Self { f, marker: std::marker::PhantomData }
    }
}

impl<F: Send + 'static, U: Record, E: 'static> Operator for TryMap<F, U, E> {
    type Out = U;
}

impl<T: Record, U: Record, E: Into<UserError> + 'static, F: Fn(&T) -> Result<U, E> + Send + 'static> OneInput<T>
    for TryMap<F, U, E>
{
    fn process(&mut self, batch: &mut Batch<T>, out: &mut Collector<'_, U>) -> Result<(), TaskError> {
        for (index, record) in batch.records.iter().enumerate() {
            match (self.f)(record) {
                Ok(mapped) => out.emit(mapped, batch.time(index))?,
                Err(error) => dead_letter::refuse(out, error.into(), record, batch.time(index))?,
            }
        }
        Ok(())
    }
}
