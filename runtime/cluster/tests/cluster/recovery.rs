//! A job that is crashed, or fails, goes on from its latest completed checkpoint, and its output is that of a job that was not.

use std::sync::atomic::Ordering;

use weir_cluster::{JobError, JobOutcome};
use weir_protocol::CheckpointId;
use weir_protocol::journal::JobStatus;

use crate::parts::{KEYS, Line, expected_lines};
use crate::world::{Process, World, eventually};

/// The number of records every whole run reads; windows and key counts come out even.
const END: u64 = 2_000;

/// Runs the rest of a job and checks what it wrote in the end.
fn finish(world: &World) {
    world.valve.open_to(END);
    let outcome = world.start().outcome();
    assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "{outcome:?}");
    assert_eq!(world.ledger.lines(), expected_lines(END));
    assert!(world.ledger.hidden().is_empty());
}

fn bounded_world() -> World {
    let mut world = World::new();
    world.numbers.end = Some(END);
    world
}

#[test]
fn an_undisturbed_job_writes_what_it_must_and_finishes() {
    let world = bounded_world();
    finish(&world);
    assert_eq!(world.head().head.status, JobStatus::Finished);
    assert_eq!(world.head().head.pending_commits, []);
}

#[test]
fn a_crashed_job_goes_on_from_its_checkpoint_as_if_nothing_had_happened() {
    let world = bounded_world();
    world.valve.open_to(700);
    let process = world.start();
    process.wait_read(700);
    let first = process.checkpoint();
    world.valve.open_to(1_100);
    process.wait_read(1_100);
    process.crash();
    assert_eq!(first.id, CheckpointId(1));
    assert!(world.ledger.lines().len() < expected_lines(1_100).len(), "output after the checkpoint is hidden");
    let process = world.start();
    let status = process.wait_for("a restore", |status| status.state.name() == "running");
    assert_eq!(status.restored_from, Some(CheckpointId(1)));
    process.wait_read(400);
    process.crash();
    finish(&world);
}

#[test]
fn crashes_at_any_moment_lose_and_double_nothing() {
    let mut world = bounded_world();
    world.job.checkpoint.interval = weir_api::Duration::from_millis(15);
    for round in 0..12 {
        world.valve.open_to((round + 1) * 150);
        let process = world.start();
        process.wait_running();
        std::thread::sleep(std::time::Duration::from_millis(7 * round % 60));
        process.crash();
    }
    finish(&world);
}

#[test]
fn a_killed_process_is_replaced_by_one_with_its_local_files() {
    let world = bounded_world();
    let options = world.options();
    world.valve.open_to(900);
    let process = Process::start(options.clone());
    process.wait_read(900);
    process.checkpoint();
    process.crash();
    world.valve.open_to(END);
    let options = weir_cluster::RunOptions { metrics: prometheus::Registry::new(), ..options };
    assert!(matches!(Process::start(options).outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn failing_user_code_restarts_the_job_from_its_checkpoint_and_says_why() {
    let world = bounded_world();
    world.trap.once.store(true, Ordering::SeqCst);
    *world.trap.number.lock() = Some(1_000);
    world.valve.open_to(800);
    let process = world.start();
    process.wait_read(800);
    process.checkpoint();
    world.valve.open_to(END);
    let status = process.wait_for("a restart", |status| status.restart_count == 1);
    let restart = &status.restarts[0];
    assert!(
        restart.reason.contains("operator count") && restart.reason.contains("the trap at 1000 snapped"),
        "{restart:?}"
    );
    assert_eq!(restart.operator, Some("count".into()));
    assert!(restart.reason.contains("\"number\":1000"), "the record is shown: {restart:?}");
    assert!(matches!(process.outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn a_panic_in_user_code_is_a_failure_like_any_other() {
    let world = bounded_world();
    world.trap.once.store(true, Ordering::SeqCst);
    world.trap.panics.store(true, Ordering::SeqCst);
    *world.trap.number.lock() = Some(1_000);
    world.valve.open_to(END);
    let process = world.start();
    let status = process.wait_for("a restart", |status| status.restart_count == 1);
    assert!(status.restarts[0].reason.contains("panicked"), "{:?}", status.restarts);
    assert!(matches!(process.outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn a_record_that_fails_every_time_stops_the_job_after_the_budget_and_is_named() {
    let mut world = bounded_world();
    world.job.restart.budget = Some(2);
    *world.trap.number.lock() = Some(500);
    world.valve.open_to(END);
    let error = world.start().outcome().unwrap_err();
    let JobError::Failed { reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains("the trap at 500 snapped") && reason.contains("\"number\":500"), "{reason}");
    let JobStatus::Failed { reason: stored } = world.head().head.status else { panic!("the failure is not durable") };
    assert_eq!(stored, *reason);
    assert_eq!(world.head().head.generation.0, 3, "every deployment is a generation of its own");
    // The next start is a request to try again; with the trap gone it succeeds.
    *world.trap.number.lock() = None;
    finish(&world);
}

#[test]
fn every_key_counts_on_where_it_stood() {
    let world = World::new();
    world.valve.open_to(KEYS * 10);
    let process = world.start();
    process.wait_read(KEYS * 10);
    process.stop();
    world.valve.open_to(KEYS * 20);
    let process = world.start();
    process.wait_read(KEYS * 10);
    process.checkpoint();
    eventually("the commit", || world.ledger.lines().len() > expected_lines(KEYS * 19).len());
    let counts = world.ledger.lines().into_iter().filter(|line| matches!(line, Line::Count { .. }));
    let expected = (0..KEYS).flat_map(|key| (1..=20).map(move |nth| Line::Count { key, nth }));
    assert!(counts.eq(expected));
}
