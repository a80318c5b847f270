use tokio::sync::mpsc;
use weir_protocol::journal::{Attempts, Draft, EntryKind, Head, JobRevision, Owner};
use weir_protocol::{JobId, Millis};
use weir_storage::{Fault, MemoryStore, Operation, StoreErrorKind};

use super::*;
use crate::pulse::MAX_DECISION_AGE;

/// A journal machine whose actions are carried out against a store.
struct Journal {
    machine: JournalMachine,
    calls: JournalCalls,
    attempts: Attempts,
    _told: mpsc::UnboundedReceiver<Event>,
}

impl Journal {
    async fn open(store: &MemoryStore, process: &str) -> Self {
        let (tx, told) = mpsc::unbounded_channel();
        let calls = JournalCalls::new(Arc::new(store.clone()), Trouble::new(tx));
        let mut journal =
            Self { machine: JournalMachine::new(4), calls, attempts: Attempts::new(process), _told: told };
        let actions = journal.machine.open();
        assert_eq!(journal.work(actions).await, [JournalAction::Opened]);
        journal
    }

    /// Carries out calls until only news is left.
    async fn work(&mut self, mut actions: Vec<JournalAction>) -> Vec<JournalAction> {
        let mut news = Vec::new();
        while !actions.is_empty() {
            let mut next = Vec::new();
            for action in actions {
                match self.calls.execute(action.clone(), &Decision::of_age(Duration::ZERO)).await {
                    Some(Event::JournalListed(newest)) => next.extend(self.machine.handle_listed(newest.as_deref())),
                    Some(Event::JournalRead(sequence, outcome)) => {
                        next.extend(self.machine.handle_read(sequence, outcome));
                    }
                    Some(Event::JournalCreated(sequence, outcome)) => {
                        next.extend(self.machine.handle_created(sequence, outcome));
                    }
                    Some(Event::JournalDeleted(sequence, gone)) => {
                        next.extend(self.machine.handle_deleted(sequence, gone));
                    }
                    Some(other) => panic!("{other:?}"),
                    None => news.push(action),
                }
            }
            actions = next;
        }
        news
    }

    async fn append(&mut self) -> Vec<JournalAction> {
        let mut head = match self.machine.head() {
            Some(entry) => entry.head.clone(),
            None => Head::new(JobId::from("job"), Owner::local(), JobRevision::default()),
        };
        head.generation = head.generation.next();
        let draft = Draft { kind: EntryKind::Reserve, head, attempt: self.attempts.draw(), written_at: Millis(0) };
        let actions = self.machine.append(draft).unwrap();
        self.work(actions).await
    }
}

fn appended(sequence: u64) -> Vec<JournalAction> {
    vec![JournalAction::Appended { sequence: Sequence(sequence) }]
}

#[tokio::test]
async fn an_append_of_unknown_outcome_is_resolved_whatever_happened() {
    for fault in [
        Fault::FailAfter(StoreErrorKind::Timeout),
        Fault::FailBefore(StoreErrorKind::Timeout),
        Fault::LandLater { calls: 1 },
        Fault::LandLater { calls: 3 },
        Fault::FailAfter(StoreErrorKind::Conflict),
    ] {
        let store = MemoryStore::new();
        let mut journal = Journal::open(&store, "a").await;
        store.script(Operation::Create, fault);
        assert_eq!(journal.append().await, appended(1), "{fault:?}");
        assert_eq!(journal.append().await, appended(2), "{fault:?}");
        assert_eq!(read_newest(&store).await.unwrap().unwrap().sequence, Sequence(2), "{fault:?}");
    }
}

#[tokio::test]
async fn calls_are_repeated_through_an_outage_with_waits_between() {
    let store = MemoryStore::new();
    let mut journal = Journal::open(&store, "a").await;
    store.script(Operation::Create, Fault::FailAfter(StoreErrorKind::Timeout));
    store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Unreachable));
    store.script(Operation::Get, Fault::FailBefore(StoreErrorKind::Unreachable));
    for _ in 0..3 {
        store.script(Operation::List, Fault::FailBefore(StoreErrorKind::Throttled));
    }
    let before = std::time::Instant::now();
    assert_eq!(journal.append().await, appended(1));
    assert!(before.elapsed() > Duration::from_millis(150), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_refused_create_without_effect_is_not_an_append() {
    let store = MemoryStore::new();
    let mut journal = Journal::open(&store, "a").await;
    store.script(Operation::Create, Fault::FailBefore(StoreErrorKind::Denied));
    assert_eq!(journal.append().await, [JournalAction::NotAppended]);
    assert!(store.objects().is_empty());
}

#[tokio::test]
async fn of_two_writers_one_is_fenced_and_old_entries_are_trimmed() {
    let store = MemoryStore::new();
    let mut first = Journal::open(&store, "a").await;
    for sequence in 1..=9 {
        assert_eq!(first.append().await, appended(sequence));
    }
    let entries = store.objects().keys().filter(|key| key.starts_with(layout::JOURNAL)).count();
    assert!((4..=5).contains(&entries), "{entries} entries are kept");
    let mut second = Journal::open(&store, "b").await;
    assert_eq!(second.append().await, appended(10));
    assert!(matches!(first.append().await[..], [JournalAction::Fenced(_)]));
}

#[tokio::test]
async fn a_delete_decided_long_ago_is_not_sent() {
    let store = MemoryStore::new();
    store.overwrite("runs/a", "x");
    let old = Decision::of_age(MAX_DECISION_AGE + Duration::from_millis(1));
    assert!(!delete_at_once(&store, &["runs/a".to_owned()], &old).await);
    assert_eq!(store.calls(Operation::Delete), 0);
    assert!(delete_at_once(&store, &["runs/a".to_owned()], &Decision::of_age(Duration::ZERO)).await);
    assert!(store.objects().is_empty());
}

#[tokio::test]
async fn looking_at_a_journal_reads_the_newest_entry_and_passes_over_foreign_names() {
    let store = MemoryStore::new();
    assert_eq!(read_newest(&store).await.unwrap(), None);
    let mut journal = Journal::open(&store, "a").await;
    journal.append().await;
    journal.append().await;
    for foreign in ["journal/.DS_Store", "journal/0.tmp", "journal/README"] {
        store.overwrite(foreign, "x");
    }
    store.script(Operation::Get, Fault::ShortRead);
    assert_eq!(read_newest(&store).await.unwrap().unwrap().sequence, Sequence(2));
    store.overwrite(&layout::journal_key(Sequence(2)), "{}");
    let error = read_newest(&store).await.unwrap_err();
    assert!(error.to_string().contains(&layout::journal_key(Sequence(2))), "{error}");
}
