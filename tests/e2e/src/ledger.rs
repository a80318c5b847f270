//! A transactional sink into the ledger of the tests, over plain HTTP.
//!
//! *Prepare* stores an epoch's lines there under a name of their own, where they do not count; *commit* makes them count.
//! Both may be repeated. The ledger survives every pod, so what it holds is what somebody outside has been told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use weir::engine::batch::Batch;
use weir::{ConnectorError, Handle, Prepare, Sink, SinkCommitter, SinkContext, SinkWriter};
use weir_protocol::CheckpointId;

use crate::Entry;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Writes entries into a book of the ledger.
pub struct LedgerSink {
    ledger: Ledger,
}

impl LedgerSink {
    /// `address` is host:port.
    pub fn new(address: String, book: String) -> Self {
        Self { ledger: Ledger { address, book } }
    }
}

#[derive(Clone)]
struct Ledger {
    address: String,
    book: String,
}

impl Ledger {
    fn post(&self, action: &str, name: &str, body: &[u8]) -> Result<(), ConnectorError> {
        let path = format!("/{action}/{}/{name}", self.book);
        self.exchange(&path, body).map_err(|error| {
            ConnectorError::transient(format!("the ledger at {} did not take {path}", self.address)).caused_by(error)
        })
    }

    fn exchange(&self, path: &str, body: &[u8]) -> std::io::Result<()> {
        let mut connection = TcpStream::connect(&self.address)?;
        connection.set_read_timeout(Some(TIMEOUT))?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nHost: ledger\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        connection.write_all(body)?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        match answer.lines().next() {
            Some(status) if status.contains(" 200 ") => Ok(()),
            status => Err(std::io::Error::other(format!("it answered {:?}", status.unwrap_or_default()))),
        }
    }
}

impl Sink for LedgerSink {
    type Item = Entry;

    fn open(&self, ctx: &SinkContext) -> Result<Box<dyn SinkWriter<Item = Entry>>, ConnectorError> {
        let prefix = format!("{}-g{}-{}", ctx.job_id, ctx.generation, ctx.subtask);
        Ok(Box::new(Writer { ledger: self.ledger.clone(), prefix, number: 0, lines: Vec::new() }))
    }

    fn committer(&self) -> Option<Box<dyn SinkCommitter>> {
        Some(Box::new(Committer { ledger: self.ledger.clone() }))
    }
}

struct Writer {
    ledger: Ledger,
    prefix: String,
    number: u64,
    lines: Vec<u8>,
}

impl SinkWriter for Writer {
    type Item = Entry;

    fn write(&mut self, batch: &mut Batch<Entry>) -> Result<(), ConnectorError> {
        for entry in &batch.records {
            let Entry { id, key, nth } = entry;
            writeln!(self.lines, "{id} {key} {nth}").map_err(|error| ConnectorError::permanent(error.to_string()))?;
        }
        Ok(())
    }

    fn freeze(&mut self, _epoch: CheckpointId) -> Result<Option<Box<dyn Prepare>>, ConnectorError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let name = format!("{}-{}", self.prefix, self.number);
        Ok(Some(Box::new(Part { ledger: self.ledger.clone(), name, lines: std::mem::take(&mut self.lines) })))
    }
}

struct Part {
    ledger: Ledger,
    name: String,
    lines: Vec<u8>,
}

impl Prepare for Part {
    fn prepare(&mut self) -> Result<Vec<Handle>, ConnectorError> {
        self.ledger.post("prepare", &self.name, &self.lines)?;
        Ok(vec![json!({ "part": self.name })])
    }
}

struct Committer {
    ledger: Ledger,
}

impl SinkCommitter for Committer {
    fn commit(&self, handle: &Handle) -> Result<(), ConnectorError> {
        let name = handle["part"].as_str().ok_or_else(|| ConnectorError::permanent(format!("no part in {handle}")))?;
        self.ledger.post("commit", name, &[])
    }

    // What was prepared and never committed stays where it does not count.
    fn abort_except(&self, _ctx: &SinkContext, _keep: &[Handle]) -> Result<(), ConnectorError> {
        Ok(())
    }
}
