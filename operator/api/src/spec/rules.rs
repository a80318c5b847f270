//! Rules between fields, and over a job's life, as CEL for the API server. What can be checked on one object is checked
//! again when a job is resolved, with the same words.

use kube::core::{Message, Rule};

use crate::bounds;

fn rule(rule: impl Into<String>, allowed: &str, hint: &str) -> Rule {
    Rule::new(rule).message(Message::Message(bounds::message(allowed, hint)))
}

pub(super) fn name_rule() -> Rule {
    use crate::name::{ALLOWED, MAX_LENGTH, REGEX};
    // A rule on the whole object cannot point into metadata, so its words do.
    let allowed = format!("as metadata.name {ALLOWED}");
    rule(
        format!("self.metadata.name.size() <= {MAX_LENGTH} && self.metadata.name.matches('{REGEX}')"),
        &allowed,
        "the names of the job's objects are made from it",
    )
}

/// What is said when a cluster's job names no storage.
pub(crate) const STORAGE_REQUIRED: (&str, &str) =
    ("a uri such as s3://bucket/prefix", "add spec.storage: a job on a cluster keeps its checkpoints in a bucket");

pub(super) fn storage_rule() -> Rule {
    rule("has(self.storage)", STORAGE_REQUIRED.0, STORAGE_REQUIRED.1)
}

pub(super) fn storage_kept_rule() -> Rule {
    rule(
        "!has(self.storage) || !has(oldSelf.storage) || (self.storage.uri == oldSelf.storage.uri && \
         has(self.storage.endpoint) == has(oldSelf.storage.endpoint) && \
         (!has(self.storage.endpoint) || self.storage.endpoint == oldSelf.storage.endpoint))",
        "the uri and endpoint it was created with",
        "a job never moves: take a savepoint and start a new job from it",
    )
    .field_path(".storage")
}

pub(super) fn max_parallelism_kept_rule() -> Rule {
    rule(
        "self == oldSelf",
        "the number it was created with",
        "key groups are fixed for a job's life: start a new job with another name",
    )
}

/// What is said when there are more subtasks than key groups.
pub(crate) const PARALLELISM: (&str, &str) = (
    "workers times slots up to spec.maxParallelism",
    "lower spec.worker.slots, maxParallelism is fixed once the job was created",
);

pub(super) fn parallelism_rule() -> Rule {
    rule(
        "self.workers * (has(self.worker) && has(self.worker.slots) ? self.worker.slots : 1) <= self.maxParallelism",
        PARALLELISM.0,
        PARALLELISM.1,
    )
    .field_path(".worker.slots")
}

/// What is said when the first delay is longer than the longest.
pub(crate) const RESTART_ORDER: (&str, &str) =
    ("spec.restart.initial or longer", "raise max or lower initial: delays grow from initial to max");

pub(super) fn restart_rule() -> Rule {
    rule(
        "duration(has(self.initial) ? self.initial : '1s') <= duration(has(self.max) ? self.max : '1m')",
        RESTART_ORDER.0,
        RESTART_ORDER.1,
    )
    .field_path(".max")
}
