//! One look at a job: dereference and validate, decide, build and apply, update the status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::runtime::controller::Action;
use weir_api::StreamJob;

use super::act::act;
use super::context::Context;
use super::failure::ActError;
use super::observe::{ObserveError, identity, observe};
use crate::lifecycle::decide;
use crate::metrics::LookOutcome;

/// The first and the longest wait after a look that failed.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long a look may take: each of its calls has a limit of its own.
const LOOK_LIMIT: Duration = Duration::from_secs(120);

/// Why a look failed.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Nothing could be decided.
    #[error("cannot see the job")]
    Observe(#[source] ObserveError),
    /// It took too long.
    #[error("the look took longer than {}s", LOOK_LIMIT.as_secs())]
    TooLong,
    /// The plan was not carried out.
    #[error("cannot do what the job needs")]
    Act(#[source] ActError),
}

/// One look.
///
/// # Errors
/// When something could not be read or done; it is tried again.
pub async fn reconcile(object: Arc<StreamJob>, context: Arc<Context>) -> Result<Action, LookError> {
    let begun = Instant::now();
    // Whatever hangs gives its place back: there are few.
    let result = tokio::time::timeout(LOOK_LIMIT, look(&object, &context)).await.unwrap_or(Err(LookError::TooLong));
    let outcome = match &result {
        Ok((true, _)) => LookOutcome::Acted,
        Ok((false, _)) => LookOutcome::Unchanged,
        Err(LookError::Act(error)) if error.is_conflict() => LookOutcome::Conflict,
        Err(_) => LookOutcome::Error,
    };
    context.metrics.looked(outcome, begun.elapsed());
    result.map(|(_, again)| Action::requeue(again))
}

async fn look(object: &StreamJob, context: &Arc<Context>) -> Result<(bool, Duration), LookError> {
    let world = observe(context, object).await.map_err(LookError::Observe)?;
    let uid = world.job.uid.clone();
    let begun = Instant::now();
    let plan = decide(&world);
    context.metrics.decided(begun.elapsed());
    let again = plan.again;
    let sent = act(context, object, world, plan).await.map_err(LookError::Act)?;
    context.with(&uid, |memory| memory.errors = 0);
    Ok((sent, again))
}

/// When to look again after a look that failed.
pub fn retry(object: Arc<StreamJob>, error: &LookError, context: Arc<Context>) -> Action {
    let is_conflict = matches!(error, LookError::Act(error) if error.is_conflict());
    if is_conflict {
        return Action::requeue(FIRST_RETRY);
    }
    if matches!(error, LookError::Act(error) if error.is_namespace_ending()) {
        return Action::requeue(LONGEST_RETRY);
    }
    let Ok(job) = identity(&object) else { return Action::await_change() };
    let errors = context.with(&job.uid, |memory| {
        memory.errors = memory.errors.saturating_add(1);
        memory.errors
    });
    let wait = FIRST_RETRY.saturating_mul(1_u32.checked_shl(errors.min(16)).unwrap_or(u32::MAX)).min(LONGEST_RETRY);
    tracing::warn!(namespace = %job.namespace, job = %job.name, error = %chain(error), ?wait, "a look failed");
    Action::requeue(wait)
}

/// An error with its sources.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
