//! `weir check --job` and `weir delete --job`: what preflight and deletion pods run.

use std::fs;
use std::path::PathBuf;

use weir::api::ResolvedJob;
use weir_control::exit_code;
use weir_control::termination::Findings;
use weir_control::v1::JobState;

use crate::scene::{Ended, Scene, free_address};

/// Runs `weir COMMAND --job … --termination-log …`.
fn look(scene: &Scene, command: &str, job: &ResolvedJob) -> (Ended, Findings) {
    let (file, log) = (scene.config_map(job), scene.at("findings"));
    let _ = fs::remove_file(&log);
    let (file, log) = (file.to_str().unwrap(), log.to_str().unwrap());
    let ended = scene.call(&[command, "--job", file, "--termination-log", log]);
    let text = fs::read_to_string(log).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let findings = Findings::read(&text).unwrap_or_else(|| panic!("{text}"));
    (ended, findings)
}

#[test]
fn a_preflight_finds_what_is_wrong_by_field_and_leaves_no_trace() {
    let scene = Scene::new();
    let mut pod = scene.start("pod-1", &scene.job(2, 1_000, 1));
    scene.wait_for_state(&mut pod, JobState::Finished);
    let before = scene.stored();
    let (ended, findings) = look(&scene, "check", &scene.job(4, 2_000, 2));
    assert_eq!((ended.code, findings), (0, Findings::fine()), "{}", ended.stderr);
    assert!(ended.stdout.contains("would begin generation 2 from"), "{}", ended.stdout);

    let mut argument = scene.job(4, 2_000, 2);
    argument.args.insert("evnts".to_owned(), 1.into());
    let graph = ResolvedJob { job: "no-such-graph".to_owned(), ..scene.job(4, 0, 1) };
    let foreign = ResolvedJob { owner: "another-owner".to_owned(), ..scene.job(4, 0, 1) };
    let groups = ResolvedJob { max_parallelism: 64, ..scene.job(4, 0, 1) };
    for (job, field, message) in [
        (argument, "spec.args.evnts", "found an argument that nexmark-bids-per-auction does not take"),
        (graph, "spec.job", "no-such-graph"),
        (foreign, "spec.restoreFrom", "let restoreFrom name that journal to take the job over"),
        (groups, "spec.job", "64"),
    ] {
        let (ended, findings) = look(&scene, "check", &job);
        assert_eq!(ended.code, i32::from(exit_code::REFUSED), "{ended:?}");
        assert!(!findings.ok && !findings.retry, "{findings:?}");
        let found = &findings.errors[0];
        assert!(found.field == field && found.message.contains(message), "{field}: {found:?}");
    }
    assert_eq!(scene.stored(), before, "nothing stays, nothing goes");
}

#[test]
fn a_storage_that_does_not_answer_is_nothing_known_to_be_wrong() {
    let scene = Scene::new();
    let job = Scene::on_s3(scene.job(2, 0, 1), "s3://weir/jobs", &format!("http://{}", free_address()));
    let (ended, findings) = look(&scene, "check", &job);
    assert_eq!(ended.code, i32::from(exit_code::FAILED), "{ended:?}");
    assert!(findings.retry && findings.errors[0].field == "spec.storage", "{findings:?}");
    let (ended, findings) = look(&scene, "delete", &job);
    assert_eq!((ended.code, findings.retry), (i32::from(exit_code::FAILED), true), "{ended:?}");
}

#[test]
fn a_deletion_takes_everything_but_savepoints_and_only_from_its_owner() {
    let scene = Scene::new();
    let job = scene.job(2, 0, 1);
    let mut pod = scene.start("pod-1", &job);
    scene.wait_for_checkpoints(&mut pod, 2);
    assert_eq!(scene.ctl("savepoint", &pod, "operator", &["--name", "kept"]).code, 0);
    assert_eq!(pod.end("KILL"), -9);
    let before = scene.stored();
    let foreign = ResolvedJob { owner: "another-owner".to_owned(), ..job.clone() };
    let (ended, findings) = look(&scene, "delete", &foreign);
    assert_eq!((ended.code, findings.ok), (i32::from(exit_code::REFUSED), false), "{ended:?}");
    assert_eq!(scene.stored(), before);
    let (ended, findings) = look(&scene, "delete", &job);
    assert_eq!((ended.code, findings), (0, Findings::fine()), "{ended:?}");
    let kept = |path: &&PathBuf| path.to_string_lossy().contains("/savepoints/kept/");
    let savepoint: Vec<PathBuf> = before.iter().filter(kept).cloned().collect();
    assert!(!savepoint.is_empty());
    let in_journal = |path: &PathBuf| path.to_string_lossy().contains("/journal/");
    let (journal, rest): (Vec<PathBuf>, Vec<PathBuf>) = scene.stored().into_iter().partition(in_journal);
    assert_eq!((journal.len(), rest), (1, savepoint), "one entry says that it was deleted");
    let (ended, _) = look(&scene, "delete", &job);
    assert_eq!(ended.code, 0, "what is gone is gone");

    // A container on a node that was lost comes back, and the next StreamJob of this name begins anew.
    let mut late = scene.start("pod-1", &job);
    assert_eq!(late.wait(), i32::from(exit_code::REFUSED), "{}", late.told());
    assert!(late.last_words().message.contains("was deleted"), "{:?}", late.last_words());
    let next = ResolvedJob { owner: "the-next-one".to_owned(), ..job.clone() };
    let mut pod = scene.start("pod-2", &next);
    assert_eq!(pod.await_file(|| scene.stored().len() > 10), None, "{}", pod.told());
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    let mut late = scene.start("pod-1", &job);
    assert_eq!(late.wait(), i32::from(exit_code::REFUSED), "{}", late.told());
}
