//! What cannot run is refused before anything is read, by name, and with the way out.

use std::sync::Arc;

use weir_api::resolved::RestoreFrom;
use weir_cluster::{GraphFactory, JobError, RunOptions};
use weir_engine::graph::Graph;
use weir_engine::time::WatermarkStrategy;
use weir_protocol::journal::Owner;
use weir_state::StateDescriptor;

use crate::parts::{CountAndSum, Line, Tick};
use crate::world::{Process, World, chain};

/// A world whose job was stopped after a checkpoint.
fn stopped_world() -> World {
    let world = World::new();
    world.valve.open_to(300);
    let process = world.start();
    process.wait_read(300);
    process.stop();
    world
}

fn refusal(options: RunOptions) -> String {
    chain(&Process::start(options).outcome().unwrap_err())
}

/// Asserts that a start is refused with these words and leaves the journal alone.
fn check_untouched(world: &World, options: RunOptions, words: &[&str]) {
    let before = world.head();
    let text = refusal(options);
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert_eq!(world.head(), before, "the journal was written to");
}

/// Asserts that a deployment is refused with these words, before any output, and that this is durable.
fn check_failed(world: &World, options: RunOptions, words: &[&str]) {
    let lines = world.ledger.lines();
    let text = refusal(options);
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert_eq!(world.ledger.lines(), lines, "there was output");
    assert!(world.head().head.status.is_settled());
}

fn with_graph(world: &World, graph: GraphFactory) -> RunOptions {
    RunOptions { graph, ..world.options() }
}

/// The counting graph with another operator id, another type of one state, or another operator.
fn changed_graph(world: &World, id: &'static str, count_type: &'static str) -> GraphFactory {
    let (numbers, ledger) = (world.numbers.clone(), world.ledger.clone());
    Arc::new(move || {
        let graph = Graph::new();
        let ticks = graph.source("numbers", numbers.clone(), WatermarkStrategy::ascending(|tick: &Tick| tick.time));
        let lines = ticks.key_by(|tick| tick.number % crate::parts::KEYS).process(id, move |states| {
            if count_type == "i64" {
                states.value::<i64>(StateDescriptor::new("count"))?;
            }
            let count = states.value(StateDescriptor::new(if count_type == "i64" { "other" } else { "count" }))?;
            let sums = states.map(StateDescriptor::new("sums"))?;
            Ok(CountAndSum::new(count, sums, Default::default()))
        });
        lines.filter(|_: &Line| true).sink("ledger", ledger.clone());
        graph.finish().map_err(|errors| format!("{errors:?}"))
    })
}

#[test]
fn a_parallelism_above_the_key_groups_is_refused() {
    let world = stopped_world();
    let mut options = world.options();
    options.job.parallelism = 200;
    check_untouched(
        &world,
        options,
        &["operator numbers would have 200 subtasks, allowed are 1 to 128", "lower workers or slots"],
    );
}

#[test]
fn a_changed_number_of_key_groups_is_refused() {
    let world = stopped_world();
    let mut options = world.options();
    options.job.max_parallelism = 256;
    check_failed(
        &world,
        options,
        &["has maxParallelism 128, the job says 256", "write 128, or start with restoreFrom empty"],
    );
}

#[test]
fn a_removed_stateful_operator_is_refused_by_name() {
    let world = stopped_world();
    let options = with_graph(&world, changed_graph(&world, "tally", "u64"));
    check_failed(
        &world,
        options,
        &["operator count has keyed state in checkpoint 1", "it has: tally", "restoreFrom empty"],
    );
}

#[test]
fn a_changed_state_type_is_refused_by_name() {
    let world = stopped_world();
    let options = with_graph(&world, changed_graph(&world, "count", "i64"));
    check_failed(&world, options, &["state count/count was stored with value type u64, the job declares i64"]);
}

#[test]
fn a_refused_job_runs_again_once_it_is_mended() {
    let mut world = stopped_world();
    let options = with_graph(&world, changed_graph(&world, "tally", "u64"));
    check_failed(&world, options, &["operator count"]);
    world.numbers.end = Some(500);
    world.valve.open_to(500);
    assert!(matches!(world.start().outcome(), Ok(weir_cluster::JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), crate::parts::expected_lines(500));
}

#[test]
fn an_unreadable_newest_checkpoint_stops_the_job_and_names_the_object() {
    let world = stopped_world();
    let key = world.head().head.newest().unwrap().manifest.key.clone();
    let mut bytes = world.store.objects()[&key].to_vec();
    bytes[100] ^= 1;
    world.store.overwrite(&key, bytes);
    check_failed(&world, world.options(), &["checkpoint 1 cannot be restored", &key, "restoreFrom checkpoint"]);
}

#[test]
fn a_missing_or_damaged_run_stops_the_job_and_names_the_object() {
    for is_damaged in [false, true] {
        let world = stopped_world();
        let objects = world.store.objects();
        let key = objects.keys().find(|key| key.starts_with("runs/")).unwrap().clone();
        if is_damaged {
            let mut bytes = objects[&key].to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x40;
            world.store.overwrite(&key, bytes);
        } else {
            world.store.overwrite(&key, "");
        }
        check_failed(&world, world.options(), &[&key]);
    }
}

#[test]
fn a_damaged_journal_entry_stops_everything_and_is_named() {
    let world = stopped_world();
    let key = world.head().key();
    world.store.overwrite(&key, "{\"format\":1}\n");
    let text = refusal(world.options());
    assert!(text.contains(&key), "{text}");
}

#[test]
fn another_owners_journal_is_refused_until_it_is_adopted() {
    let world = stopped_world();
    let mut options = world.options();
    options.owner = Owner("uid-2".to_owned());
    check_untouched(&world, options.clone(), &["of owner local, not of uid-2", "restoreFrom"]);
    options.job.restore_from = Some(RestoreFrom::Empty);
    options.metrics = prometheus::Registry::new();
    let adopted = Process::start(options);
    adopted.wait_running();
    adopted.stop();
    assert_eq!(world.head().head.owner, Owner("uid-2".to_owned()));
    let displaced = refusal(world.options());
    assert!(displaced.contains("displaced"), "{displaced}");
}

#[test]
fn restore_from_places_that_hold_nothing_are_refused() {
    let world = World::new();
    for (restore, words) in [
        (RestoreFrom::Savepoint("s3://elsewhere/savepoints/no".parse().unwrap()), "holds no complete savepoint"),
        (RestoreFrom::Journal("s3://elsewhere/no".parse().unwrap()), "holds no journal"),
        (RestoreFrom::Savepoint("s3://nowhere/x".parse().unwrap()), "s3://nowhere/x is nowhere"),
        (RestoreFrom::Checkpoint { id: 3, allow_duplicates: true }, "the storage holds none"),
    ] {
        let mut options = world.options();
        options.job.restore_from = Some(restore);
        let text = refusal(options);
        assert!(text.contains(words), "{words:?}: {text}");
        assert!(world.store.objects().is_empty());
    }
}

#[test]
fn a_store_without_create_if_absent_is_refused_with_the_reason() {
    let world = World::new();
    world.store.ignore_condition();
    let outcome = world.start().outcome();
    let Err(error @ JobError::Storage(_)) = &outcome else { panic!("{outcome:?}") };
    assert!(chain(error).contains("does not honour create-if-absent"), "{}", chain(error));
}

#[test]
fn a_graph_or_a_connector_that_refuses_is_named_before_anything_is_written() {
    let world = World::new();
    let text =
        refusal(with_graph(&world, Arc::new(|| Err("argument events: found -1, allowed is 0 or more".to_owned()))));
    assert!(text.contains("argument events: found -1"), "{text}");
    assert!(world.store.objects().is_empty());
}
