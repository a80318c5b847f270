//! The sink: writes down when there was output, how much, and how long there was none.
//!
//! One file per generation and subtask. A line is `time count number gap`: microseconds since the Unix epoch, records so far, the
//! last record's number, and the longest time without output since the line before, in microseconds. The first output
//! has a line at once, later ones at most every 10 ms, and the last one before the stream goes idle.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir::engine::batch::Batch;
use weir::{ConnectorError, Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_protocol::CheckpointId;

const BETWEEN_LINES: Duration = Duration::from_millis(10);

pub struct Probe(PathBuf);

impl Probe {
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }
}

impl Sink for Probe {
    type Item = u64;

    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = u64>>, ConnectorError> {
        let path = self.0.join(format!("{:06}-{}", ctx.generation, ctx.subtask));
        let failed = |error| ConnectorError::permanent(format!("cannot write {}", path.display())).caused_by(error);
        std::fs::create_dir_all(&self.0).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        Ok(Box::new(Writer { file, count: 0, last: 0, gap: Duration::ZERO, before: None, line: None, told: 0 }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

struct Writer {
    file: File,
    count: u64,
    last: u64,
    gap: Duration,
    before: Option<Instant>,
    line: Option<Instant>,
    told: u64,
}

impl Writer {
    fn write_line(&mut self) -> std::io::Result<()> {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        self.told = self.count;
        let line = format!("{time} {} {} {}\n", self.count, self.last, self.gap.as_micros());
        self.gap = Duration::ZERO;
        self.file.write_all(line.as_bytes())
    }
}

impl SinkWriter for Writer {
    type Item = u64;

    fn write(&mut self, batch: &mut Batch<u64>) -> Result<(), ConnectorError> {
        let Some(&last) = batch.records.last() else { return Ok(()) };
        let now = Instant::now();
        self.gap = self.gap.max(self.before.map_or(Duration::ZERO, |before| now - before));
        self.before = Some(now);
        self.count += batch.len() as u64;
        self.last = last;
        batch.clear();
        if self.line.is_none_or(|line| now - line >= BETWEEN_LINES) {
            self.line = Some(now);
            self.write_line().map_err(|error| ConnectorError::permanent("cannot write").caused_by(error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.told < self.count {
            self.write_line().map_err(|error| ConnectorError::permanent("cannot write").caused_by(error))?;
        }
        Ok(())
    }

    fn freeze(&mut self, _: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        Ok(None)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.write_line();
    }
}
