//! A status for eyes: what a person wants to know first, first.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_control::v1;

use crate::show::{self, Align, Table};

/// Restarts that are listed.
const MOST_RESTARTS: usize = 6;

/// The name of a state.
pub(super) fn state(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Starting => "starting",
        v1::JobState::Deploying => "deploying",
        v1::JobState::Running => "running",
        v1::JobState::Ending => "ending",
        v1::JobState::Restarting => "restarting",
        v1::JobState::Stopped => "stopped",
        v1::JobState::Finished => "finished",
        v1::JobState::Failed => "failed",
        v1::JobState::Left => "left",
    }
}

fn kind(kind: v1::CheckpointKind) -> &'static str {
    match kind {
        v1::CheckpointKind::Unspecified => "unknown",
        v1::CheckpointKind::Checkpoint => "checkpoint",
        v1::CheckpointKind::Savepoint => "savepoint",
        v1::CheckpointKind::Final => "final",
    }
}

/// The whole page, as of `now`.
pub(super) fn render(status: &v1::StatusResponse, now: i64) -> String {
    let mut page = head(status);
    page.push_str(&checkpoints(status, now));
    page.push_str(&restarts(status));
    page.push_str(&operators(status));
    page
}

fn head(status: &v1::StatusResponse) -> String {
    let (job, revision) = (status.job.clone().unwrap_or_default(), status.revision.clone().unwrap_or_default());
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name:<13}{value}").expect("writing to a string cannot fail");
    };
    line("job", &format!("{}/{} ({})", job.namespace, job.name, job.graph));
    let why = if status.reason.is_empty() { String::new() } else { format!(": {}", status.reason) };
    line("state", &format!("{}{why}", state(status.state())));
    if status.next_attempt_at > 0 {
        line("next try", &show::time(status.next_attempt_at));
    }
    let journal = status.journal_revision.clone().unwrap_or_default();
    let behind = if journal.number == revision.number || journal.hash.is_empty() {
        String::new()
    } else {
        format!(", the journal is of {}", journal.number)
    };
    line("revision", &format!("{} {}{behind}", revision.number, revision.hash));
    line("generation", &status.generation.to_string());
    line("parallelism", &format!("{} ({} × {} slots)", status.parallelism, status.workers, status.slots));
    line("process", &format!("weir {}, since {}", status.runtime_version, show::time(status.started_at)));
    if !status.pod.is_empty() {
        line("pod", &format!("{} {}", status.pod, status.pod_uid));
    }
    if let Some(id) = status.restored_from {
        line("restored", &format!("from checkpoint {id}"));
    }
    let failed: u64 = status.failed.values().sum();
    line("checkpoints", &format!("{} completed, {failed} failed, {} skipped", status.completed, status.skipped));
    line("restarts", &status.restart_count.to_string());
    let storage = status.storage.clone().unwrap_or_default();
    if storage.trouble_since > 0 {
        line("storage", &format!("in trouble since {}: {}", show::time(storage.trouble_since), storage.message));
    }
    if let Some(size) = &status.state_size {
        line(
            "state",
            &format!("{} in memory, {} on disk", bytes(size.write + size.clean + size.pinned), bytes(size.past)),
        );
    }
    text
}

fn checkpoints(status: &v1::StatusResponse, now: i64) -> String {
    if status.checkpoints.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("CHECKPOINT", Align::Right),
        ("KIND", Align::Left),
        ("COMPLETED", Align::Left),
        ("AGE", Align::Left),
        ("TOOK", Align::Right),
        ("FULL", Align::Right),
        ("UPLOADED", Align::Right),
        ("GENERATION", Align::Right),
    ]);
    for one in &status.checkpoints {
        table.row([
            one.id.to_string(),
            kind(one.kind()).to_owned(),
            show::time(one.completed_at),
            show::ago(u64::try_from(now - one.completed_at).unwrap_or(0)),
            show::millis(one.duration_ms),
            bytes(one.bytes_full),
            bytes(one.bytes_incremental),
            one.generation.to_string(),
        ]);
    }
    format!("\n{}", table.render(0))
}

fn restarts(status: &v1::StatusResponse) -> String {
    if status.restarts.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("RESTART", Align::Left),
        ("KIND", Align::Left),
        ("WAITED", Align::Right),
        ("RESTORED", Align::Right),
        ("REASON", Align::Left),
    ]);
    for one in status.restarts.iter().rev().take(MOST_RESTARTS) {
        table.row([
            show::time(one.at),
            one.kind.clone(),
            show::millis(one.delay_ms),
            one.restored.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            one.reason.clone(),
        ]);
    }
    format!("\n{}", table.render(0))
}

fn operators(status: &v1::StatusResponse) -> String {
    if status.operators.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        ("OPERATOR", Align::Left),
        ("RECORDS IN", Align::Right),
        ("RECORDS OUT", Align::Right),
        ("LATE", Align::Right),
        ("DEAD", Align::Right),
        ("BUSY", Align::Left),
    ]);
    for one in &status.operators {
        let busy: Vec<String> = one.subtasks.iter().map(|subtask| show::percent(subtask.busy)).collect();
        table.row([
            one.id.clone(),
            show::grouped(one.records_in),
            show::grouped(one.records_out),
            show::grouped(one.late),
            show::grouped(one.dead),
            busy.join(", "),
        ]);
    }
    format!("\n{}", table.render(0))
}

/// A checkpoint that was asked for.
pub(super) fn taken(one: &v1::Checkpoint) -> String {
    let (took, uploaded) = (show::millis(one.duration_ms), bytes(one.bytes_incremental));
    format!("checkpoint {} took {took}, {uploaded} uploaded\n", one.id)
}

/// A job that was stopped.
pub(super) fn stopped(answer: &v1::StopResponse) -> String {
    let state = state(answer.state());
    match (answer.checkpoint, answer.with_final_checkpoint) {
        (None, _) => format!("{state} without any checkpoint\n"),
        (Some(id), true) => format!("{state} with final checkpoint {id}\n"),
        (Some(id), false) => {
            format!("{state}; no final checkpoint was complete in time, the job will go on from checkpoint {id}\n")
        }
    }
}

/// A checkpoint as JSON.
pub(super) fn checkpoint_json(one: &v1::Checkpoint) -> Value {
    json!({
        "id": one.id,
        "kind": kind(one.kind()),
        "completedAt": one.completed_at,
        "durationMs": one.duration_ms,
        "bytesFull": one.bytes_full,
        "bytesIncremental": one.bytes_incremental,
        "generation": one.generation,
    })
}

/// A status as JSON.
pub(super) fn as_json(status: &v1::StatusResponse) -> Value {
    let (job, revision) = (status.job.clone().unwrap_or_default(), status.revision.clone().unwrap_or_default());
    let storage = status.storage.clone().unwrap_or_default();
    let restart = |one: &v1::Restart| {
        json!({
            "at": one.at, "kind": one.kind, "reason": one.reason, "operator": one.operator, "restored": one.restored,
            "delayMs": one.delay_ms,
        })
    };
    let operator = |one: &v1::Operator| {
        let busy: Vec<f64> = one.subtasks.iter().map(|subtask| subtask.busy).collect();
        json!({
            "id": one.id, "recordsIn": one.records_in, "recordsOut": one.records_out, "bytesIn": one.bytes_in,
            "late": one.late, "dead": one.dead, "watermark": one.watermark, "busy": busy,
        })
    };
    json!({
        "version": status.runtime_version,
        "namespace": job.namespace, "name": job.name, "uid": job.uid, "jobId": job.job_id, "job": job.graph,
        "revision": {"number": revision.number, "hash": revision.hash},
        "journal": {
            "state": state(status.journal_state()),
            "revision": status.journal_revision.as_ref().map(|revision| revision.number),
        },
        "generation": status.generation,
        "state": state(status.state()), "reason": status.reason, "nextAttemptAt": status.next_attempt_at,
        "parallelism": status.parallelism, "slots": status.slots, "workers": status.workers,
        "startedAt": status.started_at, "sampledAt": status.sampled_at, "restoredFrom": status.restored_from,
        "checkpoints": status.checkpoints.iter().map(checkpoint_json).collect::<Vec<_>>(),
        "inFlight": status.in_flight,
        "completed": status.completed, "failed": status.failed, "skipped": status.skipped,
        "restarts": status.restarts.iter().map(restart).collect::<Vec<_>>(),
        "restartCount": status.restart_count, "restartsByKind": status.restarts_by_kind,
        "lastFailure": status.last_failure.as_ref().map(|failure| json!({
            "at": failure.at, "kind": failure.kind, "reason": failure.reason, "operator": failure.operator,
        })),
        "storage": {
            "troubleSince": storage.trouble_since, "message": storage.message, "failures": storage.failures,
        },
        "operators": status.operators.iter().map(operator).collect::<Vec<_>>(),
        "lagMs": status.lag_ms,
        "pod": status.pod, "podUid": status.pod_uid,
    })
}

fn bytes(count: u64) -> String {
    show::bytes(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> v1::StatusResponse {
        v1::StatusResponse {
            runtime_version: "0.1.0".to_owned(),
            job: Some(v1::JobIdentity {
                namespace: "team-a".to_owned(),
                name: "bids".to_owned(),
                graph: "nexmark-q5".to_owned(),
                ..v1::JobIdentity::default()
            }),
            revision: Some(v1::Revision { number: 4, hash: "5e99344786dd9705".to_owned() }),
            generation: 3,
            state: v1::JobState::Restarting.into(),
            reason: "operator sum: no".to_owned(),
            next_attempt_at: 61_000,
            parallelism: 2,
            workers: 1,
            slots: 2,
            started_at: 1_000,
            restored_from: Some(16),
            checkpoints: vec![v1::Checkpoint {
                id: 17,
                kind: v1::CheckpointKind::Checkpoint.into(),
                completed_at: 50_000,
                duration_ms: 42,
                bytes_full: 2_000,
                bytes_incremental: 100,
                generation: 3,
                ..v1::Checkpoint::default()
            }],
            completed: 9,
            failed: [("timeout".to_owned(), 1)].into(),
            restarts: vec![v1::Restart {
                at: 60_000,
                reason: "operator sum: no".to_owned(),
                delay_ms: 1_000,
                kind: "user_code".to_owned(),
                ..v1::Restart::default()
            }],
            restart_count: 1,
            storage: Some(v1::Storage { trouble_since: 57_000, message: "timed out".to_owned(), failures: 2 }),
            operators: vec![v1::Operator {
                id: "sum".to_owned(),
                records_in: 12_345,
                subtasks: vec![v1::Subtask { busy: 0.5, ..v1::Subtask::default() }],
                ..v1::Operator::default()
            }],
            ..v1::StatusResponse::default()
        }
    }

    #[test]
    fn a_page_says_what_matters_first() {
        let expected = "\
job          team-a/bids (nexmark-q5)
state        restarting: operator sum: no
next try     1970-01-01T00:01:01.000Z
revision     4 5e99344786dd9705
generation   3
parallelism  2 (1 × 2 slots)
process      weir 0.1.0, since 1970-01-01T00:00:01.000Z
restored     from checkpoint 16
checkpoints  9 completed, 1 failed, 0 skipped
restarts     1
storage      in trouble since 1970-01-01T00:00:57.000Z: timed out

CHECKPOINT  KIND        COMPLETED                 AGE          TOOK      FULL  UPLOADED  GENERATION
        17  checkpoint  1970-01-01T00:00:50.000Z  10 s ago  42.0 ms  1.95 KiB     100 B           3

RESTART                   KIND       WAITED  RESTORED  REASON
1970-01-01T00:01:00.000Z  user_code  1.00 s         -  operator sum: no

OPERATOR  RECORDS IN  RECORDS OUT  LATE  DEAD  BUSY
sum           12 345            0     0     0  50 %
";
        assert_eq!(render(&status(), 60_000), expected);
    }

    #[test]
    fn a_stop_says_what_the_job_goes_on_from() {
        let stop = |checkpoint, with_final_checkpoint| {
            stopped(&v1::StopResponse { state: v1::JobState::Stopped.into(), checkpoint, with_final_checkpoint })
        };
        assert_eq!(stop(Some(7), true), "stopped with final checkpoint 7\n");
        assert_eq!(stop(None, true), "stopped without any checkpoint\n");
        assert!(stop(Some(7), false).contains("will go on from checkpoint 7"));
    }
}
