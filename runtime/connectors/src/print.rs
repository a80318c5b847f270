//! Records as lines on standard output, for looking at a job while it runs.
//!
//! Lines leave in whole, when the stream goes idle, at every barrier, or when `BUFFER_BYTES` have gathered. After a
//! restore records that were shown before are shown again: what a terminal has shown cannot be taken back.

use std::io::{ErrorKind, Write};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::Serialize;
use weir_engine::batch::Batch;
use weir_engine::record::Record;
use weir_engine::sink::{Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_engine::source::ConnectorError;
use weir_protocol::CheckpointId;

use crate::format::{Encode, JsonLines};
use crate::io_errors::may_pass;
use crate::lines_out::{LineEncoder, Lines};

/// Bytes that a subtask holds before it prints them unasked.
const BUFFER_BYTES: usize = 64 * 1024;
/// Records that are encoded between two looks at the buffer.
const CHUNK_RECORDS: usize = 256;

/// Stands for standard output where a program also draws on the terminal.
static INSTEAD: OnceLock<Arc<Mutex<dyn Write + Send>>> = OnceLock::new();

/// Sends what all sinks of this process print to standard output here instead, for programs that also draw on the terminal. Only
/// the first call has an effect.
pub fn instead_of_stdout(output: Arc<Mutex<dyn Write + Send>>) {
    let _ = INSTEAD.set(output);
}

/// A sink that prints.
pub struct Print<T> {
    lines: Arc<dyn Lines<T>>,
    output: Output,
}

/// Where lines go; written to by all subtasks, one at a time.
#[derive(Clone)]
enum Output {
    Stdout,
    Shared(Arc<Mutex<dyn Write + Send>>),
}

impl Output {
    fn write_all(&self, lines: &[u8]) -> std::io::Result<()> {
        fn write_all(mut output: impl Write, lines: &[u8]) -> std::io::Result<()> {
            output.write_all(lines)?;
            output.flush()
        }
        match self {
            Self::Stdout => match INSTEAD.get() {
                Some(output) => write_all(&mut *output.lock(), lines),
                None => write_all(std::io::stdout().lock(), lines),
            },
            Self::Shared(output) => write_all(&mut *output.lock(), lines),
        }
    }
}

impl<T: Record> Print<T> {
    /// Prints records as JSON Lines.
    pub fn new() -> Self
    where
        T: Serialize,
    {
        Self::with_format(JsonLines::new())
    }

    /// Prints records in this format.
    pub fn with_format(format: impl Encode<T>) -> Self {
        Self { lines: Arc::new(format), output: Output::Stdout }
    }

    /// Prints to something else than standard output.
    #[must_use]
    pub fn to(mut self, output: Arc<Mutex<dyn Write + Send>>) -> Self {
        self.output = Output::Shared(output);
        self
    }
}

impl<T: Record> Default for Print<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Record> Sink for Print<T> {
    type Item = T;

    fn open(&self, _ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = T>>, ConnectorError> {
        let (encoder, output) = (self.lines.encoder(), self.output.clone());
        Ok(Box::new(Printer { encoder, output, first: true, buffer: Vec::new() }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        None
    }
}

struct Printer<T> {
    encoder: Box<dyn LineEncoder<T>>,
    output: Output,
    first: bool,
    /// Whole lines.
    buffer: Vec<u8>,
}

impl<T> Printer<T> {
    fn print(&mut self) -> Result<(), ConnectorError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let printed = self.output.write_all(&self.buffer);
        // Also after an error: part of it may have been printed, and no line is to be torn by a second try.
        self.buffer.clear();
        printed.map_err(|error| {
            let message = match error.kind() {
                ErrorKind::BrokenPipe => "cannot print: nobody reads the standard output any more",
                _ => "cannot print to the standard output",
            };
            let failure =
                if may_pass(&error) { ConnectorError::transient(message) } else { ConnectorError::permanent(message) };
            failure.caused_by(error)
        })
    }
}

impl<T: Record> SinkWriter for Printer<T> {
    type Item = T;

    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), ConnectorError> {
        for records in batch.records.chunks(CHUNK_RECORDS) {
            let before = self.buffer.len();
            let encoded = self.encoder.encode(records, self.first, &mut self.buffer);
            encoded.map_err(|error| {
                self.buffer.truncate(before);
                ConnectorError::permanent(format!("cannot print a record as {}: {error}", self.encoder.extension()))
            })?;
            self.first = false;
            if self.buffer.len() >= BUFFER_BYTES {
                self.print()?;
            }
        }
        batch.clear();
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        self.print()?;
        Ok(None)
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        self.print()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::test_context;

    /// Remembers each write on its own.
    #[derive(Default)]
    struct Writes(Vec<String>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_leave_in_whole_when_asked_at_a_barrier_or_when_many() {
        let writes = Arc::new(Mutex::new(Writes::default()));
        let sink = Print::<(u32, String)>::new().to(writes.clone());
        assert!(sink.committer().is_none());
        let mut writer = sink.open(&test_context()).unwrap();
        writer.write(&mut Batch::untimed(vec![(1, "a".into()), (2, "b\n".into())])).unwrap();
        assert!(writes.lock().0.is_empty());
        writer.flush().unwrap();
        writer.flush().unwrap();
        writer.write(&mut Batch::untimed(vec![(3, "c".into())])).unwrap();
        assert!(writer.freeze(CheckpointId(1)).unwrap().is_none());
        assert_eq!(writes.lock().0, ["[1,\"a\"]\n[2,\"b\\n\"]\n", "[3,\"c\"]\n"]);
        writes.lock().0.clear();
        writer.write(&mut Batch::untimed((0..20_000).map(|id| (id, "x".repeat(10))).collect())).unwrap();
        writer.flush().unwrap();
        let writes = &writes.lock().0;
        assert!(writes.len() > 3 && writes.iter().all(|write| write.ends_with("]\n")));
        assert_eq!(writes.concat().lines().count(), 20_000);
    }

    #[test]
    fn a_closed_output_stops_the_job() {
        let sink = Print::<u32>::new().to(Arc::new(Mutex::new(Closed)));
        let mut writer = sink.open(&test_context()).unwrap();
        writer.write(&mut Batch::untimed(vec![1])).unwrap();
        let error = writer.flush().unwrap_err();
        assert_eq!(error.message, "cannot print: nobody reads the standard output any more");
        assert!(!error.transient);
    }
}
