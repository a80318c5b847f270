//! From a manifest's file to a job that can run here: reading, `--set`, `--restore-from`, and where things are kept.
//!
//! The rules are [`weir_api`]'s, word for word those of a cluster. What this adds is the file, its lines, and the defaults
//! that only one machine has: storage in `file://<current directory>/weir-data`, the job below it in `local/<name>`, and
//! local files in `weir-data/work/<name>`.

use std::path::{Path, PathBuf};

use serde_json::Value;
use weir_api::{FieldPath, Invalid, ResolvedJob, StreamJob, Surface, resolve, yaml};
use weir_engine::graph::JobGraph;
use weir_storage::StoreOptions;

use crate::jobs::{Jobs, JobsError};
use crate::suggest::closest;

mod set;

pub use set::{Set, SetError, parse_restore_from};

/// Below the current directory: where state is kept if the manifest does not say.
const DEFAULT_STORAGE: &str = "weir-data";
/// Below the current directory: local files of jobs.
const WORK: &str = "weir-data/work";

/// Why a manifest gives no job.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the manifest {file}{hint}")]
    Read {
        /// The file.
        file: String,
        /// A file that may be meant.
        hint: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The text was refused.
    #[error(transparent)]
    Manifest(#[from] yaml::ManifestError),
    /// What `--set` or `--restore-from` put in was refused: one per line.
    #[error("{0}")]
    Override(String),
    /// The program's graphs cannot be built.
    #[error(transparent)]
    Jobs(JobsError),
    /// The default places are below the current directory, and there is none.
    #[error("the current directory cannot be told: give spec.storage.uri")]
    CurrentDirectory(#[source] std::io::Error),
}

/// A manifest that was read and resolved.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The job with every default.
    pub job: ResolvedJob,
    file: String,
    text: String,
    set: Vec<Set>,
}

/// Where a job is kept.
#[derive(Debug, Clone)]
pub struct Place {
    /// The place all jobs share.
    pub storage_uri: String,
    /// This job's own: `<storage>/<namespace>/<name>`.
    pub job_uri: String,
    /// How it is reached.
    pub options: StoreOptions,
}

/// Reads the manifest at `path`, with some of its fields replaced.
///
/// # Errors
/// Everything that is wrong with it, at its line.
pub fn load(path: &Path, set: &[Set]) -> Result<Loaded, LoadError> {
    let file = path.display().to_string();
    let read = std::fs::read_to_string(path);
    let text = read.map_err(|source| LoadError::Read { hint: neighbour(path, &source), file: file.clone(), source })?;
    load_text(file, text, set)
}

/// The same of a text that was read already; `file` only names it.
///
/// # Errors
/// As [`load`].
pub fn load_text(file: String, text: String, set: &[Set]) -> Result<Loaded, LoadError> {
    let written = yaml::from_str(&file, &text)?;
    let loaded = |job| Loaded { job, file: file.clone(), text: text.clone(), set: set.to_vec() };
    let changed = if set.is_empty() { written } else { apply(&written, set)? };
    match resolve(&changed, Surface::CommandLine) {
        Ok(job) => Ok(loaded(job)),
        Err(refused) => Err(explain(&file, &text, set, refused)),
    }
}

/// Replaces fields and checks the shape of what comes out.
fn apply(written: &StreamJob, set: &[Set]) -> Result<StreamJob, LoadError> {
    let mut value = serde_json::to_value(written).expect("a manifest is JSON");
    for one in set {
        one.apply(&mut value).map_err(|error| LoadError::Override(error.to_string()))?;
    }
    let place = "--set";
    yaml::from_str(place, &yaml::emit(&value)).map_err(|error| match error {
        yaml::ManifestError::Refused { refusals, .. } => {
            let lines: Vec<String> = refusals.iter().map(|refusal| format!("{place} {}", refusal.invalid)).collect();
            LoadError::Override(lines.join("\n"))
        }
        other => LoadError::Manifest(other),
    })
}

/// Refusals with the line they come from; those of replaced fields say so instead.
fn explain(file: &str, text: &str, set: &[Set], refused: Vec<Invalid>) -> LoadError {
    let (replaced, written): (Vec<_>, Vec<_>) =
        refused.into_iter().partition(|one| set.iter().any(|set| set.covers(&one.path)));
    let mut lines: Vec<String> = replaced.iter().map(|one| format!("{} {one}", origin(set, &one.path))).collect();
    if lines.is_empty() {
        return LoadError::Manifest(yaml::explain(file, text, written));
    }
    if !written.is_empty() {
        lines.push(yaml::explain(file, text, written).to_string());
    }
    LoadError::Override(lines.join("\n"))
}

fn origin(set: &[Set], path: &FieldPath) -> &'static str {
    set.iter().find(|one| one.covers(path)).map_or("--set", Set::flag)
}

/// A hint for a file that is not there.
fn neighbour(path: &Path, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::NotFound {
        return String::new();
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(directory) else {
        return format!(": there is no directory {}", directory.display());
    };
    let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match closest(name, names.iter().map(String::as_str)) {
        Some(meant) => format!(" (there is {})", path.with_file_name(meant).display()),
        None => String::new(),
    }
}

impl Loaded {
    /// Builds the manifest's graph.
    ///
    /// # Errors
    /// Arguments that are refused, at their lines; a graph that cannot run.
    pub fn graph(&self, jobs: &Jobs) -> Result<JobGraph, LoadError> {
        jobs.build(&self.job.job, &self.job.args).map_err(|error| match error {
            JobsError::Refused(refused) => explain(&self.file, &self.text, &self.set, refused),
            other @ (JobsError::Build { .. } | JobsError::Graph { .. } | JobsError::Registration { .. }) => {
                LoadError::Jobs(other)
            }
        })
    }

    /// The directory for the job's local files, unless another one is given.
    pub fn work_dir(&self, given: Option<&Path>) -> PathBuf {
        given.map_or_else(|| Path::new(WORK).join(self.job.name.as_str()), Path::to_path_buf)
    }
}

/// Where a resolved job is kept.
///
/// # Errors
/// When that is below the current directory, which cannot be told.
pub fn place_of(job: &ResolvedJob) -> Result<Place, LoadError> {
    let (storage_uri, options) = match &job.storage {
        Some(storage) => {
            let (endpoint, region) = (storage.endpoint.clone(), storage.region.clone());
            (storage.uri.to_string(), StoreOptions { endpoint, region, ..StoreOptions::default() })
        }
        None => {
            let here = std::env::current_dir().map_err(LoadError::CurrentDirectory)?;
            (format!("file://{}", here.join(DEFAULT_STORAGE).display()), StoreOptions::default())
        }
    };
    let job_uri = format!("{}/{}/{}", storage_uri.trim_end_matches('/'), job.namespace, job.name);
    Ok(Place { storage_uri, job_uri, options: options.for_memory(job.memory_bytes) })
}

/// A text as JSON if it is JSON, else as it stands.
fn json_or_text(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

#[cfg(test)]
mod tests;
