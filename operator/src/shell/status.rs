//! The status, written to the API server when it is worth a write.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use weir_api::{StreamJob, StreamJobStatus};

use super::act::gone_or;
use super::context::Context;
use super::failure::{ActError, leading};
use crate::lifecycle::World;
use crate::names::MANAGER;

/// How often the status of a job is written if nothing but its checkpoints changed.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Writes the status if it is worth it. True if it was written.
pub async fn write_status(
    context: &Context,
    object: &StreamJob,
    world: &World,
    status: StreamJobStatus,
) -> Result<bool, ActError> {
    let now = Instant::now();
    let written = context.with(&world.job.uid, |memory| memory.status_at.map(|at| now.duration_since(at)));
    if !is_due(&world.status, &status, written) {
        return Ok(false);
    }
    leading(context)?;
    let api: Api<StreamJob> = Api::namespaced(context.clients.call.clone(), &world.job.namespace);
    let patch = json!({
        "apiVersion": weir_api::spec::API_VERSION,
        "kind": weir_api::spec::KIND,
        "metadata": { "uid": world.job.uid },
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let patched = api.patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await;
    gone_or(context, patched.map(drop))?;
    context.with(&world.job.uid, |memory| {
        memory.status = Some(Box::new(status));
        memory.status_at = Some(now);
    });
    Ok(true)
}

/// Whether `new` is worth a write where `old` stands, which was written so long ago.
///
/// When the job was last asked is no news. Retained checkpoints are, but not more often than every 10 s: a job may complete one
/// each second. Everything else is said at once, and so is the first checkpoint.
fn is_due(old: &StreamJobStatus, new: &StreamJobStatus, written: Option<Duration>) -> bool {
    let without_time = |status: &StreamJobStatus| StreamJobStatus { observed_at: None, ..status.clone() };
    let (old, new) = (without_time(old), without_time(new));
    if old == new {
        return false;
    }
    let is_first_checkpoint = old.last_checkpoint.is_none() && new.last_checkpoint.is_some();
    let without_checkpoints =
        |status: StreamJobStatus| StreamJobStatus { last_checkpoint: None, checkpoints: Vec::new(), ..status };
    is_first_checkpoint
        || written.is_none_or(|written| written >= STATUS_EVERY)
        || without_checkpoints(old) != without_checkpoints(new)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use weir_api::status::{CheckpointStatus, Health, JobState};

    use super::*;

    fn time(second: i64) -> Option<Time> {
        Some(Time(Timestamp::from_second(second).unwrap()))
    }

    fn status(asked: i64, checkpoint: i64) -> StreamJobStatus {
        let newest = CheckpointStatus { id: checkpoint, completed_at: time(checkpoint), ..Default::default() };
        StreamJobStatus {
            state: Some(JobState::Running),
            observed_at: time(asked),
            last_checkpoint: (checkpoint > 0).then(|| newest.clone()),
            checkpoints: if checkpoint > 0 { vec![newest] } else { Vec::new() },
            ..Default::default()
        }
    }

    #[test]
    fn a_status_is_written_for_news_and_for_checkpoints_not_too_often() {
        let [now, soon, later] = [None, Some(Duration::from_secs(9)), Some(Duration::from_secs(10))];
        let degraded = StreamJobStatus { health: Some(Health::Degraded), ..status(5, 4) };
        for (old, new, written, expected, what) in [
            (status(0, 4), status(0, 4), now, false, "nothing changed"),
            (status(0, 4), status(3600, 4), later, false, "only the time of asking changed, whatever has passed"),
            (status(0, 4), status(5, 5), soon, false, "a checkpoint, and it was written just now"),
            (status(0, 4), status(5, 5), later, true, "a checkpoint"),
            (status(0, 4), status(5, 5), now, true, "a checkpoint, and this process has written nothing yet"),
            (status(0, 0), status(5, 1), soon, true, "the first checkpoint"),
            (status(0, 4), degraded, soon, true, "something else"),
        ] {
            assert_eq!(is_due(&old, &new, written), expected, "{what}");
        }
    }
}
