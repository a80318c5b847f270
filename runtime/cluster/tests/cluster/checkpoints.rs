//! When checkpoints are taken, what becomes of aborted ones, and what is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_cluster::JobOutcome;
use weir_protocol::{CheckpointId, Manifest, layout};
use weir_storage::{Fault, Operation, StoreErrorKind};

use crate::parts::expected_lines;
use crate::world::{World, eventually};

#[test]
fn checkpoints_are_triggered_by_time() {
    let mut world = World::new();
    world.job.checkpoint.interval = weir_api::Duration::from_millis(20);
    world.valve.open_to(500);
    let process = world.start();
    let status = process.wait_for("five checkpoints", |status| status.completed >= 5);
    assert!(status.failed.is_empty(), "{status:?}");
    assert_eq!(status.last_checkpoint.as_ref().unwrap().id.0, status.completed);
    process.crash();
}

#[test]
fn checkpoints_are_triggered_by_records_and_by_bytes() {
    for by_bytes in [false, true] {
        let mut world = World::new();
        let bound =
            if by_bytes { &mut world.job.checkpoint.every_bytes } else { &mut world.job.checkpoint.every_records };
        *bound = Some(if by_bytes { 1_000 * size_of::<crate::parts::Tick>() as u64 } else { 1_000 });
        world.valve.open_to(900);
        let process = world.start();
        process.wait_read(900);
        assert_eq!(process.status().completed, 0, "900 are not enough");
        world.valve.open_to(1_200);
        process.wait_for("the first", |status| status.completed == 1);
        world.valve.open_to(2_600);
        process.wait_for("the second", |status| status.completed == 2);
        process.crash();
    }
}

#[test]
fn the_newest_checkpoints_are_kept_and_what_only_older_ones_named_is_deleted() {
    let mut world = World::new();
    world.job.checkpoint.retained = 3;
    let process = world.start();
    for round in 1..=12 {
        world.valve.open_to(round * 200);
        process.wait_read(round * 200);
        process.checkpoint();
    }
    let head = world.head().head;
    let ids: Vec<u64> = head.checkpoints.iter().map(|entry| entry.id.0).collect();
    assert_eq!(ids, [10, 11, 12]);
    let manifests = || -> BTreeSet<CheckpointId> {
        let objects = world.store.objects();
        objects.keys().filter_map(|key| layout::parse_manifest_key(key)).map(|(id, _)| id).collect()
    };
    // Dropped ones go four at a time.
    eventually("old manifests to go", || manifests() == BTreeSet::from([9, 10, 11, 12].map(CheckpointId)));
    let objects = world.store.objects();
    for entry in &head.checkpoints {
        let manifest = Manifest::decode(&entry.manifest.key, &objects[&entry.manifest.key]).unwrap();
        assert!(!manifest.chain.is_empty());
        for run in &manifest.chain {
            let bytes = objects.get(&run.object.key).unwrap_or_else(|| panic!("{} is gone", run.object.key));
            weir_protocol::stored::verify(&run.object, bytes).unwrap();
        }
    }
    process.crash();
}

#[test]
fn a_checkpoint_costs_few_requests() {
    let world = World::new();
    let process = world.start();
    let calls = || {
        let operations = [
            Operation::Put,
            Operation::PutFile,
            Operation::Create,
            Operation::Get,
            Operation::GetFile,
            Operation::List,
            Operation::Delete,
            Operation::Head,
        ];
        operations.map(|operation| world.store.calls(operation)).iter().sum::<u64>()
    };
    let round = |number: u64| {
        world.valve.open_to(number * 100);
        process.wait_read(number * 100);
        process.checkpoint();
    };
    (1..=20).for_each(round);
    let before = calls();
    (21..=60).for_each(round);
    let per_checkpoint = (calls() - before) as f64 / 40.0;
    // The journal's head is also looked at every two seconds, which is not a checkpoint's cost.
    assert!(per_checkpoint <= 6.5, "{per_checkpoint} requests per checkpoint");
    process.crash();
}

#[test]
fn an_aborted_checkpoints_output_is_passed_on_to_the_next() {
    let mut world = World::new();
    world.job.checkpoint.timeout = weir_api::Duration::from_millis(200);
    world.valve.open_to(1_000);
    let process = world.start();
    process.wait_read(1_000);
    // The run's upload takes longer than the checkpoint may.
    world.store.script(Operation::PutFile, Fault::Delay(Duration::from_millis(900)));
    let refused = process.try_checkpoint().unwrap_err();
    assert!(refused.contains("checkpoint 1 "), "{refused}");
    assert_eq!(world.ledger.lines(), []);
    eventually("the output to be prepared", || !world.ledger.hidden().is_empty());
    world.valve.open_to(1_500);
    process.wait_read(1_500);
    let mut completed = process.try_checkpoint();
    while completed.is_err() {
        completed = process.try_checkpoint();
    }
    eventually("the commit", || world.ledger.hidden().is_empty());
    let first = world.ledger.pieces().into_iter().filter(|name| name.ends_with("-e1")).count();
    assert!(first > 0, "output of the aborted epoch is committed: {:?}", world.ledger.pieces());
    assert_eq!(process.status().restart_count, 0);
    let counts = |lines: Vec<crate::parts::Line>| {
        lines.into_iter().filter(|line| matches!(line, crate::parts::Line::Count { .. })).collect::<Vec<_>>()
    };
    assert_eq!(counts(world.ledger.lines()), counts(expected_lines(1_500)));
    process.crash();
}

#[test]
fn too_many_failed_checkpoints_restart_the_job() {
    let mut world = World::new();
    world.job.checkpoint.timeout = weir_api::Duration::from_millis(50);
    world.job.checkpoint.interval = weir_api::Duration::from_millis(20);
    world.job.checkpoint.tolerable_failures = 1;
    world.valve.open_to(100);
    for _ in 0..4 {
        world.store.script(Operation::PutFile, Fault::Delay(Duration::from_secs(2)));
    }
    let process = world.start();
    let status = process.wait_for("a restart", |status| status.restart_count > 0);
    assert!(status.restarts[0].reason.contains("2 checkpoints in a row failed"), "{:?}", status.restarts);
    assert!(status.failed["timeout"] >= 2, "{:?}", status.failed);
    process.crash();
}

#[test]
fn an_append_of_unknown_outcome_completes_its_checkpoint_once() {
    for fault in [
        Fault::FailAfter(StoreErrorKind::Timeout),
        Fault::FailBefore(StoreErrorKind::Timeout),
        Fault::LandLater { calls: 2 },
    ] {
        let world = World::new();
        world.valve.open_to(500);
        let process = world.start();
        process.wait_read(500);
        world.store.script(Operation::Create, fault);
        assert_eq!(process.checkpoint().id, CheckpointId(1), "{fault:?}");
        eventually("the commit", || world.ledger.hidden().is_empty() && !world.ledger.pieces().is_empty());
        assert_eq!(world.head().head.newest().unwrap().id, CheckpointId(1));
        process.stop();
    }
}

#[test]
fn commits_that_fail_for_a_while_are_repeated_and_hold_nobody_up() {
    let world = World::new();
    world.valve.open_to(500);
    let process = world.start();
    process.wait_read(500);
    world.ledger.fail_commits(4);
    process.checkpoint();
    world.valve.open_to(800);
    process.wait_read(800);
    process.checkpoint();
    eventually("the commits", || world.ledger.hidden().is_empty());
    assert_eq!(process.status().restart_count, 0);
    assert!(process.stop().with_final_checkpoint);
}

#[test]
fn the_timeline_of_every_subtask_is_kept_with_the_checkpoint() {
    let world = World::new();
    world.valve.open_to(5_000);
    let process = world.start();
    process.wait_read(5_000);
    process.checkpoint();
    let entry = world.head().head.newest().unwrap().clone();
    let manifest = Manifest::decode(&entry.manifest.key, &world.store.objects()[&entry.manifest.key]).unwrap();
    let tasks: BTreeSet<_> = manifest.timeline.iter().map(|line| (line.operator.as_str(), line.subtask.0)).collect();
    assert_eq!(tasks, BTreeSet::from([("count", 0), ("count", 1), ("numbers", 0), ("numbers", 1)]));
    for line in &manifest.timeline {
        assert!(line.trigger_at_us > 0 && line.end_us >= line.alignment_end_us, "{line:?}");
        assert!(line.alignment_end_us >= line.alignment_start_us, "{line:?}");
        assert!(line.upload_us <= line.async_us, "{line:?}");
    }
    assert!(manifest.timeline.iter().any(|line| line.bytes > 0 && line.async_us > 0));
    let count = manifest.operators.iter().find(|operator| operator.operator.as_str() == "count").unwrap();
    assert_eq!((count.records_in, count.stateful, count.parallelism), (5_000, true, 2));
    assert!(count.watermarks.iter().all(Option::is_some));
    process.crash();
}

#[test]
fn a_process_that_stands_still_all_the_time_completes_its_checkpoints_all_the_same() {
    let mut world = World::new();
    let options = weir_cluster::RunOptions { restless: true, ..world.options() };
    let metrics = options.metrics.clone();
    let withdrawn = || {
        let families = metrics.gather();
        let family = families.iter().find(|family| family.name() == "weir_checkpoint_manifests_withdrawn_total");
        family.map_or(0.0, |family| family.get_metric()[0].get_counter().get_value())
    };
    let process = crate::world::Process::start(options);
    for round in 1..=4 {
        world.valve.open_to(round * 200);
        process.wait_read(round * 200);
        process.checkpoint();
    }
    let status = process.status();
    assert_eq!((status.completed, status.restart_count, status.failed.len()), (4, 0, 0), "{status:?}");
    assert_eq!(withdrawn(), 12.0, "each manifest is withdrawn three times and no more");
    process.stop();
    world.numbers.end = Some(1_000);
    world.valve.open_to(1_000);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_000));
}
