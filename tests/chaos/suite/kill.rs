//! `kill -9` at random moments, in checkpoints and in restores above all; then everything is counted.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::job::{FULL_SPEED, Job, Place, Plan};
use crate::oracle;
use crate::process::Running;
use crate::random::{Random, number};

/// When a process is to be killed.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// Some time after its start.
    Anywhere,
    /// While a checkpoint is under way.
    Checkpoint,
    /// While state is being restored.
    Restore,
    /// Shortly after its start.
    Early,
}

/// One kill in five in a restore, two in a checkpoint.
const AIMS: [Aim; 10] = [
    Aim::Checkpoint,
    Aim::Restore,
    Aim::Anywhere,
    Aim::Checkpoint,
    Aim::Early,
    Aim::Checkpoint,
    Aim::Restore,
    Aim::Anywhere,
    Aim::Checkpoint,
    Aim::Anywhere,
];

/// Where a kill landed, judged by what is in the storage afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Landing {
    BeforeClaim,
    Restore,
    /// A checkpoint had begun and is not in the journal.
    Checkpoint,
    /// A checkpoint is in the journal and some of its output is not visible.
    Commit,
    Running,
}

/// How often kills landed where.
#[derive(Debug, Default)]
pub struct Landings(BTreeMap<Landing, u64>);

impl Landings {
    pub fn note(&mut self, landing: Landing) {
        *self.0.entry(landing).or_default() += 1;
    }

    fn share(&self, landings: &[Landing]) -> f64 {
        let counted: u64 = landings.iter().filter_map(|landing| self.0.get(landing)).sum();
        counted as f64 / self.0.values().sum::<u64>().max(1) as f64
    }
}

/// Starts the job and kills it.
pub fn start_and_kill(job: &Job, random: &mut Random, aim: Aim, work: &str) -> Landing {
    let (generation, _) = job.store().head();
    let mut running = job.start::<&str>(work, &[]);
    match aim {
        Aim::Anywhere => sleep(Duration::from_micros(random.between(50_000, 700_000))),
        Aim::Early => sleep(Duration::from_micros(random.below(50_000))),
        Aim::Checkpoint => {
            running.until_running();
            sleep(Duration::from_micros(random.between(10_000, 350_000)));
            running.until_just("in a checkpoint", Duration::from_secs(60), |status| status["in_flight"].is_u64());
            sleep(Duration::from_micros(random.below(8000)));
        }
        Aim::Restore => {
            let phases = ["deploying", "running"];
            running.until_just("deploying", Duration::from_secs(60), |status| {
                phases.contains(&&*Running::phase(Some(status)))
            });
            sleep(Duration::from_micros(random.below(3000)));
        }
    }
    // The socket may not be there yet, and then nobody answers.
    let last = running.status();
    running.kill();
    let history = job.store().history();
    let Some(history) = history.filter(|history| history.newest.head.generation.0 > generation) else {
        return Landing::BeforeClaim;
    };
    if Running::phase(last.as_ref()) != "running" {
        return Landing::Restore;
    }
    let Some(begun) = last.and_then(|status| status["in_flight"].as_u64()) else { return Landing::Running };
    let newest = history.checkpoints.last();
    if newest.is_none_or(|checkpoint| checkpoint.entry.id.0 < begun) {
        return Landing::Checkpoint;
    }
    let manifest = newest.and_then(|checkpoint| checkpoint.manifest.as_ref().ok());
    let handles: String =
        manifest.into_iter().flat_map(|manifest| &manifest.sinks).map(|sink| sink.payload.to_string()).collect();
    let hidden = oracle::SINKS.iter().flat_map(|sink| oracle::files(&job.output().join(sink)).1);
    let mut uncommitted = hidden.filter(|path| handles.contains(&*path.file_name().unwrap().to_string_lossy()));
    if uncommitted.next().is_some() { Landing::Commit } else { Landing::Running }
}

fn kill_again_and_again(name: &str, kills: u64, plan: &Plan, place: &Place) {
    let mut random = Random::shown(name);
    let job = Job::new(plan, place, &mut random);
    let mut landings = Landings::default();
    for kill in 0..kills {
        // Half of the restores find no local files.
        if random.below(2) == 0 {
            let _ = fs::remove_dir_all(job.work("work"));
        }
        landings.note(start_and_kill(&job, &mut random, AIMS[(kill % 10) as usize], "work"));
        if kill % 10 == 9 {
            job.judge_running();
        }
    }
    let last = job.finish("work");
    // What a restart would mend is a fault all the same.
    assert_eq!(last.report()["restarts"], serde_json::json!([]), "{}", last.log());
    println!("{name}: {kills} kills: {landings:?}; generations: {}", last.report()["generation"]);
    job.judge_finished();
    let inside_checkpoints = landings.share(&[Landing::Checkpoint, Landing::Commit]);
    let inside_restores = landings.share(&[Landing::Restore]);
    println!("{name}: {inside_checkpoints:.2} in checkpoints, {inside_restores:.2} in restores");
    assert!(inside_checkpoints >= 0.2 && inside_restores >= 0.1, "the kills missed: {landings:?}");
}

/// At full speed much more is under way at once: early runs, thousands of timers due together, many files of output.
fn kill_at_full_speed(name: &str, kills: u64, plan: &Plan) {
    let mut random = Random::shown(name);
    let job = Job::new(plan, &Place::Own, &mut random);
    let mut killed = 0;
    while killed < kills {
        if random.below(2) == 0 {
            let _ = fs::remove_dir_all(job.work("work"));
        }
        let mut running = job.start("work", &FULL_SPEED);
        running.until_running();
        sleep(Duration::from_micros(random.below(300_000)));
        if running.ended().is_some() {
            break;
        }
        running.kill();
        killed += 1;
    }
    let last = job.finish("work");
    println!("{name}: {killed} kills");
    assert!(killed >= kills / 2, "the input was used up after {killed} kills");
    assert_eq!(last.report()["restarts"], serde_json::json!([]), "{}", last.log());
    job.judge_finished();
}

/// Input for so many kills: no run between two of them reads for longer than a second.
fn plan(kills: u64) -> Plan {
    Plan::seconds(kills + 3)
}

fn kills() -> u64 {
    number("WEIR_CHAOS_KILLS", 20)
}

/// The variants get by with fewer.
fn fewer() -> u64 {
    kills().div_ceil(20) * 10
}

#[test]
fn nothing_is_lost_or_doubled_whenever_the_process_is_killed() {
    kill_again_and_again("rocksdb, parallelism 2", kills(), &plan(kills()), &Place::Own);
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_with_state_in_memory_and_one_subtask() {
    let plan = Plan { parallelism: 1, backend: "Memory", ..plan(fewer()) };
    kill_again_and_again("memory, parallelism 1", fewer(), &plan, &Place::Own);
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_with_three_subtasks() {
    let plan = Plan { parallelism: 3, padding: 200, ..plan(fewer()) };
    kill_again_and_again("rocksdb, parallelism 3", fewer(), &plan, &Place::Own);
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_with_checkpoints_in_a_bucket() {
    let bucket = crate::faults::Bucket::start();
    kill_again_and_again("bucket", fewer(), &plan(fewer()), &bucket.place("kill"));
}

#[test]
fn nothing_is_lost_or_doubled_by_kills_at_full_speed() {
    let lines = fewer() * 16_000;
    kill_at_full_speed("memory, full speed", fewer(), &Plan { parallelism: 1, backend: "Memory", lines, ..plan(1) });
    kill_at_full_speed("rocksdb, full speed", fewer(), &Plan { lines, ..plan(1) });
}
