//! The builder: one thread that turns sealed layers into runs, in the order they were sealed.
//!
//! Subtasks hand over what they seal in a message, so that none of them ever waits for the ledger, and it is the builder that enters it
//! there: a run gets its number from the thread that builds it next, and nobody can come in between.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rocksdb::Options;
use weir_protocol::CheckpointId;

use crate::backend::SealedSubtask;
use crate::error::StateError;
use crate::layers::SealedPart;
use crate::rocks::file_options;
use crate::run_buffer::RunBuffer;
use crate::sst::{RunWriter, WrittenFile};
use crate::store::encoded::Encoded;
use crate::store::keep::KeeperMessage;
use crate::store::ledger::BuildJob;
use crate::store::{Indispensable, Inner, upload};

/// Pause after a failed attempt to write a run, doubled up to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

pub(super) enum BuilderMessage {
    /// What a subtask sealed at the barrier of an epoch.
    Submit(CheckpointId, SealedSubtask),
    /// What a subtask spilled before its barrier.
    SubmitEarly(SealedSubtask),
    /// An epoch will not become a checkpoint.
    Abort(CheckpointId),
    Stop,
}

pub(super) fn start(inner: Arc<Inner>, messages: Receiver<BuilderMessage>) -> Result<JoinHandle<()>, StateError> {
    let run = move || {
        let _guard = Indispensable(Arc::clone(&inner));
        let options = file_options(&inner.config.tuning);
        while let Ok(message) = messages.recv() {
            if inner.is_stopping() {
                return;
            }
            let jobs = match message {
                BuilderMessage::Submit(epoch, sealed) => inner.ledger.lock().submit(epoch, sealed),
                BuilderMessage::SubmitEarly(sealed) => inner.ledger.lock().submit_early(sealed),
                BuilderMessage::Abort(epoch) => inner.ledger.lock().abort(epoch),
                BuilderMessage::Stop => return,
            };
            inner.finish_epochs();
            jobs.into_iter().for_each(|job| build(&inner, &options, job));
        }
    };
    let thread = std::thread::Builder::new().name("weir-state-build".into());
    thread.spawn(run).map_err(|source| StateError::local("start thread weir-state-build in", "", source))
}

fn build(inner: &Arc<Inner>, options: &Options, job: BuildJob) {
    let started = Instant::now();
    let BuildJob { sequence, parts } = job;
    let buffer = match encode(inner, sequence, parts) {
        Ok(buffer) => Encoded::new(buffer, &inner.shared),
        Err(error) => {
            // The changes cannot be written, now or later: no later checkpoint would be complete.
            tracing::error!(error = &error as &dyn std::error::Error, "state cannot be encoded");
            inner.ledger.lock().fail(error);
            return inner.finish_epochs();
        }
    };
    let Some(files) = write_until_done(inner, options, sequence, buffer.buffer()) else { return };
    let growth = buffer.buffer().growth();
    let locals = files.iter().map(|file| file.local.clone()).collect();
    let files = inner.ledger.lock().built(sequence, files, growth, started.elapsed());
    for file in files {
        upload::start(inner, file.run.object.key, file.local);
    }
    let buffer = inner.shared.ingesting.load(Ordering::Acquire).then_some(buffer);
    let _ = inner.keeper.send(KeeperMessage::Built { sequence, files: locals, buffer });
    inner.finish_epochs();
}

/// Encodes all layers and lets go of them, so that their owners can hand them over.
fn encode(inner: &Inner, sequence: u64, parts: Vec<SealedPart>) -> Result<RunBuffer, StateError> {
    let mut buffer = RunBuffer::new(inner.config.max_parallelism);
    for SealedPart { layer, status } in parts {
        layer.encode(&mut buffer)?;
        drop(layer);
        status.set_sequence(sequence);
    }
    buffer.sort();
    Ok(buffer)
}

/// Writes the run; a full or read-only disk is waited for. `None` if the store stops.
fn write_until_done(inner: &Inner, options: &Options, sequence: u64, buffer: &RunBuffer) -> Option<Vec<WrittenFile>> {
    let mut pause = RETRY_FIRST;
    loop {
        match write(inner, options, sequence, buffer) {
            Ok(files) => return Some(files),
            Err(error) => {
                inner.build_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(sequence, error = &error as &dyn std::error::Error, "run not written, trying again");
            }
        }
        inner.pause(pause);
        if inner.is_stopping() {
            return None;
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

fn write(inner: &Inner, options: &Options, sequence: u64, buffer: &RunBuffer) -> Result<Vec<WrittenFile>, StateError> {
    let mut names = inner.file_names.run(sequence);
    let mut writer = RunWriter::new(options, inner.config.max_file_bytes, || names.next_name());
    buffer.emit(|key, value| {
        if writer.is_full() {
            writer.cut()?;
        }
        writer.put(key, value)
    })?;
    writer.finish()
}
