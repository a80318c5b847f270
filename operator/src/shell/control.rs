//! Coordinators: their status, and calls in the background.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use weir_control::{CallError, ControlClient, v1};

use super::context::Context;
use super::views::report;
use crate::build::pod::CONTROL_PORT;
use crate::lifecycle::{Call, Control, Outcome, PodView};
use crate::names::Job;

/// What is granted to a call beyond the time that the coordinator has.
const CALL_SLACK: Duration = Duration::from_secs(10);
/// How long a checkpoint or a savepoint may take.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(1800);

/// Asks the coordinator in `pod` where the job stands.
pub async fn ask(context: &Context, job: &Job, pod: &PodView) -> Control {
    let client = match connect(context, job, pod).await {
        Ok(client) => client,
        Err(why) => return Control::Unreachable(why),
    };
    match client.status().await {
        Ok(said) => Control::Answered(Box::new(report(said))),
        Err(error) => {
            context.with(&job.uid, |memory| memory.client = None);
            Control::Unreachable(error.to_string())
        }
    }
}

async fn connect(context: &Context, job: &Job, pod: &PodView) -> Result<ControlClient, String> {
    let known = context.with(&job.uid, |memory| memory.client.clone());
    if let Some((_, client)) = known.filter(|(uid, _)| *uid == pod.uid) {
        return Ok(client);
    }
    let ip = pod.ip.as_deref().ok_or("its pod has no address yet")?;
    let address = if ip.contains(':') { format!("[{ip}]:{CONTROL_PORT}") } else { format!("{ip}:{CONTROL_PORT}") };
    let identity = context.issuer.identity().map_err(|error| error.to_string())?;
    let client = ControlClient::connect(&address, &identity, &job.uid).await.map_err(|error| error.to_string())?;
    context.with(&job.uid, |memory| memory.client = Some((pod.uid.clone(), client.clone())));
    Ok(client)
}

/// Makes a call in the background. Its outcome is remembered, and wakes the job's look.
pub fn call(context: &Arc<Context>, job: &Job, pod: Option<PodView>, number: u64, call: Call) {
    let (kind, key) = (call.kind(), call.key());
    let is_known = context.with(&job.uid, |memory| {
        let record = memory.memory.calls.entry(kind).or_insert_with(|| crate::lifecycle::CallRecord {
            key,
            started: Timestamp::now(),
            outcome: None,
        });
        record.outcome = None;
        record.key == key
    });
    if !is_known {
        return;
    }
    let (task_context, job) = (context.clone(), job.clone());
    let task = async move {
        let outcome = match &pod {
            Some(pod) => match connect(&task_context, &job, pod).await {
                Ok(client) => carry_out(&client, call, number).await,
                Err(why) => Outcome::Again(why),
            },
            None => Outcome::Again("there is no pod to ask".to_owned()),
        };
        tracing::info!(job = %job.name, namespace = %job.namespace, call = ?kind, key, ?outcome, "called");
        if matches!(outcome, Outcome::Again(_)) {
            // Not at once: whoever cannot answer now is given a moment.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        task_context.with(&job.uid, |memory| {
            if let Some(record) = memory.memory.calls.get_mut(&kind).filter(|record| record.key == key) {
                record.outcome = Some(outcome);
            }
        });
        task_context.wake(&job.namespace, &job.name);
    };
    let mut calls = context.calls.lock();
    while calls.try_join_next().is_some() {}
    calls.spawn(task);
}

async fn carry_out(client: &ControlClient, call: Call, number: u64) -> Outcome {
    match call {
        Call::Stop { number, timeout } => {
            let request = v1::StopRequest { revision: number, savepoint: String::new(), timeout_ms: whole(timeout) };
            outcome(client.stop(request, timeout + CALL_SLACK).await, |answer| {
                let from =
                    answer.checkpoint.map_or_else(|| "the beginning".to_owned(), |id| format!("checkpoint {id}"));
                match answer.with_final_checkpoint {
                    true => format!("stopped; it goes on from its final checkpoint, {from}"),
                    false => format!("stopped without a final checkpoint in time; it goes on from {from}"),
                }
            })
        }
        Call::Discard { number } => {
            // Too short for any checkpoint, and yet the journal says durably that the revision is stopped.
            let request = v1::StopRequest { revision: number, savepoint: String::new(), timeout_ms: 1 };
            outcome(client.stop(request, CALL_SLACK).await, |_| "stopped without a final checkpoint".to_owned())
        }
        Call::Redeploy { resolved, timeout } => {
            let job = resolved.stored_json().into_bytes();
            let request = v1::RedeployRequest { job, timeout_ms: whole(timeout) };
            outcome(client.redeploy(request, timeout * 2 + CALL_SLACK).await, |_| "deployed anew".to_owned())
        }
        Call::Checkpoint { nonce } => {
            let request = v1::TriggerCheckpointRequest { revision: number, nonce: Some(nonce) };
            outcome(client.trigger_checkpoint(request, CHECKPOINT_LIMIT).await, |answer| {
                format!("checkpoint {} was taken as asked", answer.checkpoint.unwrap_or_default().id)
            })
        }
        Call::Savepoint { nonce, name } => {
            let request = v1::TriggerSavepointRequest { revision: number, nonce: Some(nonce), name };
            outcome(client.trigger_savepoint(request, CHECKPOINT_LIMIT).await, |answer| {
                format!("savepoint {} of checkpoint {} is at {}", answer.name, answer.checkpoint, answer.uri)
            })
        }
    }
}

fn outcome<T>(answer: Result<T, CallError>, words: impl FnOnce(T) -> String) -> Outcome {
    match answer {
        Ok(answer) => Outcome::Done(words(answer)),
        Err(error) if error.can_retry() => Outcome::Again(error.to_string()),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}

fn whole(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
