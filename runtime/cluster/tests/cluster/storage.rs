//! An outage of the storage, a full or a flaky one: the job goes on, nothing restarts, nothing is lost.

use std::time::Duration;

use weir_cluster::{JobOutcome, PreviewError};
use weir_storage::{Fault, FaultRates, Operation, StoreErrorKind};

use crate::parts::expected_lines;
use crate::world::{World, eventually};

#[test]
fn an_outage_restarts_nothing_and_checkpoints_resume_after_it() {
    let mut world = World::new();
    world.job.checkpoint.interval = weir_api::Duration::from_millis(30);
    world.job.checkpoint.timeout = weir_api::Duration::from_millis(150);
    world.job.checkpoint.tolerable_failures = 0;
    world.valve.open_to(500);
    let process = world.start();
    process.wait_for("a checkpoint", |status| status.completed >= 2);
    world.store.set_outage(true);
    let before = process.wait_for("aborts", |status| status.failed.get("storage").copied().unwrap_or(0) >= 3);
    world.valve.open_to(2_000);
    process.wait_read(2_000);
    world.store.set_outage(false);
    let after = process.wait_for("a checkpoint after the outage", |status| status.completed > before.completed + 1);
    assert_eq!((after.restart_count, after.generation), (0, before.generation));
    assert_eq!(after.failed.keys().collect::<Vec<_>>(), [&"storage"], "no failure counts");
    process.stop();
    world.numbers.end = Some(2_500);
    world.valve.open_to(2_500);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(2_500));
}

#[test]
fn an_upload_that_failed_in_an_outage_restarts_nothing_after_it() {
    let mut world = World::new();
    world.job.checkpoint.interval = weir_api::Duration::from_millis(30);
    world.job.checkpoint.timeout = weir_api::Duration::from_millis(150);
    world.job.checkpoint.tolerable_failures = 0;
    world.valve.open_to(500);
    let process = world.start();
    process.wait_for("a checkpoint", |status| status.completed >= 2);
    let uploads = || world.store.calls(Operation::PutFile);
    world.store.set_outage(true);
    let before = uploads();
    world.valve.open_to(600);
    // Every attempt waits longer than the one before: after the fifth, no call fails for several timeouts.
    eventually("failed uploads", || uploads() >= before + 5 || process.status().restart_count > 0);
    let completed = process.status().completed;
    world.store.set_outage(false);
    let after = process.wait_for("checkpoints after the outage", |status| status.completed > completed + 1);
    assert_eq!(after.restart_count, 0, "{:?}", after.restarts);
    assert_eq!(after.failed.keys().collect::<Vec<_>>(), [&"storage"], "no failure counts");
    process.stop();
    world.numbers.end = Some(1_000);
    world.valve.open_to(1_000);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}

#[test]
fn a_restore_waits_for_the_storage_to_come_back() {
    let mut world = World::new();
    world.numbers.end = Some(1_000);
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    process.checkpoint();
    process.crash();
    let mut options = world.options();
    options.probe = false;
    world.store.set_outage(true);
    let process = crate::world::Process::start(options);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(process.status().state.name(), "starting");
    world.store.set_outage(false);
    process.wait_running();
    world.valve.open_to(1_000);
    assert!(matches!(process.outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}

/// A world whose job crashed after a checkpoint, and may not fail once.
fn crashed_world() -> World {
    let mut world = World::new();
    world.job.restart.budget = Some(0);
    world.numbers.end = Some(1_000);
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    process.checkpoint();
    process.crash();
    world
}

#[test]
fn downloads_that_fail_for_a_while_are_no_failure_of_the_job() {
    let world = crashed_world();
    for _ in 0..6 {
        world.store.script(Operation::GetFile, Fault::FailBefore(StoreErrorKind::Unreachable));
    }
    world.valve.open_to(1_000);
    let outcome = world.start().outcome();
    assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "{outcome:?}");
    assert_eq!(world.head().head.generation.0, 2, "one deployment, however often it was prepared");
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}

#[test]
fn a_restore_that_waits_for_the_storage_can_be_stopped() {
    let world = crashed_world();
    for _ in 0..10_000 {
        world.store.script(Operation::GetFile, Fault::FailBefore(StoreErrorKind::Unreachable));
    }
    let process = world.start();
    let before = world.store.calls(Operation::GetFile);
    eventually("attempts", || world.store.calls(Operation::GetFile) >= before + 3);
    assert_eq!(process.status().state.name(), "deploying");
    assert!(!process.stop().with_final_checkpoint);
}

#[test]
fn a_preview_tells_storage_that_does_not_answer_from_a_manifest_that_cannot_be_read() {
    let world = crashed_world();
    let ask = |fault| {
        // The journal's entry is read before the manifest.
        world.store.script(Operation::Get, Fault::Delay(Duration::ZERO));
        world.store.script(Operation::Get, fault);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(weir_cluster::preview(&world.options())).unwrap_err()
    };
    let unanswered = ask(Fault::FailBefore(StoreErrorKind::Timeout));
    assert!(matches!(unanswered, PreviewError::Manifest { .. }) && unanswered.can_retry(), "{unanswered:?}");
    let missing = ask(Fault::FailBefore(StoreErrorKind::NotFound));
    assert!(matches!(missing, PreviewError::Manifest { .. }) && !missing.can_retry(), "{missing:?}");
}

#[test]
fn a_flaky_store_costs_time_and_nothing_else() {
    for seed in 1..=4 {
        let mut world = World::new();
        world.job.checkpoint.interval = weir_api::Duration::from_millis(20);
        world.numbers.end = Some(3_000);
        world.valve.open_to(200);
        let process = world.start();
        process.wait_running();
        let rates = FaultRates {
            fail_before: 0.1,
            fail_after: 0.1,
            land_later: 0.05,
            short_read: 0.02,
            ..FaultRates::default()
        };
        world.store.set_rates(seed, rates);
        for step in 2..15 {
            world.valve.open_to(step * 200);
            let before = process.status().completed;
            process.wait_for("checkpoints", |status| status.completed > before + 2);
        }
        // The last records end the job, so there is no further checkpoint to wait for.
        world.valve.open_to(3_000);
        let outcome = process.outcome();
        assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "seed {seed}: {outcome:?}");
        assert_eq!(world.ledger.lines(), expected_lines(3_000), "seed {seed}");
        assert!(world.store.faults_injected() > 40, "seed {seed}: {} faults", world.store.faults_injected());
    }
}

#[test]
fn a_failing_deletion_holds_no_checkpoint_up() {
    let mut world = World::new();
    world.job.checkpoint.retained = 1;
    let process = world.start();
    for round in 1..=8 {
        world.store.script(Operation::Delete, Fault::FailBefore(StoreErrorKind::Unreachable));
        world.valve.open_to(round * 100);
        process.wait_read(round * 100);
        process.checkpoint();
    }
    let manifests = || world.store.objects().keys().filter(|key| key.starts_with("manifests/")).count();
    for round in 9..=12 {
        world.valve.open_to(round * 100);
        process.wait_read(round * 100);
        process.checkpoint();
    }
    eventually("the deletions to catch up", || manifests() <= 2);
    process.crash();
}
