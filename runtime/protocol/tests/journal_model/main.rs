//! Exhaustive model check of the journal protocol.
//!
//! Coordinators run the real [`JournalMachine`](weir_protocol::journal::JournalMachine) and the real start and head
//! decisions against a store in which every call may succeed, fail, or fail although it was done, at once or later;
//! any of them may stop for any time, or crash anywhere and begin again. All interleavings are explored, breadth first, so the first
//! violation found is a shortest one and is printed as a list of steps.
//!
//! Checked in every state:
//! * the history is linear: every entry that lands on top was written by who had read its predecessor, and generations
//!   are claimed one by one;
//! * an append counts for its writer only if it is part of that history: nobody wins a slot that was emptied by trimming,
//!   no two win one slot, no append of a fenced coordinator counts;
//! * no checkpoint is both aborted and published;
//! * no object is deleted that a retained manifest names;
//! * nobody is fenced by its own write.

mod actor;
mod explore;
mod world;

use explore::{Bounds, Report, explore};
use weir_protocol::defects::Defects;

fn check(name: &str, bounds: Bounds) -> Report {
    let report = explore(bounds, Defects::default());
    println!("journal model, {name}: {report}");
    if let Some(violation) = report.violation {
        panic!("{violation}");
    }
    report
}

const THREE_EPOCHS: Bounds = Bounds { actors: 2, epochs: 3, restarts: 1, validate: false, late_duplicates: false };

/// Two coordinators, three epochs, every outcome of every call, stops of any length, one crash and restart.
#[test]
fn no_interleaving_of_three_epochs_breaks_the_journal() {
    let report = check("two coordinators, three epochs, a crash", THREE_EPOCHS);
    assert!(report.published == 3 && report.junk && report.trimmed, "the model does not reach what it is about");
}

/// One that reigns and two that were replaced one after the other; every lost create may arrive once more at any time.
#[test]
fn no_interleaving_of_three_coordinators_breaks_the_journal() {
    let bounds = Bounds { actors: 3, epochs: 1, restarts: 0, validate: false, late_duplicates: true };
    let report = check("three coordinators, late duplicates", bounds);
    assert!(report.junk && report.trimmed, "the model does not reach what it is about");
}

#[test]
fn no_interleaving_with_validations_breaks_the_journal() {
    let bounds = Bounds { actors: 2, epochs: 2, restarts: 0, validate: true, late_duplicates: true };
    let report = check("validations, late duplicates", bounds);
    assert!(report.junk && report.trimmed, "the model does not reach what it is about");
}

fn check_finds(defects: Defects, expected: &str) {
    let report = explore(THREE_EPOCHS, defects);
    println!("{report}");
    let violation = report.violation.expect("the planted defect goes unnoticed");
    println!("{violation}");
    assert!(violation.contains(expected), "found something else: {violation}");
}

#[test]
fn the_model_finds_an_own_write_taken_as_foreign() {
    check_finds(Defects { foreign_on_exists: true, ..Defects::default() }, "fenced by its own write");
}

#[test]
fn the_model_finds_a_slot_won_after_trimming() {
    check_finds(
        Defects { count_trimmed_slot: true, ..Defects::default() },
        "counts an entry that is not part of the history",
    );
}

#[test]
fn the_model_finds_state_discarded_on_an_unknown_outcome() {
    check_finds(Defects { discard_on_unknown: true, ..Defects::default() }, "both aborted and published");
}

#[test]
fn the_model_finds_objects_deleted_before_the_entry() {
    check_finds(Defects { delete_before_entry: true, ..Defects::default() }, "which is retained");
}
