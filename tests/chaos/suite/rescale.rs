//! Another parallelism at every start, by checkpoint, by stop and by savepoint, with kills in between.

use serde_json::json;

use crate::job::{FINISH, FULL_SPEED, Job, NAME, Place, Plan};
use crate::kill::{Aim, Landings, start_and_kill};
use crate::random::Random;

/// How a job gets from one parallelism to the next.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// It is killed, and restored from its latest checkpoint.
    Kill,
    /// It is stopped with a final checkpoint.
    Stop,
    /// It is stopped with a savepoint, from which a job in another directory begins.
    Savepoint,
}

fn rescale(backend: &'static str, ways: [Way; 5]) {
    let mut random = Random::shown("rescale");
    let mut job = Job::new(&Plan { files: 8, backend, ..Plan::seconds(16) }, &Place::Own, &mut random);
    let mut landings = Landings::default();
    let mut flags: Vec<String> = Vec::new();
    for (step, (parallelism, way)) in [1, 2, 4, 3, 7].into_iter().zip(ways).enumerate() {
        job.set("worker", "slots", parallelism);
        let work = format!("work-{step}");
        let mut running = job.start(&work, &flags);
        running.until_checkpoints(3, FINISH);
        running.kill();
        flags.clear();
        for aim in [Aim::Checkpoint, Aim::Restore] {
            landings.note(start_and_kill(&job, &mut random, aim, &work));
        }
        let mut running = job.start::<&str>(&work, &[]);
        running.until_checkpoints(2, FINISH);
        match way {
            Way::Kill => running.kill(),
            Way::Stop => {
                running.ask(&json!({"request": "stop"})).unwrap();
                assert_eq!(running.wait(FINISH), 0, "{}", running.log());
                assert_eq!(running.report()["outcome"], "stopped");
            }
            Way::Savepoint => {
                let name = format!("before-{step}");
                running.ask(&json!({"request": "stop", "savepoint": name})).unwrap();
                assert_eq!(running.wait(FINISH), 0, "{}", running.log());
                let savepoint = format!("savepoint:{}/savepoints/{name}", job.uri());
                let storage = job.path().join(format!("store-{step}"));
                job.move_storage(&storage);
                flags = vec!["--restore-from".to_owned(), savepoint];
            }
        }
        job.judge_running();
    }
    job.set("worker", "slots", 1);
    flags.extend(FULL_SPEED.map(str::to_owned));
    job.start("work-end", &flags).finish(FINISH);
    job.judge_finished();
    println!("{NAME} on {backend} by {ways:?}: {landings:?}");
}

#[test]
fn results_are_exact_when_parallelism_changes_through_kills_stops_and_savepoints() {
    rescale("RocksDB", [Way::Kill, Way::Stop, Way::Savepoint, Way::Kill, Way::Savepoint]);
}

#[test]
fn results_are_exact_when_parallelism_changes_with_state_in_memory() {
    rescale("Memory", [Way::Savepoint, Way::Kill, Way::Stop, Way::Savepoint, Way::Stop]);
}
