//! Savepoints are complete in themselves, and are restored by other jobs, in other places, at other parallelism.

use weir_api::resolved::RestoreFrom;
use weir_cluster::JobOutcome;
use weir_protocol::{Manifest, layout};

use crate::parts::expected_lines;
use crate::world::{World, chain, quiet_job};

const END: u64 = 1_500;

/// Another job, in another store, that begins with the savepoint in `place`.
fn restored_elsewhere(world: &World, savepoint: &str, slots: u32) -> World {
    let mut other = World::new();
    // The other world's opener finds the first world's objects below s3://elsewhere.
    for (key, body) in world.store.objects() {
        if key.starts_with(layout::SAVEPOINTS) {
            other.store.overwrite(&format!("moved/{key}"), body);
        }
    }
    other.job = quiet_job(slots);
    let uri = format!("s3://elsewhere/moved/savepoints/{savepoint}").parse().unwrap();
    other.job.restore_from = Some(RestoreFrom::Savepoint(uri));
    other.ledger = world.ledger.clone();
    other.numbers.end = Some(END);
    other.valve.open_to(END);
    other
}

#[test]
fn a_savepoint_taken_while_running_is_restored_at_any_parallelism() {
    for slots in [1, 2, 3, 7] {
        let world = World::new();
        world.valve.open_to(800);
        let process = world.start();
        process.wait_read(800);
        process.checkpoint();
        world.valve.open_to(1_000);
        process.wait_read(1_000);
        let savepoint = process.savepoint("before").unwrap();
        assert_eq!(savepoint.name, "before");
        process.crash();
        let other = restored_elsewhere(&world, "before", slots);
        let outcome = other.start().outcome();
        assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "{slots}: {outcome:?}");
        assert_eq!(world.ledger.lines(), expected_lines(END), "parallelism {slots}");
        assert_ne!(other.head().head.job_id, world.head().head.job_id, "a new history");
    }
}

#[test]
fn a_savepoint_that_does_not_come_at_once_is_asked_for_again() {
    let world = World::new();
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    process.savepoint("slow").unwrap();
    process.crash();
    let other = restored_elsewhere(&world, "slow", 2);
    for _ in 0..3 {
        let fault = weir_storage::Fault::FailBefore(weir_storage::StoreErrorKind::Unreachable);
        other.store.script(weir_storage::Operation::Get, fault);
    }
    let mut options = other.options();
    options.probe = false;
    let outcome = crate::world::Process::start(options).outcome();
    assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "{outcome:?}");
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn a_savepoint_needs_nothing_outside_its_folder() {
    let world = World::new();
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    let savepoint = process.savepoint("alone").unwrap();
    let prefix = layout::savepoint_prefix("alone");
    let manifest = &world.store.objects()[&layout::savepoint_manifest_key("alone")];
    let manifest = Manifest::decode("manifest.json", manifest).unwrap();
    assert_eq!(manifest.checkpoint, savepoint.checkpoint);
    assert!(!manifest.chain.is_empty());
    for run in &manifest.chain {
        let copy = world.store.objects()[&format!("{prefix}{}", run.object.key)].clone();
        weir_protocol::stored::verify(&run.object, &copy).unwrap();
    }
    assert_eq!(world.head().head.savepoints, [], "its sources are released");
    let taken = process.savepoint("alone").unwrap_err();
    assert!(taken.contains("savepoint alone exists already"), "{taken}");
    let bad = process.savepoint("../up").unwrap_err();
    assert!(bad.contains("lower-case letters, digits"), "{bad}");
    assert_eq!(process.status().restart_count, 0);
    process.crash();
}

#[test]
fn a_savepoint_survives_retention_and_a_stop() {
    let mut world = World::new();
    world.job.checkpoint.retained = 1;
    let process = world.start();
    world.valve.open_to(300);
    process.wait_read(300);
    process.savepoint("early").unwrap();
    for round in 2..=6 {
        world.valve.open_to(round * 150);
        process.wait_read(round * 150);
        process.checkpoint();
    }
    let stopped = process.stop_with_savepoint("last");
    assert!(stopped.with_final_checkpoint);
    let objects = world.store.objects();
    for name in ["early", "last"] {
        assert!(objects.contains_key(&layout::savepoint_manifest_key(name)), "{name}");
    }
    let other = restored_elsewhere(&world, "last", 2);
    assert!(matches!(other.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn a_stopped_jobs_checkpoint_starts_another_job_but_a_running_ones_does_not() {
    let world = World::new();
    world.valve.open_to(700);
    let process = world.start();
    process.wait_read(700);
    process.checkpoint();
    let move_to = |other: &mut World| {
        for (key, body) in world.store.objects() {
            other.store.overwrite(&format!("first/{key}"), body);
        }
        other.job.restore_from = Some(RestoreFrom::Journal("s3://elsewhere/first".parse().unwrap()));
        other.ledger = world.ledger.clone();
        other.numbers.end = Some(END);
        other.valve.open_to(END);
    };
    let mut early = World::new();
    move_to(&mut early);
    let refused = early.start().outcome().unwrap_err();
    assert!(chain(&refused).contains("still runs: stop it first"), "{refused}");
    process.stop();
    let mut other = World::new();
    move_to(&mut other);
    assert!(matches!(other.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn a_savepoint_copy_that_was_interrupted_is_finished_by_the_next_process() {
    let world = World::new();
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    // The copy cannot go on: reading the first object takes for ever.
    let slow = weir_storage::Fault::Delay(std::time::Duration::from_secs(3600));
    world.store.script(weir_storage::Operation::GetFile, slow);
    process.command(weir_cluster::JobCommand::Savepoint {
        name: "cut".to_owned(),
        reply: tokio::sync::oneshot::channel().0,
    });
    process.wait_for("the checkpoint", |status| status.completed == 1);
    process.crash();
    assert!(!world.store.objects().contains_key(&layout::savepoint_manifest_key("cut")));
    assert_eq!(world.head().head.savepoints.len(), 1, "the sources are kept");
    let process = world.start();
    crate::world::eventually("the copy", || world.store.objects().contains_key(&layout::savepoint_manifest_key("cut")));
    crate::world::eventually("the release", || world.head().head.savepoints.is_empty());
    process.crash();
}

#[test]
fn a_savepoint_is_not_complete_before_its_output_is_visible() {
    let world = World::new();
    world.valve.open_to(600);
    let process = world.start();
    process.wait_read(600);
    world.ledger.fail_commits(u64::MAX);
    process.command(weir_cluster::JobCommand::Savepoint {
        name: "hidden".to_owned(),
        reply: tokio::sync::oneshot::channel().0,
    });
    process.wait_for("the checkpoint", |status| status.completed == 1);
    let is_complete = || world.store.objects().contains_key(&layout::savepoint_manifest_key("hidden"));
    // The copy takes no longer than a read from memory: it would be there long before the fifth attempt to commit.
    crate::world::eventually("failed commits", || is_complete() || world.ledger.failed_commits() >= 5);
    assert!(!is_complete() && !world.ledger.hidden().is_empty());
    world.ledger.fail_commits(0);
    crate::world::eventually("the savepoint", is_complete);
    assert!(world.ledger.hidden().is_empty(), "all output before it is visible");
    process.crash();
    let other = restored_elsewhere(&world, "hidden", 2);
    assert!(matches!(other.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}

#[test]
fn rescaling_through_checkpoints_keeps_every_result() {
    let mut world = World::new();
    let mut read = 0;
    for (round, slots) in [1, 2, 4, 3, 7, 1].into_iter().enumerate() {
        world.job = quiet_job(slots);
        world.numbers.splits = 4;
        let process = world.start();
        let target = (round as u64 + 1) * 200;
        world.valve.open_to(target);
        process.wait_read(target - read);
        if round % 2 == 0 {
            process.checkpoint();
            process.crash();
        } else {
            process.stop();
        }
        read = target;
    }
    world.numbers.end = Some(END);
    world.valve.open_to(END);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(END));
}
