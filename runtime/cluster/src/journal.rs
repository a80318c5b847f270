//! Carries out the journal's calls to the store.
//!
//! Which call comes next, and what an answer means, is [`JournalMachine`]'s business; here one [`JournalAction`] becomes one
//! call and one answer. A failed call is answered only after a wait, which keeps the machine's repetitions apart. Answers
//! say what is known and nothing more: a create that may have happened is *unknown*, never *failed*.
//!
//! A delete is sent at once or not at all: after a pause of the process somebody else may reign.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use weir_protocol::Sequence;
use weir_protocol::coordinator::Event;
use weir_protocol::journal::machine::{CreateOutcome, LIST_LIMIT, ReadOutcome};
use weir_protocol::journal::{JournalAction, JournalEntry, JournalMachine};
use weir_protocol::layout;
use weir_storage::{Created, Effect, ObjectStore, Retry, StoreError};

use crate::outcome::Remedy;
use crate::pulse::Decision;
use crate::retry::{Backoff, Trouble};

/// Bound of one deletion with the store's own repetitions, so that none outlives a pause by much.
pub(crate) const DELETE_LIMIT: Duration = Duration::from_secs(10);

/// How often an entry is read before its bytes are handed on although they do not decode.
const READS_BEFORE_UNREADABLE: u32 = 3;

/// Why a journal could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// An entry is damaged.
    #[error("journal entry {key} cannot be read: {reason}")]
    Unreadable {
        /// The object.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store did not answer.
    #[error("the journal cannot be looked at")]
    Store(#[source] StoreError),
}

impl JournalError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unreadable { .. } => Retry::No,
            Self::Store(error) => error.retry,
        }
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Unreadable { .. } => Remedy::Restart,
            Self::Store(error) => Remedy::of(error),
        }
    }
}

/// The calls of one journal.
#[derive(Debug, Clone)]
pub(crate) struct JournalCalls {
    objects: Arc<dyn ObjectStore>,
    trouble: Trouble,
    backoff: Arc<Mutex<Backoff>>,
}

impl JournalCalls {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>, trouble: Trouble) -> Self {
        Self { objects, trouble, backoff: Arc::new(Mutex::new(Backoff::new())) }
    }

    /// Carries out one action, decided by `decision`; `None` for actions that are no calls.
    pub(crate) async fn execute(&self, action: JournalAction, decision: &Decision) -> Option<Event> {
        Some(match action {
            JournalAction::List => Event::JournalListed(self.settled(list(&*self.objects).await).await.ok()),
            JournalAction::Read { sequence } => Event::JournalRead(sequence, self.read(sequence).await),
            JournalAction::Create { sequence, bytes } => {
                Event::JournalCreated(sequence, self.create(sequence, &bytes).await)
            }
            JournalAction::Delete { sequence } => {
                Event::JournalDeleted(sequence, self.delete(sequence, decision).await)
            }
            JournalAction::Opened
            | JournalAction::Appended { .. }
            | JournalAction::NotAppended
            | JournalAction::Valid
            | JournalAction::Fenced(_)
            | JournalAction::Unreadable { .. } => return None,
        })
    }

    async fn read(&self, sequence: Sequence) -> ReadOutcome {
        match self.settled(read(&*self.objects, sequence).await).await {
            Ok(Some(bytes)) => ReadOutcome::Found(bytes),
            Ok(None) => ReadOutcome::Absent,
            Err(_) => ReadOutcome::Failed,
        }
    }

    async fn create(&self, sequence: Sequence, bytes: &[u8]) -> CreateOutcome {
        let key = layout::journal_key(sequence);
        let answer = self.objects.create(&key, Bytes::copy_from_slice(bytes)).await;
        match self.settled(answer).await {
            Ok(Created::Done) => CreateOutcome::Done,
            Ok(Created::Exists) => CreateOutcome::Exists,
            Err(Effect::NotDone) => CreateOutcome::NotDone,
            Err(Effect::MaybeDone) => CreateOutcome::Unknown,
        }
    }

    async fn delete(&self, sequence: Sequence, decision: &Decision) -> bool {
        delete_at_once(&*self.objects, &[layout::journal_key(sequence)], decision).await
    }

    /// Passes an answer on; a failure is told, and followed by a wait.
    async fn settled<T>(&self, answer: Result<T, StoreError>) -> Result<T, Effect> {
        match answer {
            Ok(value) => {
                self.backoff.lock().reset();
                Ok(value)
            }
            Err(error) => {
                self.trouble.tell(&error);
                let wait = self.backoff.lock().next_wait();
                tokio::time::sleep(wait).await;
                Err(error.effect)
            }
        }
    }
}

/// Deletes `keys`, unless the decision is stale. True if all are known to be gone.
pub(crate) async fn delete_at_once(objects: &dyn ObjectStore, keys: &[String], decision: &Decision) -> bool {
    if decision.is_stale() {
        return false;
    }
    match tokio::time::timeout(DELETE_LIMIT, objects.delete(keys)).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "a deletion failed and will be tried again later");
            false
        }
        Err(_) => false,
    }
}

/// Looks at the journal without taking part in it: its newest entry, `None` if it has none.
///
/// # Errors
/// When the store does not answer, or the entry is damaged.
pub async fn read_newest(objects: &dyn ObjectStore) -> Result<Option<JournalEntry>, JournalError> {
    let mut machine = JournalMachine::new(0);
    let actions = machine.open();
    after_looks(objects, &mut machine, actions).await?;
    Ok(machine.head().cloned())
}

/// Answers the machine as long as it looks at the journal, for whoever gives up when that fails; returns what it wants then.
pub(crate) async fn after_looks(
    objects: &dyn ObjectStore,
    machine: &mut JournalMachine,
    mut actions: Vec<JournalAction>,
) -> Result<Option<JournalAction>, JournalError> {
    loop {
        actions = match actions.pop() {
            Some(JournalAction::List) => {
                let newest = list(objects).await.map_err(JournalError::Store)?;
                machine.handle_listed(Some(&newest))
            }
            Some(JournalAction::Read { sequence }) => {
                let outcome = read(objects, sequence).await.map_err(JournalError::Store)?;
                machine.handle_read(sequence, outcome.map_or(ReadOutcome::Absent, ReadOutcome::Found))
            }
            Some(JournalAction::Unreadable { key, reason }) => return Err(JournalError::Unreadable { key, reason }),
            other => return Ok(other),
        };
    }
}

/// The newest entries, newest first. Foreign names in the folder are passed over.
async fn list(objects: &dyn ObjectStore) -> Result<Vec<Sequence>, StoreError> {
    let listed = objects.list(layout::JOURNAL, Some(LIST_LIMIT)).await?;
    let parse = |listed: &[weir_storage::Listed]| -> Vec<Sequence> {
        listed.iter().filter_map(|object| layout::parse_journal_key(&object.key)).collect()
    };
    let newest = parse(&listed);
    if newest.len() == listed.len() {
        return Ok(newest);
    }
    let mut all = parse(&objects.list(layout::JOURNAL, None).await?);
    all.truncate(LIST_LIMIT);
    Ok(all)
}

/// An entry's bytes; `None` if it is absent. What does not decode is read again: an answer may be cut short on its way.
async fn read(objects: &dyn ObjectStore, sequence: Sequence) -> Result<Option<Vec<u8>>, StoreError> {
    let key = layout::journal_key(sequence);
    let mut reads = 0;
    loop {
        reads += 1;
        let bytes = match objects.get(&key).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        if reads == READS_BEFORE_UNREADABLE || JournalEntry::decode(sequence, &bytes).is_ok() {
            return Ok(Some(bytes.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests;
