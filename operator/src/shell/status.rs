//! The status, written to the API server when it is worth a write.

use std::time::{Duration, Instant};

use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use weir_api::StreamJob;

use super::act::gone_or;
use super::context::Context;
use super::failure::{ActError, leading};
use crate::lifecycle::World;
use crate::names::MANAGER;

/// How often the status of a job that runs is written if nothing but its checkpoints changed.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Writes the status if it changed; if only checkpoints and the time of looking did, not more often than every 10 s.
pub async fn write_status(
    context: &Context,
    object: &StreamJob,
    world: &World,
    status: weir_api::StreamJobStatus,
) -> Result<bool, ActError> {
    let still = |status: &weir_api::StreamJobStatus| {
        let mut still = status.clone();
        still.observed_at = None;
        still.last_checkpoint = None;
        still.checkpoints.clear();
        still
    };
    let old = &world.status;
    if *old == status {
        return Ok(false);
    }
    let now = Instant::now();
    let recently =
        context.with(&world.job.uid, |memory| memory.status_at.is_some_and(|at| now.duration_since(at) < STATUS_EVERY));
    let first_checkpoint = old.last_checkpoint.is_none() && status.last_checkpoint.is_some();
    if still(old) == still(&status) && recently && !first_checkpoint {
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
        memory.status = Some(status);
        memory.status_at = Some(now);
    });
    Ok(true)
}
