//! Two coordinators on one store: the older one leaves, and writes nothing once a newer one reigns.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use weir_cluster::JobOutcome;
use weir_protocol::{Generation, layout};
use weir_storage::Operation;

use crate::parts::expected_lines;
use crate::world::World;

/// A process that was replaced has to be gone within this time.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// Objects that only the journal makes true: manifests and journal entries, by generation.
fn manifests_of(world: &World, generation: u64) -> BTreeSet<String> {
    let objects = world.store.objects();
    let of = |key: &&String| layout::parse_manifest_key(key).is_some_and(|(_, found)| found == Generation(generation));
    objects.keys().filter(of).cloned().collect()
}

#[test]
fn an_idle_coordinator_that_is_replaced_leaves_within_five_seconds() {
    let world = World::new();
    world.valve.open_to(300);
    let old = world.start();
    old.wait_read(300);
    old.checkpoint();
    let new = world.start();
    new.wait_running();
    let replaced = Instant::now();
    let JobOutcome::Fenced { by } = old.outcome().unwrap() else { panic!("not fenced") };
    assert!(replaced.elapsed() < LEAVE_WITHIN, "{:?}", replaced.elapsed());
    assert_eq!(by.generation, Some(Generation(2)));
    new.crash();
}

#[test]
fn a_replaced_coordinator_publishes_and_commits_nothing_more() {
    let mut world = World::new();
    world.valve.open_to(600);
    let old = world.start();
    old.wait_read(600);
    old.checkpoint();
    crate::world::eventually("the commit", || world.ledger.hidden().is_empty());
    let new = world.start();
    new.wait_running();
    let (manifests, pieces) = (manifests_of(&world, 1), world.ledger.pieces());
    // The old one does not know yet, and is asked for another checkpoint.
    world.valve.open_to(900);
    let refused = old.try_checkpoint().unwrap_err();
    assert!(refused.contains("Fenced"), "{refused}");
    assert!(matches!(old.outcome(), Ok(JobOutcome::Fenced { .. })));
    assert!(manifests_of(&world, 1).len() <= manifests.len() + 1, "at most the one that was under way");
    let of_old = |pieces: &BTreeSet<String>| {
        pieces.iter().filter(|name| name.starts_with("g1-")).cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(of_old(&world.ledger.pieces()), of_old(&pieces), "no output of the old one became visible");
    new.stop();
    world.numbers.end = Some(1_200);
    world.valve.open_to(1_200);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(1_200));
}

#[test]
fn a_claim_while_the_old_ones_append_is_unanswered_fences_it() {
    let mut world = World::new();
    world.valve.open_to(600);
    let old = world.start();
    old.wait_read(600);
    // The entry's create hangs; meanwhile a new coordinator claims its slot.
    world.store.script(Operation::Create, weir_storage::Fault::Delay(Duration::from_secs(3)));
    old.request_checkpoint();
    std::thread::sleep(Duration::from_millis(500));
    let new = world.start();
    new.wait_running();
    assert!(matches!(old.outcome(), Ok(JobOutcome::Fenced { .. })));
    assert!(world.ledger.pieces().iter().all(|name| !name.starts_with("g1-")), "{:?}", world.ledger.pieces());
    new.stop();
    world.numbers.end = Some(900);
    world.valve.open_to(900);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(900));
}

#[test]
fn the_next_generation_sweeps_what_older_ones_left_and_nothing_else() {
    let mut world = World::new();
    world.job.checkpoint.interval = weir_api::Duration::from_millis(10);
    for round in 1..=6 {
        world.valve.open_to(round * 300);
        let process = world.start();
        process.wait_running();
        std::thread::sleep(Duration::from_millis(60));
        process.crash();
    }
    // What a crashed generation left half done, and what a later one is about to write.
    world.store.overwrite("runs/g1/0/orphan.sst", "x");
    world.store.overwrite("manifests/c0000000999-g1.json", "x");
    world.store.overwrite("runs/g999/0/future.sst", "x");
    let process = world.start();
    let gone = |key: &str| !world.store.objects().contains_key(key);
    crate::world::eventually("the sweep", || gone("runs/g1/0/orphan.sst") && gone("manifests/c0000000999-g1.json"));
    assert!(!gone("runs/g999/0/future.sst"), "a newer generation's objects are not ours to delete");
    process.stop();
    world.numbers.end = Some(2_000);
    world.valve.open_to(2_000);
    assert!(matches!(world.start().outcome(), Ok(JobOutcome::Finished { .. })));
    assert_eq!(world.ledger.lines(), expected_lines(2_000));
}
