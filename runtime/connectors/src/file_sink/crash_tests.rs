//! A job of two subtasks that dies between any two steps, and again while it recovers: in the end every record is in
//! exactly one visible file. Files that no checkpoint names are torn at each death.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weir_engine::batch::Batch;
use weir_engine::sink::{Handle, Sink, SinkCommitter, SinkWriter};
use weir_protocol::CheckpointId;

use super::FileSink;
use super::tests::{context, hidden, visible};
use crate::compression::Compression;

const SUBTASKS: usize = 2;
const RECORDS: u64 = 40;
const RECORDS_PER_EPOCH: u64 = 12;
const RECORDS_PER_BATCH: u64 = 4;
/// The checkpoints whose ids leave no remainder here are aborted; their handles go with the next one.
const ABORTED: u64 = 3;

/// The process died.
#[derive(Debug)]
struct Death;

/// What survives a death besides the files.
#[derive(Debug, Default, Clone)]
struct Journal {
    /// Records of each subtask that the checkpoint covers.
    position: u64,
    handles: Vec<Handle>,
    generation: u64,
    /// Ids are not reused, also not those of aborted checkpoints.
    last_id: u64,
}

struct World {
    directory: TempDir,
    journal: Journal,
    compression: Compression,
    /// Steps until the process dies.
    left: usize,
    taken: usize,
}

impl World {
    fn new(compression: Compression) -> Self {
        // In memory where that is to be had: these tests end thousands of epochs, and it is not the disk that they test.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        Self { directory, journal: Journal::default(), compression, left: usize::MAX, taken: 0 }
    }

    fn target(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn sink(&self) -> FileSink<u64> {
        FileSink::json_lines(self.target()).compression(self.compression).buffer_bytes(10)
    }

    /// One step of the process; afterwards it may be dead.
    fn step<R>(&mut self, action: impl FnOnce(&mut Self) -> R) -> Result<R, Death> {
        if self.left == 0 {
            return Err(Death);
        }
        self.left -= 1;
        self.taken += 1;
        Ok(action(self))
    }

    fn run(&mut self) -> Result<(), Death> {
        let sink = self.sink();
        let committer = sink.committer().unwrap();
        let generation = self.step(|world| {
            world.journal.generation += 1;
            world.journal.generation
        })?;
        // In either order.
        if generation.is_multiple_of(2) {
            self.commit_all(&*committer)?;
        }
        let kept = self.journal.handles.clone();
        self.step(|_| committer.abort_except(&context(0, generation), &kept).unwrap())?;
        self.commit_all(&*committer)?;
        let mut writers: Vec<_> =
            (0..SUBTASKS).map(|subtask| sink.open(&context(subtask as u32, generation)).unwrap()).collect();

        let mut position = self.journal.position;
        let mut unpublished = Vec::new();
        while position < RECORDS {
            let end = RECORDS.min(position + RECORDS_PER_EPOCH);
            while position < end {
                let next = end.min(position + RECORDS_PER_BATCH);
                for (subtask, writer) in writers.iter_mut().enumerate() {
                    let records = (position..next).map(|number| number * 10 + subtask as u64).collect();
                    self.step(|_| writer.write(&mut Batch::untimed(records)).unwrap())?;
                }
                position = next;
            }
            self.checkpoint(position, &mut writers, &mut unpublished)?;
            self.commit_all(&*committer)?;
        }
        Ok(())
    }

    fn checkpoint(
        &mut self,
        position: u64,
        writers: &mut [Box<dyn SinkWriter<Item = u64>>],
        unpublished: &mut Vec<Handle>,
    ) -> Result<(), Death> {
        let id = self.step(|world| {
            world.journal.last_id += 1;
            world.journal.last_id
        })?;
        let mut frozen = Vec::new();
        for writer in writers {
            frozen.extend(self.step(|_| writer.freeze(CheckpointId(id)).unwrap())?);
        }
        for mut frozen in frozen {
            unpublished.extend(self.step(|_| frozen.prepare().unwrap())?);
        }
        if id.is_multiple_of(ABORTED) && position < RECORDS {
            return Ok(());
        }
        self.step(|world| {
            world.journal.position = position;
            world.journal.handles = std::mem::take(unpublished);
        })
    }

    fn commit_all(&mut self, committer: &dyn SinkCommitter) -> Result<(), Death> {
        for handle in self.journal.handles.clone() {
            self.step(|_| committer.commit(&handle).unwrap())?;
        }
        Ok(())
    }

    /// What a death leaves of files that no checkpoint names is arbitrary: here, half of them.
    fn tear(&self) {
        let target = self.target();
        if !target.exists() {
            return;
        }
        for name in hidden(&target) {
            if self.journal.handles.iter().all(|handle| handle["hidden"] != name.as_str()) {
                let file = OpenOptions::new().write(true).open(target.join(name)).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }
        }
    }

    fn assert_complete(&self, story: &str) {
        let mut records: Vec<u64> = Vec::new();
        for (name, lines) in visible(&self.target()) {
            let numbers: Vec<u64> = lines.iter().map(|line| line.parse().unwrap()).collect();
            assert!(numbers.is_sorted(), "{story}: {name} is in order");
            records.extend(numbers);
        }
        records.sort_unstable();
        let expected: Vec<u64> =
            (0..RECORDS).flat_map(|number| (0..SUBTASKS as u64).map(move |subtask| number * 10 + subtask)).collect();
        assert_eq!(records, expected, "{story}");
        assert_eq!(hidden(&self.target()), [""; 0], "{story}");
    }
}

/// Runs with deaths after these numbers of steps, then to the end.
fn check(compression: Compression, deaths: &[usize]) -> World {
    let mut world = World::new(compression);
    for &left in deaths {
        world.left = left;
        if world.run().is_ok() {
            break;
        }
        world.tear();
    }
    world.left = usize::MAX;
    world.taken = 0;
    world.run().unwrap();
    world.assert_complete(&format!("deaths after {deaths:?} steps"));
    world
}

#[test]
fn every_record_is_visible_once_after_a_death_between_any_two_steps() {
    let steps = check(Compression::None, &[]).taken;
    assert!(steps > 40, "{steps} steps");
    for left in 0..steps {
        check(Compression::None, &[left]);
    }
}

#[test]
fn every_record_is_visible_once_after_another_death_while_recovering() {
    let steps = check(Compression::Gzip, &[]).taken;
    for first in 0..steps {
        // The steps of a recovery that is not yet the undisturbed run again.
        for second in 0..8 {
            check(Compression::Gzip, &[first, second]);
        }
    }
}

#[test]
fn a_commit_before_the_journal_entry_would_be_noticed() {
    let mut world = World::new(Compression::None);
    let sink = world.sink();
    let mut writer = sink.open(&context(0, 1)).unwrap();
    writer.write(&mut Batch::untimed(vec![0, 10])).unwrap();
    let handles = writer.freeze(CheckpointId(1)).unwrap().unwrap().prepare().unwrap();
    sink.committer().unwrap().commit(&handles[0]).unwrap();
    world.journal.last_id = 1;
    world.run().unwrap();
    let noticed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.assert_complete("committed early")));
    assert!(noticed.is_err());
}
