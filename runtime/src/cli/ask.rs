//! `weir checkpoint`, `savepoint`, `stop` and `status`: requests to a running job.

use serde_json::Value;

use super::{AskFlags, Exit, Refusal, print, print_json};
use crate::manifest;
use crate::run::control::{ControlError, Request, call};
use crate::show;

pub(super) fn checkpoint(flags: &AskFlags) -> Result<Exit, Refusal> {
    ask(flags, &Request::Checkpoint, |answer| {
        format!(
            "checkpoint {} took {}, {} uploaded",
            answer["id"],
            show::millis(number(&answer["duration_ms"])),
            bytes(&answer["bytes_incremental"])
        )
    })
}

pub(super) fn savepoint(flags: &AskFlags, name: String) -> Result<Exit, Refusal> {
    ask(flags, &Request::Savepoint { name }, |answer| {
        format!("savepoint of checkpoint {}: {}", answer["checkpoint"], text(&answer["uri"]))
    })
}

pub(super) fn stop(flags: &AskFlags, savepoint: Option<String>) -> Result<Exit, Refusal> {
    ask(flags, &Request::Stop { savepoint }, |answer| match (&answer["checkpoint"], &answer["with_final_checkpoint"]) {
        (Value::Null, _) => "stopped without any checkpoint".to_owned(),
        (checkpoint, Value::Bool(true)) => format!("stopped with final checkpoint {checkpoint}"),
        (checkpoint, _) => format!(
            "stopped; no final checkpoint was complete in time, the job will go on from checkpoint {checkpoint}"
        ),
    })
}

pub(super) fn status(flags: &AskFlags) -> Result<Exit, Refusal> {
    ask(flags, &Request::Status, |answer| {
        let mut lines = vec![format!("state        {}", text(&answer["state"]["phase"]))];
        if let Some(reason) = answer["state"]["reason"].as_str() {
            lines.push(format!("reason       {reason}"));
        }
        lines.push(format!("job          {}, generation {}", text(&answer["job_id"]), answer["generation"]));
        let last = &answer["last_checkpoint"];
        if !last.is_null() {
            let (id, took, full) =
                (&last["id"], show::millis(number(&last["duration_ms"])), bytes(&last["bytes_full"]));
            lines.push(format!(
                "checkpoint   {id} at {}, took {took}, {full} in full",
                show::time(last["completed_at"].as_i64().unwrap_or(0))
            ));
        }
        let failed: u64 = answer["failed"].as_object().into_iter().flatten().map(|(_, count)| number(count)).sum();
        lines.push(format!("checkpoints  {} completed, {failed} failed", answer["completed"]));
        lines.push(format!("restarts     {}", answer["restart_count"]));
        lines.join("\n")
    })
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

fn bytes(value: &Value) -> String {
    show::bytes(number(value))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn ask(flags: &AskFlags, request: &Request, shown: impl Fn(&Value) -> String) -> Result<Exit, Refusal> {
    let loaded = manifest::load(&flags.file, &[]).map_err(Refusal::bad_input)?;
    let directory = loaded.work_dir(flags.work_dir.as_deref());
    match call(&directory, request) {
        Ok(answer) if flags.json => print_json(&answer)?,
        Ok(answer) => print(&format!("{}\n", shown(&answer))),
        Err(error @ ControlError::Nobody { .. }) => return Err(Refusal::bad_input(error)),
        Err(error) => return Err(Refusal::failed(error)),
    }
    Ok(Exit::Done)
}
