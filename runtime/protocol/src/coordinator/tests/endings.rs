//! Stop, finish, failure: each is durable.

use super::sim::*;
use crate::coordinator::*;
use crate::ids::CheckpointId;
use crate::journal::{JobStatus, RevisionRule};
use crate::manifest::ManifestKind;
use crate::restart::RestartPolicy;

fn stop(request: u64, timeout: u64) -> Event {
    Event::StopRequest { request: RequestId(request), final_checkpoint_timeout_ms: timeout, savepoint: None }
}

fn stop_answer(actions: &[Action]) -> (Option<u64>, bool) {
    let answer = |action: &Action| match action {
        Action::Answer { result: Ok(Answer::Stopped { restore, with_final_checkpoint }), .. } => {
            Some((restore.map(|id| id.0), *with_final_checkpoint))
        }
        _ => None,
    };
    actions.iter().find_map(answer).expect("the stop is answered")
}

#[test]
fn a_stop_takes_a_final_checkpoint_commits_it_and_is_durable() {
    let mut sim = Sim::running(config());
    sim.send(stop(3, 1_000));
    let actions = sim.take();
    assert_eq!(barrier(&actions).kind, ManifestKind::Final);
    assert_eq!(
        names(&actions)[2..],
        ["append 1", "commit 1", "acknowledge 1", "end tasks", "append stopped", "answer 3 true", "settled stopped"]
    );
    assert_eq!(stop_answer(&actions), (Some(1), true));
    assert_eq!(sim.head().pending_commits, []);
    sim.restart();
    assert_eq!(names(&sim.take()), ["settled stopped"], "the same revision deploys nothing");
    sim.request.revision = RevisionRule::Numbered(2);
    sim.restart();
    assert_eq!(names(&sim.take()), ["append claim", "deploy 2"]);
}

#[test]
fn a_stop_waits_for_the_checkpoint_under_way_and_for_commits() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    sim.advance(100);
    sim.send(stop(1, 10_000));
    assert_eq!(names(&sim.take()), ["trigger 1"]);
    sim.hold.acks = false;
    sim.hold.commits = true;
    for event in sim.acks(Barrier {
        checkpoint: CheckpointId(1),
        generation: sim.generation(),
        kind: ManifestKind::Checkpoint,
        triggered_at: crate::Millis(100),
    }) {
        sim.send(event);
    }
    let last = names(&sim.take());
    assert_eq!(last.last().unwrap(), "acknowledge 2", "the final one is complete, its output is not");
    sim.held.clear();
    sim.send(Event::Committed(CheckpointId(2)));
    assert_eq!(settled(&sim), None, "1 is outstanding");
    sim.send(Event::Committed(CheckpointId(1)));
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
}

#[test]
fn a_stop_without_a_final_checkpoint_in_time_goes_on_from_the_latest_one() {
    let mut sim = Sim::running(config());
    sim.advance(100);
    sim.hold.acks = true;
    sim.send(stop(1, 300));
    sim.take();
    sim.advance(299);
    assert_eq!(settled(&sim), None);
    sim.advance(1);
    let actions = sim.take();
    assert_eq!(names(&actions), ["cancel", "append stopped", "answer 1 true", "settled stopped"]);
    assert_eq!(stop_answer(&actions), (Some(1), false));
}

#[test]
fn a_failed_final_checkpoint_is_tried_again_after_a_pause() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    sim.send(stop(1, 60_000));
    let (generation, checkpoint) = (sim.generation(), CheckpointId(1));
    sim.send(Event::Declined { generation, checkpoint, cause: DeclineCause::Other("no".into()) });
    assert_eq!(names(&sim.take()), ["trigger 1", "abort 1"]);
    sim.hold.acks = false;
    sim.advance(1_000);
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
    assert_eq!(stop_answer(&sim.take()), (Some(2), true));
}

#[test]
fn a_stop_before_anything_runs_and_during_a_back_off_is_durable_too() {
    let mut sim = Sim::new(config());
    sim.hold.deploy = true;
    sim.send(Event::Start);
    sim.send(stop(1, 1_000));
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));

    let mut sim = Sim::running(config());
    let generation = sim.generation();
    sim.send(Event::Failed { generation, reason: "boom".into(), random: 0.5 });
    sim.send(stop(1, 1_000));
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
    assert_eq!(sim.kinds(), ["claim", "stopped"]);
}

#[test]
fn a_second_stop_is_answered_too_and_one_after_the_end_at_once() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    sim.send(stop(1, 1_000));
    sim.send(stop(2, 1_000));
    sim.release();
    sim.send(stop(3, 1_000));
    let answered = names(&sim.take()).into_iter().filter(|name| name.starts_with("answer")).collect::<Vec<_>>();
    assert_eq!(answered, ["answer 1 true", "answer 2 true", "answer 3 true"]);
}

#[test]
fn requests_are_refused_while_a_job_ends_and_afterwards() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    sim.send(stop(1, 1_000));
    sim.send(Event::CheckpointRequest(RequestId(2)));
    sim.release();
    sim.send(Event::SavepointRequest(RequestId(3), "s".into()));
    let answered = names(&sim.take()).into_iter().filter(|name| name.starts_with("answer")).collect::<Vec<_>>();
    assert_eq!(answered, ["answer 2 false", "answer 1 true", "answer 3 false"]);
}

#[test]
fn a_job_whose_input_ended_takes_a_final_checkpoint_and_is_finished() {
    let mut sim = Sim::running(config());
    let generation = sim.generation();
    sim.send(Event::InputEnded { generation, task: task(0) });
    assert_eq!(names(&sim.take()), [""; 0], "one source goes on");
    sim.send(Event::InputEnded { generation, task: task(1) });
    let actions = sim.take();
    assert_eq!(barrier(&actions).kind, ManifestKind::Final);
    assert_eq!(names(&actions)[5..], ["end tasks", "append finished", "settled finished"]);
    sim.restart();
    assert_eq!(names(&sim.take()), ["settled finished"]);
}

#[test]
fn a_failure_before_the_end_is_committed_runs_the_end_again() {
    let mut sim = Sim::running(config());
    sim.hold.commits = true;
    let generation = sim.generation();
    for subtask in 0..TASKS {
        sim.send(Event::InputEnded { generation, task: task(subtask) });
    }
    sim.send(Event::Failed { generation, reason: "commit failed".into(), random: 0.5 });
    sim.held.clear();
    sim.hold.commits = false;
    sim.take();
    sim.advance(1_000);
    assert_eq!(names(&sim.take()), ["append claim", "deploy 2"]);
    assert!(sim.outside.committed.contains(&CheckpointId(1)), "replayed");
    for subtask in 0..TASKS {
        sim.send(Event::InputEnded { generation: sim.generation(), task: task(subtask) });
    }
    assert_eq!(settled(&sim), Some(JobStatus::Finished));
}

#[test]
fn a_stop_asked_for_while_the_job_finishes_holds_when_a_task_fails() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    let generation = sim.generation();
    for subtask in 0..TASKS {
        sim.send(Event::InputEnded { generation, task: task(subtask) });
    }
    sim.send(stop(1, 60_000));
    sim.take();
    sim.send(Event::Failed { generation, reason: "boom".into(), random: 0.5 });
    assert_eq!(settled(&sim), Some(JobStatus::Stopped));
    assert_eq!(stop_answer(&sim.take()), (None, false));
}

#[test]
fn a_stop_asked_for_while_the_job_finishes_is_in_time_if_it_finishes() {
    let mut sim = Sim::running(config());
    sim.hold.acks = true;
    let generation = sim.generation();
    for subtask in 0..TASKS {
        sim.send(Event::InputEnded { generation, task: task(subtask) });
    }
    sim.send(stop(1, 60_000));
    sim.take();
    sim.release();
    assert_eq!(settled(&sim), Some(JobStatus::Finished));
    assert_eq!(stop_answer(&sim.take()), (Some(1), true));
}

#[test]
fn what_cannot_be_mended_fails_for_good() {
    let mut sim = Sim::running(config());
    sim.send(Event::Fatal { reason: "state type changed".into() });
    let failed = JobStatus::Failed { reason: "state type changed".into() };
    assert_eq!(settled(&sim), Some(failed.clone()));
    assert_eq!(sim.head().status, failed);
    sim.restart();
    assert_eq!(settled(&sim), Some(failed));
}

#[test]
fn a_used_up_budget_fails_for_good_with_the_reason() {
    let restart = RestartPolicy { budget: Some(1), ..RestartPolicy::default() };
    let mut sim = Sim::running(CoordinatorConfig { restart, ..config() });
    for _ in 0..2 {
        let generation = sim.generation();
        sim.send(Event::Failed { generation, reason: "record 7 of file a".into(), random: 0.5 });
        sim.advance(5_000);
    }
    assert_eq!(settled(&sim), Some(JobStatus::Failed { reason: "record 7 of file a".into() }));
}
