//! Processes that are stopped, replaced, and continued: they find out, and have changed nothing.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_protocol::layout;

use crate::job::{Job, Place, Plan};
use crate::oracle;
use crate::random::{Random, number};
use crate::store::Store;

/// How soon a process must be gone once it runs again.
const GONE: Duration = Duration::from_secs(5);
/// How long a checkpoint of the new process may take.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// Manifests of this generation or an older one.
fn old_manifests(store: &Store, generation: u64) -> BTreeSet<String> {
    let objects = store.objects().into_keys();
    objects.filter(|key| layout::parse_manifest_key(key).is_some_and(|(_, of)| of.0 <= generation)).collect()
}

/// The checkpoints whose output is visible.
fn visible_epochs(job: &Job) -> BTreeSet<u64> {
    let paths = oracle::SINKS.iter().flat_map(|sink| oracle::files(&job.output().join(sink)).0);
    paths.map(|path| path.file_name().unwrap().to_string_lossy().split('-').nth(1).unwrap().parse().unwrap()).collect()
}

fn check(name: &str, zombies: u64, place: &Place) {
    let mut random = Random::shown(name);
    let job = Job::new(&Plan { rows: 8, ..Plan::seconds(zombies * 3 + 5) }, place, &mut random);
    let store = job.store();
    let mut reigning = job.start::<&str>("work-0", &[]);
    let mut slowest = Duration::ZERO;
    let mut in_checkpoint = 0;
    for zombie in 0..zombies {
        reigning.until_checkpoints(1, CHECKPOINT);
        sleep(Duration::from_micros(random.below(200_000)));
        if zombie % 3 == 0 {
            reigning.until_just("in a checkpoint", CHECKPOINT, |status| status["in_flight"].is_u64());
            in_checkpoint += 1;
            sleep(Duration::from_micros(random.below(8000)));
        }
        reigning.signal(Signal::STOP);
        let old = store.head().0;
        let mut successor = job.start::<&str>(&format!("work-{}", (zombie + 1) % 2), &[]);
        successor.until_checkpoints(1 + random.below(2), CHECKPOINT);
        let manifests = old_manifests(&store, old);

        reigning.signal(Signal::CONT);
        let continued = Instant::now();
        let code = reigning.wait(GONE);
        slowest = slowest.max(continued.elapsed());
        assert_eq!(code, 3, "zombie {zombie}: {}", reigning.log());

        let written: BTreeSet<_> = old_manifests(&store, old).difference(&manifests).cloned().collect();
        assert!(written.is_empty(), "zombie {zombie} of generation {old} wrote {written:?}: {}", reigning.log());
        let mut generation = 0;
        for entry in store.entries() {
            assert!(
                entry.head.generation.0 >= generation,
                "zombie {zombie}: entry {} of an older generation",
                entry.sequence
            );
            generation = entry.head.generation.0;
        }
        assert!(generation > old, "the successor claimed the journal");
        let visible = visible_epochs(&job).last().copied().unwrap_or(0);
        assert!(
            visible <= store.head().1,
            "zombie {zombie}: output of checkpoint {visible} is visible, it does not exist"
        );
        job.judge_running();
        reigning = successor;
    }
    // Whatever a zombie deleted, a restore would miss.
    reigning.kill();
    job.finish("work-0");
    job.judge_finished();
    println!(
        "{name}: {zombies} zombies, {in_checkpoint} stopped in a checkpoint; the slowest was gone after {slowest:?}"
    );
}

fn zombies() -> u64 {
    number("WEIR_CHAOS_ZOMBIES", 5)
}

#[test]
fn a_process_that_was_stopped_and_replaced_changes_nothing_and_ends() {
    check("zombies in a directory", zombies(), &Place::Own);
}

#[test]
fn a_process_that_was_stopped_and_replaced_changes_nothing_in_a_bucket_and_ends() {
    let bucket = crate::faults::Bucket::start();
    check("zombies in a bucket", zombies().div_ceil(2), &bucket.place("zombie"));
}
