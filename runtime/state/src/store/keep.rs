//! The keeper: one thread that ingests runs into RocksDB and disposes of what is no longer needed.
//!
//! While everything fits in memory nothing is ingested: RocksDB does not even exist. The first backend that wants to evict makes the
//! keeper ingest the whole chain from its local files; from then on runs are ingested as they are built, small ones
//! together, so that the database sees few files, as long as their layers do not take up memory that is needed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::StateError;
use crate::past::Past;
use crate::rocks::{Purpose, Rocks, file_options};
use crate::sst::RunWriter;
use crate::store::encoded::Encoded;
use crate::store::restore::Directory;
use crate::store::{Indispensable, Inner};

/// Collected bytes at which they are ingested, at most; of the memory for builders they may take half.
const COLLECT_BYTES: usize = 32 << 20;
/// Runs of fewer bytes than this part of those are collected before they are ingested.
const SMALL_RUN_DIVISOR: usize = 4;
/// Collected runs at which they are ingested: their layers wait, sealed, and every miss looks through them.
const COLLECT_RUNS: usize = 4;
/// Longest time that collected runs wait when nothing else happens.
const COLLECT_TIME: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(500);

pub(super) enum KeeperMessage {
    /// A run was written. Its changes come along if they may be ingested together with others.
    Built {
        sequence: u64,
        files: Vec<PathBuf>,
        buffer: Option<Encoded>,
    },
    /// Values want to leave memory.
    BeginIngest,
    /// Local files that nothing needs any more.
    Delete(Vec<PathBuf>),
    /// Something large to be dropped here.
    Discard(#[expect(dead_code, reason = "it is only dropped")] Box<dyn Send>),
    Stop,
}

struct Keeper {
    inner: Arc<Inner>,
    directory: Directory,
    /// Small runs that wait to be ingested together, and the number of the newest.
    collected: Option<Encoded>,
    runs: usize,
    newest: u64,
    /// Number of the run that was told of last; numbers ascend.
    told: u64,
    /// Runs up to this number were ingested when ingesting began.
    begun_with: u64,
}

pub(super) fn start(
    inner: Arc<Inner>,
    messages: Receiver<KeeperMessage>,
    directory: Directory,
) -> Result<JoinHandle<()>, StateError> {
    let thread = std::thread::Builder::new().name("weir-state-keep".into());
    let mut keeper = Keeper { inner, directory, collected: None, runs: 0, newest: 0, told: 0, begun_with: 0 };
    let run = move || {
        let _guard = Indispensable(Arc::clone(&keeper.inner));
        keeper.run(&messages);
    };
    thread.spawn(run).map_err(|source| StateError::local("start thread weir-state-keep in", "", source))
}

impl Keeper {
    fn run(&mut self, messages: &Receiver<KeeperMessage>) {
        loop {
            let message = match messages.recv_timeout(COLLECT_TIME) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    self.persist(Self::flush);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match message {
                KeeperMessage::Built { sequence, files, buffer } => {
                    assert!(sequence > self.told, "run {sequence} comes after run {}", self.told);
                    self.told = sequence;
                    if self.inner.shared.ingesting.load(Ordering::Acquire) {
                        self.take(sequence, files, buffer);
                    }
                }
                KeeperMessage::BeginIngest => self.persist(Self::begin_ingest),
                KeeperMessage::Delete(files) => files.iter().for_each(|file| delete(file)),
                KeeperMessage::Discard(_) => {}
                KeeperMessage::Stop => return,
            }
        }
    }

    /// Repeats `step` until it succeeds or the store stops: a full disk is waited for. Damage is not: the job has to begin anew.
    fn persist(&mut self, step: impl Fn(&mut Self) -> Result<(), StateError>) {
        while let Err(error) = step(self) {
            if error.is_damage() {
                tracing::error!(error = &error as &dyn std::error::Error, "state is damaged");
                self.inner.ledger.lock().fail(error);
                return self.inner.finish_epochs();
            }
            tracing::warn!(error = &error as &dyn std::error::Error, "runs not ingested, trying again");
            self.inner.pause(RETRY);
            if self.inner.is_stopping() {
                return;
            }
        }
    }

    fn begin_ingest(&mut self) -> Result<(), StateError> {
        let shared = Arc::clone(&self.inner.shared);
        if shared.ingesting.load(Ordering::Acquire) {
            return Ok(());
        }
        let (files, upto) = self.inner.ledger.lock().everything_built();
        let purpose = Purpose::Serve(Arc::clone(&shared.clock));
        let rocks = Arc::new(Rocks::create(
            self.directory.database(),
            self.directory.suspicion(),
            &self.inner.config.tuning,
            purpose,
        )?);
        rocks.ingest(&files, &self.directory.links())?;
        let _ = self.inner.rocks.set(Arc::clone(&rocks));
        shared.set_past(rocks as Arc<dyn Past>);
        self.newest = upto;
        self.begun_with = upto;
        shared.ingested.store(upto, Ordering::Release);
        shared.ingesting.store(true, Ordering::Release);
        tracing::info!(files = files.len(), "state outgrows memory, ingesting runs from now on");
        Ok(())
    }

    fn take(&mut self, sequence: u64, files: Vec<PathBuf>, buffer: Option<Encoded>) {
        // Built before ingesting began, told of after.
        if sequence <= self.begun_with {
            return;
        }
        let collect = COLLECT_BYTES.min(self.inner.shared.budget.builders / 2);
        match buffer.filter(|buffer| buffer.bytes() < collect / SMALL_RUN_DIVISOR) {
            Some(buffer) => {
                match &mut self.collected {
                    Some(collected) => collected.absorb(buffer),
                    None => self.collected = Some(buffer),
                }
                self.runs += 1;
                self.newest = sequence;
                let full = self.collected.as_ref().is_some_and(|collected| collected.bytes() >= collect);
                // Layers that wait take room that new changes need; they may only do so while there is plenty.
                let shared = &self.inner.shared;
                let tight = shared.write_bytes.load(Ordering::Relaxed) > shared.write_budget() / 4;
                if full || tight || self.runs >= COLLECT_RUNS {
                    self.persist(Self::flush);
                }
            }
            None => {
                self.persist(Self::flush);
                self.persist(|keeper| keeper.ingest(&files, sequence));
            }
        }
    }

    fn flush(&mut self) -> Result<(), StateError> {
        let Some(collected) = &mut self.collected else { return Ok(()) };
        collected.sort();
        let options = file_options(&self.inner.config.tuning);
        let scratch = self.directory.links().join("collected.sst");
        std::fs::create_dir_all(self.directory.links())
            .map_err(|source| StateError::local("create directory", self.directory.links(), source))?;
        let mut writer = RunWriter::new(&options, u64::MAX, || (String::new(), scratch.clone()));
        collected.buffer().emit(|key, value| writer.put(key, value))?;
        let files: Vec<_> = writer.finish()?.into_iter().map(|file| file.local).collect();
        self.ingest(&files, self.newest)?;
        files.iter().for_each(|file| delete(file));
        self.collected = None;
        self.runs = 0;
        Ok(())
    }

    fn ingest(&self, files: &[PathBuf], sequence: u64) -> Result<(), StateError> {
        let ingested = self.inner.shared.ingested.load(Ordering::Acquire);
        assert!(sequence > ingested, "run {sequence} is ingested after run {ingested}");
        if let Some(rocks) = self.inner.rocks.get() {
            rocks.ingest(files, &self.directory.links())?;
        }
        self.inner.shared.ingested.store(sequence, Ordering::Release);
        Ok(())
    }
}

fn delete(file: &std::path::Path) {
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(file = %file.display(), error = &error as &dyn std::error::Error, "local file not removed");
    }
}
