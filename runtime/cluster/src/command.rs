//! Requests by hand to a running job, and their answers.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use weir_protocol::CheckpointId;
use weir_protocol::coordinator::{Answer, Event, RequestId};

use crate::status::CheckpointSummary;

/// Where an answer goes; an error is a sentence for the user.
pub type Reply<T> = oneshot::Sender<Result<T, String>>;

/// A request to a running job.
#[derive(Debug)]
pub enum JobCommand {
    /// Take a checkpoint now.
    Checkpoint {
        /// Told when it is complete.
        reply: Reply<CheckpointSummary>,
    },
    /// Take a savepoint.
    Savepoint {
        /// Its name: letters, digits and `-`.
        name: String,
        /// Told when it is complete in itself.
        reply: Reply<SavepointSummary>,
    },
    /// Take a final checkpoint and stop, durably. Asking again is fine.
    Stop {
        /// Also keep the final checkpoint as a savepoint of this name.
        savepoint: Option<String>,
        /// How long the final checkpoint may take; `None`: as long as the job says.
        timeout: Option<Duration>,
        /// Told when the job is stopped.
        reply: Reply<StopSummary>,
    },
    /// Leave at once; the job goes on from its latest completed checkpoint when it is started again.
    Cancel,
}

/// A complete savepoint.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SavepointSummary {
    /// Its name.
    pub name: String,
    /// Where it is: what `restoreFrom` takes.
    pub uri: String,
    /// The checkpoint it is a copy of.
    pub checkpoint: CheckpointId,
}

/// A job that stopped.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StopSummary {
    /// What it will go on from.
    pub checkpoint: Option<CheckpointId>,
    /// False if no final checkpoint was complete in time; what was read since the last one will be read again.
    pub with_final_checkpoint: bool,
}

/// Who waits for the answer to which request.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    next: u64,
    waiting: BTreeMap<RequestId, Asked>,
}

#[derive(Debug)]
enum Asked {
    Checkpoint(Reply<CheckpointSummary>),
    Savepoint(Reply<SavepointSummary>),
    Stop(Reply<StopSummary>),
}

impl Waiting {
    /// Turns a command into an event; `None` if there is nothing to ask: a name that is refused at once, or
    /// [`JobCommand::Cancel`], which is not for the coordinator.
    pub(crate) fn ask(&mut self, command: JobCommand, final_checkpoint_timeout: Duration) -> Option<Event> {
        let request = RequestId(self.next);
        self.next += 1;
        let (asked, event) = match command {
            JobCommand::Savepoint { name, reply } if check_name(&name).is_err() => {
                return refuse(reply, check_name(&name));
            }
            JobCommand::Stop { savepoint: Some(name), timeout: _, reply } if check_name(&name).is_err() => {
                return refuse(reply, check_name(&name));
            }
            JobCommand::Checkpoint { reply } => (Asked::Checkpoint(reply), Event::CheckpointRequest(request)),
            JobCommand::Savepoint { name, reply } => (Asked::Savepoint(reply), Event::SavepointRequest(request, name)),
            JobCommand::Stop { savepoint, timeout, reply } => {
                let timeout = timeout.unwrap_or(final_checkpoint_timeout);
                let final_checkpoint_timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                (Asked::Stop(reply), Event::StopRequest { request, final_checkpoint_timeout_ms, savepoint })
            }
            JobCommand::Cancel => return None,
        };
        self.waiting.insert(request, asked);
        Some(event)
    }

    /// Passes an answer on. Who asked may have gone.
    pub(crate) fn answer(&mut self, request: RequestId, result: Result<Answer, String>, root: &str) {
        let Some(asked) = self.waiting.remove(&request) else { return };
        match (asked, result) {
            (Asked::Checkpoint(reply), Ok(Answer::Checkpoint(entry))) => {
                let _ = reply.send(Ok(CheckpointSummary::of(&entry)));
            }
            (Asked::Savepoint(reply), Ok(Answer::Savepoint { name, checkpoint })) => {
                let uri = format!("{root}/savepoints/{name}");
                let _ = reply.send(Ok(SavepointSummary { name, uri, checkpoint }));
            }
            (Asked::Stop(reply), Ok(Answer::Stopped { restore, with_final_checkpoint })) => {
                let _ = reply.send(Ok(StopSummary { checkpoint: restore, with_final_checkpoint }));
            }
            (asked, Err(reason)) => asked.refuse(reason),
            (asked, Ok(other)) => asked.refuse(format!("answered with something else: {other:?}")),
        }
    }

    /// Tells everybody who still waits why there will be no answer.
    pub(crate) fn refuse_all(&mut self, reason: &str) {
        for (_, asked) in std::mem::take(&mut self.waiting) {
            asked.refuse(reason.to_owned());
        }
    }
}

/// Savepoints' names become folders.
fn check_name(name: &str) -> Result<(), String> {
    let allowed = weir_api::form::SAVEPOINT.allowed;
    weir_api::form::SAVEPOINT
        .check(name)
        .map_err(|_| format!("savepoint name {name:?} is not allowed; allowed is {allowed}"))
}

fn refuse<T>(reply: Reply<T>, why: Result<(), String>) -> Option<Event> {
    // Who asked may have gone.
    let _ = reply.send(Err(why.err().unwrap_or_default()));
    None
}

impl Asked {
    fn refuse(self, reason: String) {
        match self {
            Self::Checkpoint(reply) => drop(reply.send(Err(reason))),
            Self::Savepoint(reply) => drop(reply.send(Err(reason))),
            Self::Stop(reply) => drop(reply.send(Err(reason))),
        }
    }
}
