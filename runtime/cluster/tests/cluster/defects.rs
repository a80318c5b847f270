//! Planted defects: each check holds for Weir as it is, and fails with its defect. A check that no defect can break proves nothing.

use std::time::Duration;

use weir_cluster::{Defects, JobOutcome};
use weir_protocol::defects::Defects as ProtocolDefects;
use weir_storage::{Fault, Operation, StoreErrorKind};

use crate::parts::{Line, expected_lines};
use crate::world::{World, eventually};

const END: u64 = 1_200;

fn world(defects: Defects) -> World {
    let mut world = World::new();
    world.numbers.end = Some(END);
    world.defects = defects;
    world
}

fn protocol(plant: impl FnOnce(&mut ProtocolDefects)) -> Defects {
    let mut defects = Defects::default();
    plant(&mut defects.protocol);
    defects
}

/// Runs the rest of the job; true if its output is exactly what it must be.
fn is_exact(world: &World) -> bool {
    world.valve.open_to(END);
    let outcome = world.start().outcome();
    matches!(outcome, Ok(JobOutcome::Finished { .. })) && world.ledger.lines() == expected_lines(END)
}

/// A check must hold without its defect and fail with it.
fn assert_catches(check: impl Fn(Defects) -> bool, defects: Defects) {
    assert!(check(Defects::default()), "fails without the defect");
    assert!(!check(defects), "holds although the defect is planted");
}

#[test]
fn output_is_committed_after_the_journal_entry_only() {
    let check = |defects| {
        let world = world(defects);
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        // The journal entry never comes to be; the process dies while it waits for the answer.
        world.store.script(Operation::Create, Fault::Delay(Duration::from_secs(3600)));
        process.request_checkpoint();
        eventually("the manifest", || world.store.objects().keys().any(|key| key.starts_with("manifests/")));
        std::thread::sleep(Duration::from_millis(200));
        process.crash();
        is_exact(&world)
    };
    assert_catches(check, protocol(|defects| defects.commit_before_publish = true));
}

#[test]
fn commits_are_replayed_at_a_restore() {
    let check = |defects| {
        let world = world(defects);
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        world.ledger.fail_commits(u64::MAX);
        process.checkpoint();
        process.crash();
        world.ledger.fail_commits(0);
        is_exact(&world)
    };
    assert_catches(check, protocol(|defects| defects.skip_commit_replay = true));
}

#[test]
fn an_aborted_checkpoints_output_belongs_to_the_next_one() {
    let check = |defects| {
        let mut world = world(defects);
        world.job.checkpoint.timeout = weir_api::Duration::from_millis(300);
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        world.store.script(Operation::PutFile, Fault::Delay(Duration::from_millis(900)));
        assert!(process.try_checkpoint().is_err());
        eventually("the run", || world.store.objects().keys().any(|key| key.starts_with("runs/")));
        world.valve.open_to(END);
        let outcome = process.outcome();
        matches!(outcome, Ok(JobOutcome::Finished { .. })) && world.ledger.lines() == expected_lines(END)
    };
    assert_catches(check, protocol(|defects| defects.drop_output_on_abort = true));
}

#[test]
fn an_append_of_unknown_outcome_is_not_taken_for_a_failed_one() {
    let check = |defects| {
        let world = world(defects);
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        world.store.script(Operation::Create, Fault::FailAfter(StoreErrorKind::Timeout));
        let completed = process.try_checkpoint().is_ok();
        world.valve.open_to(END);
        let outcome = process.outcome();
        completed && matches!(outcome, Ok(JobOutcome::Finished { .. })) && world.ledger.lines() == expected_lines(END)
    };
    assert_catches(check, protocol(|defects| defects.discard_on_unknown = true));
}

#[test]
fn an_own_entry_found_in_the_slot_is_recognised() {
    let check = |defects| {
        let world = world(defects);
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        world.store.script(Operation::Create, Fault::FailAfter(StoreErrorKind::Timeout));
        process.request_checkpoint();
        world.valve.open_to(END);
        matches!(process.outcome(), Ok(JobOutcome::Finished { .. }))
    };
    assert_catches(check, protocol(|defects| defects.foreign_on_exists = true));
}

#[test]
fn watermarks_are_restored() {
    let check = |defects| {
        let mut world = world(defects);
        world.job = crate::world::quiet_job(1);
        world.numbers.splits = 1;
        world.numbers.end = Some(700);
        // The first record after the restore is late: the watermark is far beyond its event time.
        world.numbers.times = [(600, 10)].into();
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        process.wait_for("the watermark", |status| {
            status.operators.get(&"count".into()).is_some_and(|count| count.watermark >= Some(598))
        });
        process.checkpoint();
        process.crash();
        world.valve.open_to(700);
        let outcome = world.start().outcome();
        let late: Vec<Line> =
            world.ledger.lines().into_iter().filter(|line| matches!(line, Line::Late { .. })).collect();
        matches!(outcome, Ok(JobOutcome::Finished { .. })) && late == [Line::Late { number: 600 }]
    };
    assert_catches(check, Defects { forget_watermarks: true, ..Defects::default() });
}

#[test]
fn the_last_key_group_of_a_range_is_restored() {
    let check = |defects| {
        let mut world = world(defects);
        // Few groups, so that there are keys in the last one.
        world.job.max_parallelism = 8;
        world.valve.open_to(600);
        let process = world.start();
        process.wait_read(600);
        process.checkpoint();
        process.crash();
        is_exact(&world)
    };
    let state = weir_state::Defects { range_end_off_by_one: true, ..weir_state::Defects::default() };
    assert_catches(check, Defects { state, ..Defects::default() });
}
