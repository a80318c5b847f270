//! `weir worker` from outside, as a pod's container: its control API, its ends, and what the next one makes of them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod minio;
mod preflight;
mod scene;

use minio::Minio;
use scene::{PATIENCE, Scene, UID, free_address};
use weir::api::ResolvedJob;
use weir_control::v1::{JobState, RedeployRequest, StopRequest, TriggerCheckpointRequest, TriggerSavepointRequest};
use weir_control::{CallError, exit_code};

/// Events at which jobs here end; more than any test makes before it says so.
const EVENTS: usize = 60_000;

fn redeploy(job: &ResolvedJob) -> RedeployRequest {
    RedeployRequest { job: serde_json::to_vec(job).unwrap(), timeout_ms: 0 }
}

/// Has the job run to a known end in this pod, and checks what it committed.
fn run_to_the_end(scene: &Scene, pod: &mut scene::Pod, number: u64) {
    let client = scene.client(pod);
    let last = scene.job(number, EVENTS as u64, 1);
    scene.block_on(client.redeploy(redeploy(&last), PATIENCE)).unwrap();
    scene.wait_for_state(pod, JobState::Finished);
    scene.assert_exact(EVENTS);
}

#[test]
fn requests_are_answered_and_a_stop_is_durable() {
    let scene = Scene::new();
    let job = scene.job(2, 0, 1);
    let mut pod = scene.start("pod-1", &job);
    let status = scene.wait_for_checkpoints(&mut pod, 2);
    assert_eq!(status.job.as_ref().unwrap().uid, UID);
    assert_eq!((status.parallelism, status.revision.as_ref().unwrap().number, status.pod.as_str()), (1, 2, "bids-0"));
    assert_eq!(status.journal_revision.unwrap().hash, job.revision());
    let client = scene.client(&mut pod);

    let nonce = TriggerCheckpointRequest { revision: 2, nonce: Some(7) };
    let first = scene.block_on(client.trigger_checkpoint(nonce, PATIENCE)).unwrap().checkpoint.unwrap();
    let again = scene.block_on(client.trigger_checkpoint(nonce, PATIENCE)).unwrap().checkpoint.unwrap();
    assert_eq!(first, again, "the same nonce asks once");
    let nonce = TriggerCheckpointRequest { revision: 2, nonce: Some(8) };
    let next = scene.block_on(client.trigger_checkpoint(nonce, PATIENCE)).unwrap().checkpoint.unwrap();
    assert!(next.id > first.id && next.bytes_full > 0, "{first:?} {next:?}");
    assert_eq!(scene.block_on(client.status()).unwrap().checkpoint_nonce, Some(8));

    let named = |name: &str| TriggerSavepointRequest { revision: 0, nonce: None, name: name.to_owned() };
    let kept = scene.block_on(client.trigger_savepoint(named("before"), PATIENCE)).unwrap();
    assert!(kept.uri.ends_with("/storage/team-a/bids/savepoints/before"), "{kept:?}");
    let refused = scene.block_on(client.trigger_savepoint(named("../x"), PATIENCE)).unwrap_err();
    assert!(matches!(refused, CallError::Invalid(_)), "{refused:?}");

    let late = StopRequest { revision: 1, ..StopRequest::default() };
    let refused = scene.block_on(client.stop(late, PATIENCE)).unwrap_err();
    assert_eq!(refused.to_string(), "this process runs revision 2, the call is for revision 1");
    let stop = StopRequest { revision: 2, ..StopRequest::default() };
    let stopped = scene.block_on(client.stop(stop.clone(), PATIENCE)).unwrap();
    assert_eq!((stopped.state(), stopped.with_final_checkpoint), (JobState::Stopped, true));
    assert_eq!(scene.block_on(client.stop(stop, PATIENCE)).unwrap(), stopped, "asking again is answered alike");
    let status = scene.wait_for_state(&mut pod, JobState::Stopped);
    assert_eq!(Some(status.checkpoints[0].id), stopped.checkpoint);
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    assert_eq!((pod.last_words().kind.as_str(), pod.last_words().checkpoint), ("terminated", stopped.checkpoint));

    // The restarted container serves the status and deploys nothing; a higher revision goes on.
    let mut pod = scene.start("pod-1", &job);
    let status = scene.wait_for_state(&mut pod, JobState::Stopped);
    assert_eq!((status.generation, status.journal_state()), (0, JobState::Stopped));
    assert_eq!(Some(status.checkpoints[0].id), stopped.checkpoint);
    let page = scene.ctl("status", &pod, "operator", &[]);
    assert!(page.code == 0 && page.stdout.contains("state        stopped"), "{page:?}");
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    let mut pod = scene.start("pod-1", &scene.job(4, 0, 1));
    let status = scene.wait_for_state(&mut pod, JobState::Running);
    assert_eq!(status.restored_from, stopped.checkpoint);
    run_to_the_end(&scene, &mut pod, 6);
}

#[test]
fn killed_at_once_or_asked_to_go_the_next_container_goes_on() {
    let scene = Scene::new();
    let job = scene.job(2, 0, 1);
    let mut pod = scene.start("pod-1", &job);
    scene.wait_for_checkpoints(&mut pod, 2);
    assert_eq!(pod.end("KILL"), -9);
    let mut pod = scene.start("pod-1", &job);
    let status = scene.wait_for_checkpoints(&mut pod, 2);
    assert!(status.generation >= 2 && status.restored_from.is_some(), "{status:?}");

    // Asked to go, it leaves a checkpoint that is newer than all before, and no word about stopping.
    let before = scene.block_on(scene.client(&mut pod).status()).unwrap().checkpoints[0].id;
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    let words = pod.last_words();
    let left = words.checkpoint.unwrap();
    assert!(left > before, "{before}, then {words:?}");
    assert_eq!((words.code, words.kind.as_str()), (exit_code::DONE, "terminated"));
    assert!(words.message.starts_with("left with checkpoint "), "{words:?}");
    let mut pod = scene.start("pod-2", &job);
    let status = scene.wait_for_state(&mut pod, JobState::Running);
    assert_eq!(status.restored_from, Some(left));
    run_to_the_end(&scene, &mut pod, 4);
}

#[test]
fn a_job_is_rescaled_within_its_process_and_no_record_is_lost_or_doubled() {
    let scene = Scene::new();
    let mut pod = scene.start("pod-1", &scene.job(2, 0, 1));
    let mut before = scene.wait_for_checkpoints(&mut pod, 2);
    let client = scene.client(&mut pod);
    for (number, slots) in [(4, 2), (6, 1)] {
        let job = scene.job(number, 0, slots);
        let answer = scene.block_on(client.redeploy(redeploy(&job), PATIENCE)).unwrap();
        assert!(answer.with_final_checkpoint && answer.generation > before.generation, "{answer:?}");
        let status = scene.wait_for(&mut pod, "rescaled", |s| s.parallelism == slots && s.state() == JobState::Running);
        assert_eq!((status.started_at, status.restored_from), (before.started_at, answer.restored_from));
        let again = scene.block_on(client.redeploy(redeploy(&job), PATIENCE)).unwrap();
        assert_eq!(again.generation, answer.generation, "a revision that runs is not deployed again");
        before = scene.wait_for_checkpoints(&mut pod, before.completed + 3);
    }
    for (job, expected) in [
        (scene.job(4, 0, 2), "this process runs revision 6, the call is for revision 4"),
        (scene.job(6, 0, 2), "another job runs as revision 6 already: give this one a higher number"),
        (
            ResolvedJob { memory_bytes: 1 << 30, ..scene.job(8, 0, 2) },
            "memoryBytes differs from what this process was started with: start another one",
        ),
        (ResolvedJob { job: "word-count".to_owned(), ..scene.job(8, 0, 2) }, "job graph: "),
    ] {
        let refused = scene.block_on(client.redeploy(redeploy(&job), PATIENCE)).unwrap_err();
        assert!(!refused.can_retry() && refused.to_string().contains(expected), "{refused}");
    }
    assert_eq!(scene.wait_for_state(&mut pod, JobState::Running).generation, before.generation, "none stopped it");

    // A container that is restarted with what its ConfigMap said first goes on with what it was told last.
    assert_eq!(pod.end("KILL"), -9);
    let mut pod = scene.start("pod-1", &scene.job(2, 0, 1));
    let status = scene.wait_for_state(&mut pod, JobState::Running);
    assert_eq!(status.revision.unwrap().number, 6);
    run_to_the_end(&scene, &mut pod, 8);
    // Another pod, which does not know, does not take the job back.
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    let mut late = scene.start("pod-2", &scene.job(2, 0, 1));
    assert_eq!(late.wait(), i32::from(exit_code::FENCED));
    assert!(late.last_words().message.contains("revision 8 of the job has run already"), "{:?}", late.last_words());
}

#[test]
fn a_finished_job_does_not_start_over() {
    let scene = Scene::new();
    let job = scene.job(2, 5_000, 2);
    let mut pod = scene.start("pod-1", &job);
    let finished = scene.wait_for_state(&mut pod, JobState::Finished);
    scene.assert_exact(5_000);
    assert_eq!(pod.end("KILL"), -9);
    let mut pod = scene.start("pod-1", &job);
    let again = scene.wait_for_state(&mut pod, JobState::Finished);
    assert_eq!(again.checkpoints, finished.checkpoints);
    assert_eq!((again.generation, again.completed), (0, 0), "nothing was claimed, nothing deployed");
    let stopped = scene.block_on(scene.client(&mut pod).stop(StopRequest::default(), PATIENCE)).unwrap();
    assert_eq!(stopped.state(), JobState::Finished);
    scene.assert_exact(5_000);
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
}

#[test]
fn only_the_operator_is_answered() {
    let scene = Scene::new();
    let mut pod = scene.start("pod-1", &scene.job(2, 0, 1));
    scene.wait_for_checkpoints(&mut pod, 1);
    for identity in ["job", "other-job", "stranger"] {
        for ask in ["status", "stop", "cancel"] {
            let refused = scene.ctl(ask, &pod, identity, &[]);
            assert_eq!((refused.code, refused.stdout.as_str()), (1, ""), "{identity}: {refused:?}");
        }
    }
    assert!(pod.told().contains("a caller of the control API was refused"), "{}", pod.told());
    assert_eq!(scene.wait_for_state(&mut pod, JobState::Running).restart_count, 0);
    let taken = scene.ctl("checkpoint", &pod, "operator", &["--json"]);
    assert!(taken.code == 0 && taken.stdout.contains("\"durationMs\""), "{taken:?}");
    let kept = scene.ctl("savepoint", &pod, "operator", &["--name", "by-hand"]);
    assert!(kept.code == 0 && kept.stdout.contains("savepoints/by-hand"), "{kept:?}");
    let late = scene.ctl("stop", &pod, "operator", &["--revision", "1"]);
    assert_eq!((late.code, late.stderr.contains("runs revision 2")), (2, true), "{late:?}");
    let cancelled = scene.ctl("cancel", &pod, "operator", &[]);
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    assert_eq!(pod.wait(), i32::from(exit_code::DONE));
    assert_eq!(pod.last_words().kind, "cancelled");
}

#[test]
fn probes_and_metrics_are_served_whatever_the_storage_does() {
    let scene = Scene::new();
    let job = Scene::on_s3(scene.job(2, 0, 1), "s3://weir/jobs", &format!("http://{}", free_address()));
    let mut pod = scene.start("pod-1", &job);
    let status = scene.wait_for(&mut pod, "in trouble", |status| {
        status.storage.as_ref().is_some_and(|storage| storage.trouble_since > 0)
    });
    assert_eq!(status.state(), JobState::Starting);
    let message = status.storage.unwrap().message;
    assert!(message.contains("refuses the connection"), "{message}");
    for page in ["/livez", "/readyz", "/metrics"] {
        let (head, _) = pod.get(page);
        assert_eq!(head, "HTTP/1.1 200 OK", "{page}");
    }
    let (head, _) = pod.get("/status");
    assert_eq!(head, "HTTP/1.1 404 Not Found", "records and failures are for the operator only");
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    assert_eq!(pod.last_words().kind, "terminated");
}

#[test]
fn a_running_job_shows_its_metrics() {
    let scene = Scene::new();
    let mut pod = scene.start("pod-1", &scene.job(2, 0, 1));
    scene.wait_for_checkpoints(&mut pod, 2);
    let (head, body) = pod.get("/metrics");
    assert_eq!(head, "HTTP/1.1 200 OK");
    for metric in ["weir_checkpoints_completed_total", "weir_generation", "process_resident_memory_bytes"] {
        assert!(body.contains(metric), "{metric}\n{body}");
    }
}

#[test]
fn a_pod_that_was_replaced_ends_and_never_takes_the_job_back() {
    let scene = Scene::new();
    let job = scene.job(2, 0, 1);
    let mut zombie = scene.start("pod-1", &job);
    scene.wait_for_checkpoints(&mut zombie, 1);
    let mut successor = scene.start("pod-2", &job);
    let before = scene.wait_for_checkpoints(&mut successor, 1);
    assert_eq!(zombie.wait(), i32::from(exit_code::FENCED));
    assert_eq!((zombie.last_words().code, zombie.last_words().kind.as_str()), (exit_code::FENCED, "fenced"));
    for _ in 0..2 {
        let mut again = scene.start("pod-1", &job);
        assert_eq!(again.wait(), i32::from(exit_code::FENCED), "its kubelet restarts it in vain");
    }
    let after = scene.wait_for_checkpoints(&mut successor, before.completed + 2);
    assert_eq!((after.generation, after.restart_count), (before.generation, 0));
    run_to_the_end(&scene, &mut successor, 4);
}

#[test]
fn what_the_user_must_change_is_told_by_exit_code_and_last_words() {
    let scene = Scene::new();
    let mut first = scene.start("pod-1", &scene.job(2, 0, 1));
    scene.wait_for_checkpoints(&mut first, 1);
    let foreign = ResolvedJob { owner: "another-owner".to_owned(), ..scene.job(4, 0, 1) };
    let mut graph = scene.job(6, 0, 1);
    graph.args.insert("evnts".to_owned(), 1.into());
    for (pod, job, expected) in
        [("pod-2", foreign, "let restoreFrom name that journal to take the job over"), ("pod-3", graph, "evnts")]
    {
        let mut refused = scene.start(pod, &job);
        assert_eq!(refused.wait(), i32::from(exit_code::REFUSED), "{}", refused.told());
        let words = refused.last_words();
        assert_eq!((words.code, words.kind.as_str()), (exit_code::REFUSED, "refused"));
        assert!(words.message.contains(expected), "{words:?}");
    }
    let status = scene.wait_for_state(&mut first, JobState::Running);
    assert_eq!(status.restart_count, 0, "nobody was disturbed");
}

#[test]
fn on_s3_a_pod_waits_for_the_storage_is_killed_rescaled_and_removed() {
    let scene = Scene::new();
    let minio = Minio::start(&scene.at("minio"));
    let on_minio = |job| Scene::on_s3(job, &minio.uri(), &minio.endpoint());
    // The server is still starting: the first attempts fail.
    let mut pod = scene.start("pod-1", &on_minio(scene.job(2, 0, 1)));
    scene.wait_for_checkpoints(&mut pod, 2);
    assert_eq!(pod.end("KILL"), -9);
    let mut pod = scene.start("pod-1", &on_minio(scene.job(2, 0, 1)));
    let status = scene.wait_for_checkpoints(&mut pod, 2);
    assert!(status.restored_from.is_some(), "{status:?}");
    let client = scene.client(&mut pod);
    for (number, events, slots) in [(4, 0, 2), (6, EVENTS as u64, 1)] {
        let job = on_minio(scene.job(number, events, slots));
        let answer = scene.block_on(client.redeploy(redeploy(&job), PATIENCE)).unwrap();
        assert!(answer.with_final_checkpoint, "{answer:?}");
    }
    scene.wait_for_state(&mut pod, JobState::Finished);
    scene.assert_exact(EVENTS);
    let last = scene.config_map(&on_minio(scene.job(6, EVENTS as u64, 1)));
    assert_eq!(pod.end("TERM"), i32::from(exit_code::DONE));
    let deleted = scene.call(&["delete", "--job", last.to_str().unwrap()]);
    assert!(deleted.code == 0 && !deleted.stdout.starts_with("removed 0 "), "{deleted:?}");
    let checked = scene.call(&["check", "--job", last.to_str().unwrap()]);
    assert!(checked.code == 2 && checked.stderr.contains("was deleted: nothing of it is left to run"), "{checked:?}");
}
