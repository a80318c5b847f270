//! Whether a spec asks for another deployment, and how to get there.

use serde_json::Value;
use weir_api::defaults::CPU_MILLIS_PER_SLOT;
use weir_api::{ResolvedJob, StreamJobSpec};
use xxhash_rust::xxh3::xxh3_64;

use super::world::{Deployed, Wanted};

/// Fields of a spec that change what is asked of a job, not what runs.
const WISHES: [&str; 6] = ["desiredState", "deletionPolicy", "upgrade", "rescale", "checkpointNonce", "savepoint"];

/// The hash of a spec as it was written, wishes left out. It says whether the user changed what runs, whatever defaults the
/// operator that looks may have.
pub fn spec_hash(spec: &StreamJobSpec) -> String {
    let mut value = serde_json::to_value(spec).expect("a spec is JSON");
    if let Value::Object(members) = &mut value {
        members.retain(|name, _| !WISHES.contains(&name.as_str()));
    }
    sort(&mut value);
    format!("{:016x}", xxh3_64(value.to_string().as_bytes()))
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(sort);
            let mut sorted: Vec<(String, Value)> = std::mem::take(members).into_iter().collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            members.extend(sorted);
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What a changed spec asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The spec reads otherwise, and the same runs: only the record changes.
    Note,
    /// Pods stay, the coordinator deploys anew.
    Redeploy,
    /// Pods are replaced.
    Replace,
}

/// What `wanted` asks for where `deployed` is.
pub fn resolve_change(deployed: &Deployed, wanted: &Wanted) -> Change {
    if deployed.notes.spec == wanted.spec {
        return Change::None;
    }
    let Some(running) = &deployed.resolved else { return Change::Replace };
    let mut new = wanted.resolved.clone();
    new.revision_number = running.revision_number;
    // A restoreFrom that is taken back was consumed by the first claim.
    if new.restore_from.is_none() {
        new.restore_from.clone_from(&running.restore_from);
    }
    let mut kept_image = new.clone();
    if !wanted.names_image {
        kept_image.image.clone_from(&running.image);
    }
    if same(&kept_image, running) {
        return Change::Note;
    }
    if same(&with_what_redeploys_of(running, &kept_image), running) {
        return Change::Redeploy;
    }
    Change::Replace
}

/// `new` with everything as in `running` that a running process can change.
fn with_what_redeploys_of(running: &ResolvedJob, new: &ResolvedJob) -> ResolvedJob {
    let by_slots = |job: &ResolvedJob| job.cpu_millis == u64::from(job.slots) * CPU_MILLIS_PER_SLOT;
    let mut rest = new.clone();
    // Cores that follow from slots come with the next pod; cores that the user names are worth a pod of their own.
    if by_slots(running) && by_slots(new) {
        rest.cpu_millis = running.cpu_millis;
    }
    rest.slots = running.slots;
    rest.parallelism = running.parallelism;
    rest.checkpoint.clone_from(&running.checkpoint);
    rest.restart.clone_from(&running.restart);
    rest
}

fn same(a: &ResolvedJob, b: &ResolvedJob) -> bool {
    a.canonical_json() == b.canonical_json()
}

impl Wanted {
    /// The job to deploy with a number. A redeployment keeps the image of the running process.
    pub fn numbered(&self, number: u64, image_of: Option<&ResolvedJob>) -> ResolvedJob {
        let mut resolved = self.resolved.clone();
        resolved.revision_number = number;
        if let (Some(running), false) = (image_of, self.names_image) {
            resolved.image.clone_from(&running.image);
        }
        resolved
    }
}
