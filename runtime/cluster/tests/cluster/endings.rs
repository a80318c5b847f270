//! Stopping, finishing and failing are durable; leaving at once is not.

use weir_api::resolved::RestoreFrom;
use weir_cluster::{JobCommand, JobOutcome, RunOptions};
use weir_protocol::CheckpointId;
use weir_protocol::journal::{JobStatus, RevisionRule};

use crate::parts::expected_lines;
use crate::world::{Process, World};

fn numbered(options: RunOptions, revision: u64) -> RunOptions {
    RunOptions { revision: RevisionRule::Numbered(revision), ..options }
}

#[test]
fn a_stopped_job_took_a_final_checkpoint_and_goes_on_from_it() {
    let mut world = World::new();
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    let stopped = process.stop();
    assert!(stopped.with_final_checkpoint);
    let head = world.head().head;
    assert_eq!((&head.status, head.restore.checkpoint()), (&JobStatus::Stopped, stopped.checkpoint));
    assert!(world.ledger.hidden().is_empty(), "all output is committed");
    world.numbers.end = Some(1_000);
    world.valve.open_to(1_000);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}

#[test]
fn stopping_fires_no_window() {
    let world = World::new();
    world.valve.open_to(75);
    let process = world.start();
    process.wait_read(75);
    process.stop();
    let windows =
        world.ledger.lines().into_iter().filter(|line| matches!(line, crate::parts::Line::Window { start: 50.., .. }));
    assert_eq!(windows.count(), 0, "the window from 50 on is open still");
}

#[test]
fn a_settled_job_serves_its_status_and_deploys_nothing_until_a_higher_revision() {
    let mut world = World::new();
    world.numbers.end = Some(300);
    world.valve.open_to(300);
    let finished = Process::start(numbered(world.options(), 1)).outcome();
    assert!(matches!(finished, Ok(JobOutcome::Finished { checkpoint: Some(_) })), "{finished:?}");
    let before = world.head();
    let again = Process::start(numbered(world.options(), 1)).outcome();
    assert_eq!(again.unwrap(), JobOutcome::Settled(JobStatus::Finished));
    assert_eq!(world.head(), before, "nothing was written");
    let higher = Process::start(numbered(world.options(), 2)).outcome();
    assert!(matches!(higher, Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(300));
}

#[test]
fn a_finished_job_stays_finished_when_it_is_asked_to_run_unchanged() {
    let mut world = World::new();
    world.numbers.end = Some(300);
    world.valve.open_to(300);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.start().outcome().unwrap(), JobOutcome::Settled(JobStatus::Finished));
}

#[test]
fn leaving_at_once_writes_nothing_and_the_next_start_goes_on() {
    let mut world = World::new();
    world.valve.open_to(500);
    let process = world.start();
    process.wait_read(500);
    process.checkpoint();
    let before = world.head();
    process.command(JobCommand::Cancel);
    assert_eq!(process.outcome().unwrap(), JobOutcome::Cancelled);
    assert_eq!(world.head(), before);
    world.numbers.end = Some(700);
    world.valve.open_to(700);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(700));
}

#[test]
fn a_stop_without_a_final_checkpoint_in_time_stops_with_the_latest() {
    let mut world = World::new();
    world.job.wishes.upgrade.final_checkpoint_timeout = weir_api::Duration::from_millis(300);
    world.valve.open_to(500);
    let process = world.start();
    process.wait_read(500);
    let latest = process.checkpoint();
    world.valve.open_to(900);
    process.wait_read(900);
    let slow = weir_storage::Fault::Delay(std::time::Duration::from_secs(5));
    world.store.script(weir_storage::Operation::PutFile, slow);
    let stopped = process.stop();
    assert_eq!((stopped.with_final_checkpoint, stopped.checkpoint), (false, Some(latest.id)));
    assert_eq!(world.head().head.status, JobStatus::Stopped);
    world.numbers.end = Some(1_000);
    world.valve.open_to(1_000);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}

#[test]
fn an_older_checkpoint_is_restored_on_request_only_and_with_consent_to_duplicates() {
    let mut world = World::new();
    world.valve.open_to(400);
    let process = world.start();
    process.wait_read(400);
    let old = process.checkpoint();
    world.valve.open_to(800);
    process.wait_read(800);
    process.stop();
    let restore = |allow_duplicates| Some(RestoreFrom::Checkpoint { id: old.id.0, allow_duplicates });
    world.job.restore_from = restore(false);
    let refused = world.start().outcome().unwrap_err().to_string();
    assert!(refused.contains("allowDuplicates"), "{refused}");
    world.job.restore_from = restore(true);
    let process = world.start();
    let status = process.wait_for("a restore", |status| status.state.name() == "running");
    assert_eq!(status.restored_from, Some(old.id));
    let next = process.checkpoint();
    assert!(next.id > CheckpointId(2), "ids are never reused");
    process.crash();
    // The same value is consumed: the job goes on from its newest checkpoint.
    let process = world.start();
    let status = process.wait_for("a restore", |status| status.state.name() == "running");
    assert_eq!(status.restored_from, Some(next.id));
    process.crash();
}
