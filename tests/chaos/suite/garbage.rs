//! What aborted checkpoints and kills leave behind, and whether everything that is kept can be restored.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::job::{FINISH, FULL_SPEED, Job, Place, Plan};
use crate::kill::{Aim, start_and_kill};
use crate::oracle;
use crate::random::{Random, number};

/// Garbage may be this many times as large as a full snapshot.
const FACTOR: f64 = 1.2;

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success(), "cp {} {}", from.display(), to.display());
}

/// Aborts checkpoints by giving them next to no time, and kills in between.
fn make_garbage(job: &mut Job, random: &mut Random, kills: u64, aborts: u64) -> u64 {
    let mut aborted = 0;
    for kill in 0..kills {
        job.set("checkpoint", "timeout", "10ms");
        let mut running = job.start::<&str>("work", &[]);
        let enough = aborts.div_ceil(kills);
        let status = running.until("aborted checkpoints", FINISH, |status| {
            status["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum::<u64>()
                >= enough
        });
        aborted +=
            status["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        running.kill();
        job.set("checkpoint", "timeout", "1m");
        start_and_kill(job, random, [Aim::Checkpoint, Aim::Anywhere, Aim::Restore][(kill % 3) as usize], "work");
    }
    aborted
}

fn check(name: &str, place: &Place) {
    let mut random = Random::shown(name);
    let kills = number("WEIR_CHAOS_GARBAGE_KILLS", 8);
    let aborts = number("WEIR_CHAOS_ABORTS", 24);
    let fields = vec![("checkpoint.tolerableFailures", 1_000_000.into()), ("checkpoint.retained", 4.into())];
    let plan = Plan { interval: "50ms", rows: 5, padding: 400, fields, ..Plan::seconds(2 * kills + aborts / 5 + 10) };
    let mut job = Job::new(&plan, place, &mut random);
    job.start::<&str>("work", &[]).until_checkpoints(5, FINISH);
    let aborted = make_garbage(&mut job, &mut random, kills.div_ceil(2), aborts);
    let mut running = job.start::<&str>("work", &[]);
    // A sweep follows the claim; every retained checkpoint is one of this process.
    running.until_checkpoints(8, FINISH);
    running.kill();
    let heaps = job.store().heaps();
    println!("{name}: {aborted} aborted checkpoints, {kills} kills: {heaps:?}");
    assert!(heaps.garbage as f64 <= FACTOR * heaps.full as f64, "{heaps:?}");
    assert_eq!(heaps.open_uploads, 0);
    if matches!(place, Place::Own) {
        restore_every_checkpoint(&job);
    }
    job.finish("elsewhere");
    job.judge_finished();
}

/// Restores each retained checkpoint in a world of its own: storage and output as they are, without what was committed
/// after it. The manifests hold absolute paths, so the copy takes the place of the original for a while.
fn restore_every_checkpoint(job: &Job) {
    let ids: Vec<u64> =
        job.store().history().unwrap().checkpoints.iter().map(|checkpoint| checkpoint.entry.id.0).collect();
    assert!(ids.len() >= 4, "{ids:?}");
    let parts = ["store", "out"].map(|part| (job.path().join(part), job.path().join(format!("{part}-kept"))));
    for id in &ids {
        for (part, kept) in &parts {
            fs::rename(part, kept).unwrap();
            copy(kept, part);
        }
        for path in oracle::SINKS.iter().flat_map(|sink| oracle::files(&job.output().join(sink)).0) {
            let epoch: u64 = path.file_name().unwrap().to_string_lossy().split('-').nth(1).unwrap().parse().unwrap();
            if epoch > *id {
                fs::remove_file(path).unwrap();
            }
        }
        let from = json!({"checkpoint": id, "allowDuplicates": true});
        let mut flags = vec!["--set".to_owned(), format!("spec.restoreFrom={from}")];
        flags.extend(FULL_SPEED.map(str::to_owned));
        let mut running = job.start(&format!("work-{id}"), &flags);
        running.finish(FINISH);
        assert_eq!(running.report()["restoredFrom"], *id);
        let verdict = oracle::judge_finished(&job.input, &job.output());
        assert!(verdict.is_exact(), "from checkpoint {id}: {verdict}");
        for (part, kept) in &parts {
            fs::remove_dir_all(part).unwrap();
            fs::rename(kept, part).unwrap();
        }
    }
    println!("restored exactly from each of {ids:?}");
}

#[test]
fn aborted_checkpoints_and_kills_leave_little_behind_and_every_retained_checkpoint_restores() {
    check("garbage in a directory", &Place::Own);
}

#[test]
fn aborted_checkpoints_and_kills_leave_little_behind_in_a_bucket() {
    let bucket = crate::faults::Bucket::start();
    check("garbage in a bucket", &bucket.place("garbage"));
}
