//! The machine against scripted answers.

use super::*;
use crate::ids::{CheckpointId, JobId};
use crate::journal::JobRevision;

fn head(generation: u64) -> Head {
    let mut head = Head::new(JobId::from("job"), Owner::local(), JobRevision::default());
    head.generation = Generation(generation);
    head
}

fn draft(attempt: &str, generation: u64) -> Draft {
    let written_at = Millis(7);
    Draft { kind: EntryKind::Reserve, head: head(generation), attempt: AttemptId(attempt.to_owned()), written_at }
}

fn bytes_of(actions: &[JournalAction]) -> Arc<[u8]> {
    match actions {
        [JournalAction::Create { bytes, .. }] => Arc::clone(bytes),
        other => panic!("not a create: {other:?}"),
    }
}

/// A machine that has opened an empty journal.
fn opened() -> JournalMachine {
    let mut machine = JournalMachine::new(4);
    assert_eq!(machine.open(), [JournalAction::List]);
    assert_eq!(machine.handle_listed(Some(&[])), [JournalAction::Opened]);
    machine
}

/// A machine that has appended entries 1 to `entries`; all deletions are confirmed.
fn with_entries(entries: u64) -> JournalMachine {
    let mut machine = opened();
    for number in 1..=entries {
        machine.append(draft(&format!("a-{number}"), 1)).unwrap();
        let mut actions = confirm(&mut machine, number);
        assert_eq!(actions.remove(0), JournalAction::Appended { sequence: Sequence(number) });
        while let Some(JournalAction::Delete { sequence }) = actions.pop() {
            actions = machine.handle_deleted(sequence, true);
        }
    }
    machine
}

fn confirm(machine: &mut JournalMachine, number: u64) -> Vec<JournalAction> {
    assert_eq!(machine.handle_created(Sequence(number), CreateOutcome::Done), [JournalAction::List]);
    let newest = [Sequence(number), Sequence(number.saturating_sub(1))];
    machine.handle_listed(Some(if number == 1 { &newest[..1] } else { &newest }))
}

fn foreign(sequence: u64, generation: u64) -> Vec<u8> {
    let mut other = opened();
    other.head = Some(Arc::new(JournalEntry {
        format: JournalEntry::FORMAT,
        sequence: Sequence(sequence - 1),
        attempt: AttemptId("x".into()),
        written_at: Millis(0),
        kind: EntryKind::Reserve,
        head: head(generation),
    }));
    bytes_of(&other.append(draft("foreign", generation)).unwrap()).to_vec()
}

fn fenced_by(sequence: u64, generation: u64) -> [JournalAction; 1] {
    let (sequence, generation) = (Some(Sequence(sequence)), Some(Generation(generation)));
    [JournalAction::Fenced(FencedBy {
        sequence,
        generation,
        owner: Some(Owner::local()),
        attempt: Some(AttemptId("foreign".into())),
    })]
}

#[test]
fn opening_reads_the_newest_entry_and_begins_again_if_it_was_trimmed_meanwhile() {
    let mut machine = JournalMachine::new(4);
    machine.open();
    assert_eq!(machine.handle_listed(None), [JournalAction::List], "a failed listing is repeated");
    let read = |sequence| JournalAction::Read { sequence: Sequence(sequence) };
    assert_eq!(machine.handle_listed(Some(&[Sequence(7), Sequence(6)])), [read(7)]);
    assert_eq!(machine.handle_read(Sequence(7), ReadOutcome::Failed), [read(7)]);
    assert_eq!(machine.handle_read(Sequence(7), ReadOutcome::Absent), [JournalAction::List]);
    assert_eq!(machine.handle_listed(Some(&[Sequence(30), Sequence(29)])), [read(30)]);
    assert_eq!(machine.handle_read(Sequence(30), ReadOutcome::Found(foreign(30, 5))), [JournalAction::Opened]);
    assert_eq!(machine.head().unwrap().head.generation, Generation(5));
}

#[test]
fn a_damaged_newest_entry_is_named_and_nothing_older_is_tried() {
    let mut machine = JournalMachine::new(4);
    machine.open();
    machine.handle_listed(Some(&[Sequence(3), Sequence(2)]));
    let mut bytes = foreign(3, 1);
    bytes[10] ^= 1;
    let actions = machine.handle_read(Sequence(3), ReadOutcome::Found(bytes));
    let [JournalAction::Unreadable { key, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(*key, crate::layout::journal_key(Sequence(3)));
    assert!(machine.append(draft("a-1", 1)).is_err());
}

#[test]
fn a_create_of_unknown_outcome_is_repeated_with_identical_bytes_and_recognised_as_ours() {
    let mut machine = with_entries(2);
    let first = bytes_of(&machine.append(draft("a-3", 1)).unwrap());
    assert_eq!(bytes_of(&machine.handle_created(Sequence(3), CreateOutcome::Unknown)), first);
    assert_eq!(bytes_of(&machine.handle_created(Sequence(3), CreateOutcome::NotDone)), first, "still in doubt");
    let read = [JournalAction::Read { sequence: Sequence(3) }];
    assert_eq!(machine.handle_created(Sequence(3), CreateOutcome::Exists), read);
    assert_eq!(machine.handle_read(Sequence(3), ReadOutcome::Failed), read);
    assert_eq!(machine.handle_read(Sequence(3), ReadOutcome::Found(first.to_vec())), [JournalAction::List]);
    let actions = machine.handle_listed(Some(&[Sequence(3), Sequence(2)]));
    assert_eq!(actions, [JournalAction::Appended { sequence: Sequence(3) }]);
}

#[test]
fn a_create_that_never_was_in_doubt_ends_as_not_appended_and_can_be_made_again() {
    let mut machine = with_entries(1);
    machine.append(draft("a-2", 1)).unwrap();
    assert_eq!(machine.handle_created(Sequence(2), CreateOutcome::NotDone), [JournalAction::NotAppended]);
    assert!(machine.is_ready());
    assert_eq!(machine.head().unwrap().sequence, Sequence(1));
    machine.append(draft("a-3", 1)).unwrap();
    assert_eq!(confirm(&mut machine, 2)[0], JournalAction::Appended { sequence: Sequence(2) });
}

#[test]
fn a_slot_that_somebody_else_holds_fences() {
    let mut machine = with_entries(2);
    machine.append(draft("a-3", 1)).unwrap();
    machine.handle_created(Sequence(3), CreateOutcome::Exists);
    let actions = machine.handle_read(Sequence(3), ReadOutcome::Found(foreign(3, 2)));
    assert_eq!(actions, fenced_by(3, 2));
    assert!(machine.is_fenced());
    assert!(machine.append(draft("a-4", 1)).is_err());
    assert_eq!(machine.validate(), []);
}

#[test]
fn a_slot_won_after_trimming_does_not_count() {
    let mut machine = with_entries(2);
    machine.append(draft("a-3", 1)).unwrap();
    assert_eq!(machine.handle_created(Sequence(3), CreateOutcome::Done), [JournalAction::List]);
    let actions = machine.handle_listed(Some(&[Sequence(40), Sequence(39)]));
    assert_eq!(actions, [JournalAction::Read { sequence: Sequence(40) }]);
    let actions = machine.handle_read(Sequence(40), ReadOutcome::Found(foreign(40, 9)));
    assert_eq!(actions, fenced_by(40, 9));
    assert_eq!(machine.head().unwrap().sequence, Sequence(2));
}

#[test]
fn an_entry_whose_predecessor_is_gone_does_not_count() {
    let mut machine = with_entries(2);
    machine.append(draft("a-3", 1)).unwrap();
    machine.handle_created(Sequence(3), CreateOutcome::Done);
    let actions = machine.handle_listed(Some(&[Sequence(3)]));
    assert_eq!(actions, [JournalAction::Read { sequence: Sequence(3) }], "it is read to say by whom, and never counts");
    assert!(matches!(machine.handle_read(Sequence(3), ReadOutcome::Absent)[..], [JournalAction::Fenced(_)]));
}

#[test]
fn validation_says_whether_the_head_is_still_the_newest() {
    let mut machine = with_entries(2);
    assert_eq!(machine.validate(), [JournalAction::List]);
    assert!(machine.append(draft("a-3", 1)).is_err(), "one thing at a time");
    assert_eq!(machine.handle_listed(None), [JournalAction::List]);
    assert_eq!(machine.handle_listed(Some(&[Sequence(2), Sequence(1)])), [JournalAction::Valid]);
    machine.validate();
    assert_eq!(
        machine.handle_listed(Some(&[Sequence(3), Sequence(2)])),
        [JournalAction::Read { sequence: Sequence(3) }]
    );
    assert_eq!(machine.handle_read(Sequence(3), ReadOutcome::Found(foreign(3, 2))), fenced_by(3, 2));
}

#[test]
fn a_journal_that_vanished_fences() {
    let mut machine = with_entries(2);
    machine.validate();
    let by = FencedBy { sequence: None, generation: None, owner: None, attempt: None };
    assert_eq!(machine.handle_listed(Some(&[])), [JournalAction::Fenced(by)]);
}

#[test]
fn trimming_goes_oldest_first_one_at_a_time_and_waits_for_the_next_append_after_a_failure() {
    let mut machine = with_entries(4);
    machine.append(draft("a-5", 1)).unwrap();
    let delete = |sequence| JournalAction::Delete { sequence: Sequence(sequence) };
    assert_eq!(confirm(&mut machine, 5)[1..], [delete(1)]);
    assert_eq!(machine.handle_deleted(Sequence(1), false), [], "not repeated at once");
    machine.append(draft("a-6", 1)).unwrap();
    assert_eq!(confirm(&mut machine, 6)[1..], [delete(1)]);
    assert_eq!(machine.handle_deleted(Sequence(1), true), [delete(2)]);
    machine.append(draft("a-7", 1)).unwrap();
    assert_eq!(confirm(&mut machine, 7)[1..], [], "one delete is under way");
    assert_eq!(machine.handle_deleted(Sequence(2), true), [delete(3)]);
    assert_eq!(machine.handle_deleted(Sequence(3), true), [], "the newest four stay");
    assert_eq!(machine.trimmed_below(), Sequence(4));
    let entry = bytes_of(&machine.append(draft("a-8", 1)).unwrap());
    let entry = JournalEntry::decode(Sequence(8), &entry).unwrap();
    assert_eq!(entry.head.trimmed_below, Sequence(4), "the watermark rides along");
}

#[test]
fn a_long_journal_is_shortened_by_a_bounded_number_of_deletions_per_append() {
    let mut machine = with_entries(3);
    machine.trimmed_below = Sequence(1);
    machine.keep = 2;
    let before = machine.head.clone().unwrap();
    machine.head = Some(Arc::new(JournalEntry { sequence: Sequence(100), ..(*before).clone() }));
    machine.append(draft("a-101", 1)).unwrap();
    let mut actions = confirm(&mut machine, 101);
    let mut deletions = 0;
    while let Some(JournalAction::Delete { sequence }) = actions.pop() {
        deletions += 1;
        actions = machine.handle_deleted(sequence, true);
    }
    assert_eq!(deletions, TRIM_PER_APPEND);
    assert!(!machine.deleting);
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut machine = with_entries(2);
    let before = machine.clone();
    assert_eq!(machine.handle_listed(Some(&[Sequence(9)])), []);
    assert_eq!(machine.handle_read(Sequence(2), ReadOutcome::Absent), []);
    assert_eq!(machine.handle_created(Sequence(3), CreateOutcome::Done), []);
    assert_eq!(machine.handle_deleted(Sequence(1), true), []);
    assert_eq!(machine, before);
    machine.append(draft("a-3", 1)).unwrap();
    assert_eq!(machine.handle_created(Sequence(2), CreateOutcome::Done), [], "an answer to an older create");
    assert_eq!(CheckpointId(0), machine.head().unwrap().head.reserved_ids);
}
