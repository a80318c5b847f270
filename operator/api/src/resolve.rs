//! From what was written to what runs: every default, every rule, all refusals at once. Pure.
//!
//! The schema refuses most of this earlier on a cluster, and the reader of manifests refuses wrong types and unknown
//! fields. Nothing here relies on either: a job that comes out is valid whatever went in.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::bounds;
use crate::defaults;
use crate::duration::Duration;
use crate::form::{self, Form};
use crate::invalid::{Invalid, quoted};
use crate::name::{self, JobName};
use crate::path::FieldPath;
use crate::quantity::Quantity;
use crate::resolved::{
    FORMAT, ResolvedCheckpoint, ResolvedJob, ResolvedRescale, ResolvedRestart, ResolvedStorage, ResolvedUpgrade,
    RestoreFrom, Wishes,
};
use crate::spec::{
    CheckpointSpec, PARALLELISM, RESTART_ORDER, RescaleSpec, RestartSpec, RestoreFromSpec, STORAGE_REQUIRED,
    SavepointSpec, StorageSpec, StreamJob, UpgradeSpec, WorkerSpec,
};
use crate::uri::StorageUri;

mod pod;
mod restore;

pub use pod::RESERVED_ENV;

/// The namespace and the owner of a job that `weir run` runs.
pub const LOCAL: &str = "local";

/// The most bytes that arguments may have as JSON: they travel in a ConfigMap of at most 1 MiB.
pub const MAX_ARGS_BYTES: usize = 256 * 1024;

/// Revision numbers of one StreamJob generation: the first is the spec's own, the second that of a rollback from it.
pub const NUMBERS_PER_GENERATION: u64 = 2;

/// Who reads the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `weir run job.yaml`: one machine, local directories allowed, storage may be left out.
    CommandLine,
    /// The Weir operator: only what every pod can reach.
    Cluster,
}

/// Applies every default and checks every rule.
///
/// # Errors
/// Everything that is wrong, in the order of the fields.
pub fn resolve(job: &StreamJob, surface: Surface) -> Result<ResolvedJob, Vec<Invalid>> {
    let mut checks = Checks { surface, refused: Vec::new() };
    let resolved = checks.job(job);
    match resolved {
        Some(resolved) if checks.refused.is_empty() => Ok(resolved),
        _ => Err(checks.refused),
    }
}

/// Collects refusals; a refused field goes on with its default so that the others are checked too.
struct Checks {
    surface: Surface,
    refused: Vec<Invalid>,
}

impl Checks {
    fn job(&mut self, job: &StreamJob) -> Option<ResolvedJob> {
        let name = self.name(job.metadata.name.as_deref());
        let (namespace, owner) = self.identity(job);
        let spec = &job.spec;
        let image = self.optional_text("spec.image", spec.image.as_deref(), &form::IMAGE);
        let graph = self.text("spec.job", &spec.job, &form::GRAPH);
        let args = self.args(spec.args.as_ref());
        let workers = self.u32("spec.workers", spec.workers, defaults::WORKERS, &bounds::WORKERS);
        let max_parallelism =
            self.u32("spec.maxParallelism", spec.max_parallelism, defaults::MAX_PARALLELISM, &bounds::MAX_PARALLELISM);
        let worker = self.worker(&spec.worker.clone().unwrap_or_default());
        let parallelism = self.parallelism(workers, worker.slots, max_parallelism);
        let disk_class = spec.worker.as_ref().and_then(|worker| worker.disk_class.as_deref());
        let disk_class = self.optional_text("spec.worker.diskClass", disk_class, &form::CLASS);
        let pod = spec.pod.clone().unwrap_or_default();
        self.refused.extend(pod::check_pod(&pod));
        let pod = pod::resolve_pod(&pod);
        let backend = spec.state.clone().unwrap_or_default().backend.unwrap_or_default();
        let storage = self.storage(spec.storage.as_ref());
        let checkpoint = self.checkpoint(&spec.checkpoint.clone().unwrap_or_default());
        let restart = self.restart(&spec.restart.clone().unwrap_or_default());
        let rescale = self.rescale(&spec.rescale.clone().unwrap_or_default());
        let upgrade = self.upgrade(&spec.upgrade.clone().unwrap_or_default());
        let restore_from = self.restore_from(spec.restore_from.as_ref());
        let restart_nonce = self.nonce("spec.restartNonce", spec.restart_nonce);
        let checkpoint_nonce = self.nonce("spec.checkpointNonce", spec.checkpoint_nonce);
        let savepoint = self.savepoint(spec.savepoint.as_ref());
        Some(ResolvedJob {
            format: FORMAT,
            revision_number: self.revision_number(job),
            name: name?,
            namespace,
            owner,
            image,
            job: graph,
            args,
            workers,
            slots: worker.slots,
            parallelism,
            max_parallelism,
            memory_bytes: worker.memory_bytes,
            cpu_millis: worker.cpu_millis,
            disk_bytes: worker.disk_bytes,
            backend,
            storage,
            checkpoint,
            restart,
            restore_from,
            restart_nonce,
            disk_class,
            pod,
            wishes: Wishes {
                desired_state: spec.desired_state.unwrap_or_default(),
                deletion_policy: spec.deletion_policy.unwrap_or_default(),
                upgrade,
                rescale,
                checkpoint_nonce,
                savepoint,
            },
        })
    }

    fn name(&mut self, text: Option<&str>) -> Option<JobName> {
        let text = text.unwrap_or_default();
        let found = if text.is_empty() { "nothing".to_owned() } else { quoted(text) };
        let name = text.parse::<JobName>().map_err(|error| Invalid::new("metadata.name", found, name::ALLOWED, error));
        self.keep(name)
    }

    fn revision_number(&self, job: &StreamJob) -> u64 {
        match self.surface {
            Surface::CommandLine => 0,
            Surface::Cluster => {
                let generation = job.metadata.generation.and_then(|number| u64::try_from(number).ok());
                generation.map_or(0, |number| number.saturating_mul(NUMBERS_PER_GENERATION))
            }
        }
    }

    /// Namespace and owner. The API server sets both on a cluster.
    fn identity(&mut self, job: &StreamJob) -> (String, String) {
        if self.surface == Surface::CommandLine {
            return (LOCAL.to_owned(), LOCAL.to_owned());
        }
        let hint = "resolve the StreamJob as the API server returns it";
        let mut given = |path: &str, value: Option<&String>, allowed: &str| {
            let value = value.filter(|text| !text.is_empty());
            if value.is_none() {
                self.refuse(Invalid::new(path, "nothing", allowed, hint));
            }
            value.cloned().unwrap_or_default()
        };
        let metadata = &job.metadata;
        let namespace = given("metadata.namespace", metadata.namespace.as_ref(), "the job's namespace");
        let owner = given("metadata.uid", metadata.uid.as_ref(), "the StreamJob's uid");
        (namespace, owner)
    }

    /// `null` means not given, as everywhere in a manifest.
    fn args(&mut self, args: Option<&BTreeMap<String, Value>>) -> BTreeMap<String, Value> {
        let mut args = args.cloned().unwrap_or_default();
        args.retain(|_, value| !value.is_null());
        let bytes = serde_json::to_vec(&args).map_or(0, |json| json.len());
        if bytes > MAX_ARGS_BYTES {
            self.refuse(Invalid::new(
                "spec.args",
                format!("{bytes} bytes as JSON"),
                format!("up to {MAX_ARGS_BYTES} bytes"),
                "put large inputs into a file or a bucket that the graph reads",
            ));
        }
        args
    }

    fn worker(&mut self, spec: &WorkerSpec) -> Worker {
        let slots = self.u32("spec.worker.slots", spec.slots, defaults::SLOTS, &bounds::SLOTS);
        let mut quantity = |path, value: &Option<Quantity>, default: Quantity, bounds: &bounds::QuantityBounds| {
            let value = value.clone().unwrap_or_else(|| default.clone());
            self.keep(bounds.check(path, &value).cloned()).unwrap_or(default)
        };
        let parse = |text: &str| text.parse().expect("defaults are quantities");
        let cpu = Quantity::from_millis(u64::from(slots) * defaults::CPU_MILLIS_PER_SLOT);
        Worker {
            slots,
            memory_bytes: quantity("spec.worker.memory", &spec.memory, parse(defaults::MEMORY), &bounds::MEMORY)
                .bytes(),
            cpu_millis: quantity("spec.worker.cpu", &spec.cpu, cpu, &bounds::CPU).millis(),
            disk_bytes: quantity("spec.worker.disk", &spec.disk, parse(defaults::DISK), &bounds::DISK).bytes(),
        }
    }

    fn parallelism(&mut self, workers: u32, slots: u32, max: u32) -> u32 {
        let parallelism = workers.saturating_mul(slots);
        if parallelism > max {
            self.refuse(Invalid::new(
                "spec.worker.slots",
                format!("{slots}, a parallelism of {parallelism}, with a maxParallelism of {max}"),
                PARALLELISM.0,
                PARALLELISM.1,
            ));
        }
        parallelism
    }

    fn storage(&mut self, spec: Option<&StorageSpec>) -> Option<ResolvedStorage> {
        let Some(spec) = spec else {
            if self.surface == Surface::Cluster {
                let (allowed, hint) = STORAGE_REQUIRED;
                self.refuse(Invalid::new("spec.storage", "nothing", allowed, hint));
            }
            return None;
        };
        self.reachable("spec.storage.uri", &spec.uri);
        let endpoint = self.optional_text("spec.storage.endpoint", spec.endpoint.as_deref(), &form::ENDPOINT);
        let region = self.optional_text("spec.storage.region", spec.region.as_deref(), &form::REGION);
        let secret = spec.credentials.as_ref().map(|c| c.secret_name.as_str());
        let secret = self.optional_text("spec.storage.credentials.secretName", secret, &form::SECRET);
        if spec.uri.is_file() {
            for (field, given) in
                [("endpoint", endpoint.is_some()), ("region", region.is_some()), ("credentials", secret.is_some())]
            {
                if given {
                    self.refuse(Invalid::new(
                        FieldPath::from("spec.storage").key(field),
                        format!("{field} beside {}", spec.uri),
                        format!("{field} beside s3://bucket/prefix"),
                        "remove it: a directory has none",
                    ));
                }
            }
        }
        let region = region.or_else(|| endpoint.is_some().then(|| defaults::REGION_WITH_ENDPOINT.to_owned()));
        Some(ResolvedStorage { uri: spec.uri.clone(), endpoint, region, credentials_secret: secret })
    }

    /// Refuses a directory where pods would have to share it.
    fn reachable(&mut self, path: &str, uri: &StorageUri) {
        if self.surface == Surface::Cluster && uri.is_file() {
            self.refuse(Invalid::new(
                path,
                uri,
                "s3://bucket/prefix",
                "name a bucket: pods share no directory, only `weir run` takes file://",
            ));
        }
    }

    fn checkpoint(&mut self, spec: &CheckpointSpec) -> ResolvedCheckpoint {
        let at = |field: &str| format!("spec.checkpoint.{field}");
        ResolvedCheckpoint {
            interval: self.duration(&at("interval"), spec.interval, defaults::INTERVAL, &bounds::INTERVAL),
            min_pause: self.duration(&at("minPause"), spec.min_pause, defaults::MIN_PAUSE, &bounds::MIN_PAUSE),
            timeout: self.duration(
                &at("timeout"),
                spec.timeout,
                defaults::CHECKPOINT_TIMEOUT,
                &bounds::CHECKPOINT_TIMEOUT,
            ),
            retained: self.u32(&at("retained"), spec.retained, defaults::RETAINED, &bounds::RETAINED),
            max_concurrent: self.u32(
                &at("maxConcurrent"),
                spec.max_concurrent,
                defaults::MAX_CONCURRENT,
                &bounds::MAX_CONCURRENT,
            ),
            mode: spec.mode.unwrap_or_default(),
            every_records: spec
                .every_records
                .and_then(|n| self.keep(bounds::EVERY_RECORDS.check(&at("everyRecords"), n))),
            every_bytes: spec
                .every_bytes
                .as_ref()
                .and_then(|q| self.keep(bounds::EVERY_BYTES.check(&at("everyBytes"), q)))
                .map(Quantity::bytes),
            tolerable_failures: self.u32(
                &at("tolerableFailures"),
                spec.tolerable_failures,
                defaults::TOLERABLE_FAILURES,
                &bounds::TOLERABLE_FAILURES,
            ),
        }
    }

    fn restart(&mut self, spec: &RestartSpec) -> ResolvedRestart {
        let at = |field: &str| format!("spec.restart.{field}");
        let initial = self.duration(&at("initial"), spec.initial, defaults::RESTART_INITIAL, &bounds::RESTART_INITIAL);
        let max = self.duration(&at("max"), spec.max, defaults::RESTART_MAX, &bounds::RESTART_MAX);
        if initial > max {
            let found = format!("{max} with an initial delay of {initial}");
            let (allowed, hint) = RESTART_ORDER;
            self.refuse(Invalid::new("spec.restart.max", found, allowed, hint));
        }
        ResolvedRestart {
            strategy: spec.strategy.unwrap_or_default(),
            initial,
            max,
            reset_after: self.duration(
                &at("resetAfter"),
                spec.reset_after,
                defaults::RESTART_RESET_AFTER,
                &bounds::RESTART_RESET_AFTER,
            ),
            budget: spec.budget.and_then(|n| self.keep(bounds::RESTART_BUDGET.check_u32(&at("budget"), n.into()))),
        }
    }

    fn rescale(&mut self, spec: &RescaleSpec) -> ResolvedRescale {
        ResolvedRescale {
            min_interval: self.duration(
                "spec.rescale.minInterval",
                spec.min_interval,
                defaults::RESCALE_MIN_INTERVAL,
                &bounds::RESCALE_MIN_INTERVAL,
            ),
        }
    }

    fn upgrade(&mut self, spec: &UpgradeSpec) -> ResolvedUpgrade {
        ResolvedUpgrade {
            final_checkpoint_timeout: self.duration(
                "spec.upgrade.finalCheckpointTimeout",
                spec.final_checkpoint_timeout,
                defaults::FINAL_CHECKPOINT_TIMEOUT,
                &bounds::FINAL_CHECKPOINT_TIMEOUT,
            ),
            deadline: self.duration(
                "spec.upgrade.deadline",
                spec.deadline,
                defaults::UPGRADE_DEADLINE,
                &bounds::UPGRADE_DEADLINE,
            ),
        }
    }

    fn restore_from(&mut self, spec: Option<&RestoreFromSpec>) -> Option<RestoreFrom> {
        let restored = restore::resolve_restore_from(spec?);
        let restored = self.keep(restored)?;
        match restored.target() {
            RestoreFrom::Journal(uri) => self.reachable("spec.restoreFrom.journal", uri),
            RestoreFrom::Savepoint(uri) => self.reachable("spec.restoreFrom.savepoint", uri),
            RestoreFrom::Checkpoint { .. } | RestoreFrom::Empty | RestoreFrom::Repeating(_) => {}
        }
        Some(restored)
    }

    fn savepoint(&mut self, spec: Option<&SavepointSpec>) -> Option<SavepointSpec> {
        let spec = spec?;
        self.text("spec.savepoint.name", &spec.name, &form::SAVEPOINT);
        self.nonce("spec.savepoint.nonce", Some(spec.nonce));
        Some(spec.clone())
    }

    fn nonce(&mut self, path: &str, value: Option<i64>) -> Option<u64> {
        self.keep(bounds::NONCE.check(path, value?))
    }

    fn u32(&mut self, path: &str, value: Option<i32>, default: i32, bounds: &bounds::IntBounds) -> u32 {
        let checked = bounds.check_u32(path, value.unwrap_or(default).into());
        self.keep(checked).unwrap_or(default.unsigned_abs())
    }

    fn duration(
        &mut self,
        path: &str,
        value: Option<Duration>,
        default: Duration,
        bounds: &bounds::DurationBounds,
    ) -> Duration {
        self.keep(bounds.check(path, value.unwrap_or(default))).unwrap_or(default)
    }

    fn optional_text(&mut self, path: &str, value: Option<&str>, form: &Form) -> Option<String> {
        value.map(|text| self.text(path, text, form))
    }

    fn text(&mut self, path: &str, value: &str, form: &Form) -> String {
        if let Err(hint) = form.check(value) {
            self.refuse(Invalid::new(path, form.show(value), form.allowed, hint));
        }
        value.to_owned()
    }

    fn keep<T>(&mut self, checked: Result<T, Invalid>) -> Option<T> {
        checked.map_err(|invalid| self.refuse(invalid)).ok()
    }

    fn refuse(&mut self, invalid: Invalid) {
        self.refused.push(invalid);
    }
}

struct Worker {
    slots: u32,
    memory_bytes: u64,
    cpu_millis: u64,
    disk_bytes: u64,
}

#[cfg(test)]
mod tests;
