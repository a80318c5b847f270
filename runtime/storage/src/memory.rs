//! An object store in memory, with faults on demand: for tests and the simulation.
//!
//! It keeps every promise of [`ObjectStore`] until a fault is asked for: by script (the next call of an operation), by seeded rates,
//! or by an outage. Time passes only through tokio's clock, so a paused runtime makes runs repeatable.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::{check_key, check_prefix};
use crate::random::unique_name;
use crate::store::{Created, Listed, ObjectStore, OpenUpload};

mod faults;

pub use faults::{Fault, FaultRates};
use faults::{Faults, Verdict};

/// An object store in memory. Clones share the objects.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    name: Arc<str>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    objects: BTreeMap<String, Bytes>,
    calls: BTreeMap<Operation, u64>,
    faults: Faults,
    /// Writes whose callers were told "timeout", with the number of calls until they happen.
    late: Vec<(u32, Write)>,
    ignores_condition: bool,
}

#[derive(Clone, Debug)]
enum Write {
    Put(String, Bytes),
    Create(String, Bytes),
    Delete(Vec<String>),
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self { name: "memory:".into(), inner: Arc::default() }
    }

    /// The next call of `operation` that has no scripted fault yet takes this one. Scripts go before rates.
    pub fn script(&self, operation: Operation, fault: Fault) {
        self.inner.lock().faults.script(operation, fault);
    }

    /// Draws faults for every later call from a stream that `seed` fixes.
    pub fn set_rates(&self, seed: u64, rates: FaultRates) {
        self.inner.lock().faults.set_rates(seed, rates);
    }

    /// Begins or ends an outage: every call fails as unreachable, and nothing happens.
    pub fn set_outage(&self, outage: bool) {
        self.inner.lock().faults.set_outage(outage);
    }

    /// Begins an outage that ends by itself, on tokio's clock.
    pub fn outage_for(&self, duration: Duration) {
        self.inner.lock().faults.outage_until(tokio::time::Instant::now() + duration);
    }

    /// Makes `create` a plain put that always reports `Done`, as stores do that do not know the condition.
    pub fn ignore_condition(&self) {
        self.inner.lock().ignores_condition = true;
    }

    /// How often an operation was called, refused keys not counted.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.inner.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    /// How many faults were injected so far; calls during an outage count.
    pub fn faults_injected(&self) -> u64 {
        self.inner.lock().faults.injected()
    }

    /// A copy of everything stored.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.inner.lock().objects.clone()
    }

    /// Replaces or adds an object without a call, to damage what is stored.
    pub fn overwrite(&self, key: &str, body: impl Into<Bytes>) {
        self.inner.lock().objects.insert(key.to_owned(), body.into());
    }

    /// Counts the call, lets late writes happen, and decides the call's fate; waits if that is the fate.
    async fn begin(&self, operation: Operation) -> Verdict {
        let (delay, verdict) = {
            let mut inner = self.inner.lock();
            *inner.calls.entry(operation).or_default() += 1;
            inner.land_late_writes();
            inner.faults.decide(operation)
        };
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        verdict
    }

    async fn write(&self, operation: Operation, key: &str, write: Write) -> Result<Created, StoreError> {
        match self.begin(operation).await {
            Verdict::Go | Verdict::Short => Ok(self.inner.lock().apply(&write)),
            Verdict::FailBefore(kind) => Err(self.error(operation, key, kind, faults::ambiguous(kind))),
            Verdict::FailAfter(kind) => {
                self.inner.lock().apply(&write);
                Err(self.error(operation, key, kind, true))
            }
            Verdict::LandLater(calls) => {
                self.inner.lock().late.push((calls, write));
                Err(self.error(operation, key, StoreErrorKind::Timeout, true))
            }
        }
    }

    /// The object as the fate of the call lets it be seen.
    async fn read(&self, operation: Operation, key: &str) -> Result<Option<Bytes>, StoreError> {
        let verdict = self.begin(operation).await;
        let found = self.inner.lock().objects.get(key).cloned();
        match verdict {
            Verdict::Go => Ok(found),
            Verdict::Short => Ok(found.map(|body| body.slice(..body.len() / 2))),
            Verdict::FailBefore(kind) | Verdict::FailAfter(kind) => Err(self.error(operation, key, kind, false)),
            Verdict::LandLater(_) => Err(self.error(operation, key, StoreErrorKind::Timeout, false)),
        }
    }

    fn error(&self, operation: Operation, key: &str, kind: StoreErrorKind, maybe_done: bool) -> StoreError {
        let error = StoreError::new(operation, key, self.name.clone(), kind, format!("injected fault ({kind:?})"));
        if maybe_done { error.maybe_done() } else { error }
    }

    fn absent(&self, operation: Operation, key: &str) -> StoreError {
        StoreError::new(operation, key, self.name.clone(), StoreErrorKind::NotFound, "no such object")
    }

    fn file_error(&self, operation: Operation, key: &str, what: &str, error: std::io::Error) -> StoreError {
        StoreError::new(operation, key, self.name.clone(), StoreErrorKind::Invalid, what).with_source(error)
    }
}

impl Inner {
    fn apply(&mut self, write: &Write) -> Created {
        match write {
            Write::Create(key, _) if self.objects.contains_key(key) && !self.ignores_condition => {
                return Created::Exists;
            }
            Write::Create(key, body) | Write::Put(key, body) => {
                self.objects.insert(key.clone(), body.clone());
            }
            Write::Delete(keys) => {
                for key in keys {
                    self.objects.remove(key);
                }
            }
        }
        Created::Done
    }

    fn land_late_writes(&mut self) {
        let (due, waiting) =
            std::mem::take(&mut self.late).into_iter().partition::<Vec<_>, _>(|(calls, _)| *calls <= 1);
        self.late = waiting.into_iter().map(|(calls, write)| (calls - 1, write)).collect();
        for (_, write) in due {
            self.apply(&write);
        }
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        check_key(Operation::Put, key, &self.name)?;
        self.write(Operation::Put, key, Write::Put(key.to_owned(), body)).await.map(drop)
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        check_key(Operation::PutFile, key, &self.name)?;
        let body = std::fs::read(file)
            .map_err(|error| self.file_error(Operation::PutFile, key, "cannot read the local file", error))?;
        self.write(Operation::PutFile, key, Write::Put(key.to_owned(), body.into())).await.map(drop)
    }

    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        check_key(Operation::Create, key, &self.name)?;
        self.write(Operation::Create, key, Write::Create(key.to_owned(), body)).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        check_key(Operation::Get, key, &self.name)?;
        self.read(Operation::Get, key).await?.ok_or_else(|| self.absent(Operation::Get, key))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_key(Operation::GetRange, key, &self.name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let body = self.read(Operation::GetRange, key).await?.ok_or_else(|| self.absent(Operation::GetRange, key))?;
        if range.end > body.len() as u64 {
            let what = format!(
                "the object has {} bytes and ends before the range {}..{} does",
                body.len(),
                range.start,
                range.end
            );
            return Err(StoreError::new(Operation::GetRange, key, self.name.clone(), StoreErrorKind::Corrupt, what));
        }
        Ok(body.slice(range.start as usize..range.end as usize))
    }

    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError> {
        check_key(Operation::GetFile, key, &self.name)?;
        let body = self.read(Operation::GetFile, key).await?.ok_or_else(|| self.absent(Operation::GetFile, key))?;
        let mut name = to.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", unique_name()));
        let part = to.with_file_name(name);
        std::fs::write(&part, &body)
            .and_then(|()| std::fs::rename(&part, to))
            .map_err(|error| self.file_error(Operation::GetFile, key, "cannot write the local file", error))?;
        Ok(body.len() as u64)
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        check_key(Operation::Head, key, &self.name)?;
        match self.begin(Operation::Head).await {
            Verdict::Go | Verdict::Short => Ok(self.inner.lock().objects.get(key).map(|body| body.len() as u64)),
            Verdict::FailBefore(kind) | Verdict::FailAfter(kind) => Err(self.error(Operation::Head, key, kind, false)),
            Verdict::LandLater(_) => Err(self.error(Operation::Head, key, StoreErrorKind::Timeout, false)),
        }
    }

    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError> {
        check_prefix(Operation::List, prefix, &self.name)?;
        match self.begin(Operation::List).await {
            Verdict::Go | Verdict::Short => {}
            Verdict::FailBefore(kind) | Verdict::FailAfter(kind) => {
                return Err(self.error(Operation::List, prefix, kind, false));
            }
            Verdict::LandLater(_) => return Err(self.error(Operation::List, prefix, StoreErrorKind::Timeout, false)),
        }
        let inner = self.inner.lock();
        let matching = inner.objects.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(matching
            .take(limit.unwrap_or(usize::MAX))
            .map(|(key, body)| Listed { key: key.clone(), length: body.len() as u64 })
            .collect())
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            check_key(Operation::Delete, key, &self.name)?;
        }
        let Some(first) = keys.first() else { return Ok(()) };
        self.write(Operation::Delete, first, Write::Delete(keys.to_vec())).await.map(drop)
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        check_prefix(Operation::OpenUploads, prefix, &self.name)?;
        Ok(Vec::new())
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        check_prefix(Operation::AbortUploads, prefix, &self.name)?;
        Ok(0)
    }

    fn describe(&self) -> String {
        self.name.to_string()
    }
}

#[cfg(test)]
mod tests;
