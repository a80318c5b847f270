//! From what the user wrote to the root of a job: a URI, a directory or a manifest; the job itself, the storage that
//! holds it, or one of its savepoints.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_protocol::layout;
use weir_storage::{ObjectStore, StoreErrorKind, StoreOptions, prefixed};

use super::{Contents, InspectError};
use crate::manifest;

/// Objects that are looked through for jobs below a place; a job's journal lists before its runs.
const MOST_LISTED: usize = 20_000;
/// A person waits: fewer and shorter attempts than a job makes.
const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(15);

/// How a bucket is reached; what is left out comes from the environment (`AWS_*`).
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Address of an S3 service other than AWS.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: Option<String>,
}

/// The root of a job, or of a savepoint.
#[derive(Debug, Clone)]
pub struct JobRoot {
    /// A store whose keys are relative to the root.
    pub store: Arc<dyn ObjectStore>,
    /// Where the root is.
    pub uri: String,
}

/// What is at a place.
#[derive(Debug)]
pub enum Found {
    /// A job, or the only job below the place.
    Job(JobRoot),
    /// A savepoint.
    Savepoint(JobRoot),
    /// Several jobs below the place.
    Jobs(Vec<JobRoot>),
}

impl Found {
    /// The one job.
    ///
    /// # Errors
    /// When there are several, or only a savepoint, which has no `what`.
    pub fn into_job(self, what: &'static str) -> Result<JobRoot, InspectError> {
        match self {
            Self::Job(root) => Ok(root),
            Self::Savepoint(root) => Err(InspectError::OnlyASavepoint { place: root.uri, what }),
            Self::Jobs(roots) => Err(InspectError::SeveralJobs {
                place: roots.first().map(|root| parent_of(&root.uri)).unwrap_or_default(),
                jobs: roots.into_iter().map(|root| root.uri).collect(),
            }),
        }
    }
}

fn parent_of(uri: &str) -> String {
    uri.rsplit_once('/').map_or(uri, |(parent, _)| parent).to_owned()
}

/// Opens the place that `text` names. Nothing is asked of the store yet.
///
/// # Errors
/// When it names no place.
pub async fn open(text: &str, access: &Access) -> Result<JobRoot, InspectError> {
    let options = StoreOptions {
        endpoint: access.endpoint.clone(),
        region: access.region.clone(),
        max_attempts: ATTEMPTS,
        operation_timeout: PATIENCE,
        ..StoreOptions::default()
    };
    let (uri, options) = resolve(text, options)?;
    let uri = uri.trim_end_matches('/').to_owned();
    let opened = weir_storage::open(&uri, &options).await;
    let store = opened.map_err(|source| InspectError::Open { place: text.to_owned(), source })?;
    Ok(JobRoot { store, uri })
}

fn resolve(text: &str, options: StoreOptions) -> Result<(String, StoreOptions), InspectError> {
    let refused = |hint: String| InspectError::NoPlace { place: text.to_owned(), hint };
    if text.contains("://") {
        return Ok((text.to_owned(), options));
    }
    let path = Path::new(text);
    if path.is_dir() {
        let path = std::path::absolute(path).map_err(|error| refused(error.to_string()))?;
        return Ok((format!("file://{}", path.display()), options));
    }
    if path.is_file() {
        let loaded = manifest::load(path, &[]).map_err(|error| refused(crate::cli::chain(&error)))?;
        let place = manifest::place_of(&loaded.job).map_err(|error| refused(crate::cli::chain(&error)))?;
        let region = options.region.clone().or(place.options.region);
        let endpoint = options.endpoint.clone().or(place.options.endpoint);
        return Ok((place.job_uri, StoreOptions { region, endpoint, ..options }));
    }
    Err(refused("there is no such file or directory".to_owned()))
}

/// Looks for a job, jobs or a savepoint at the place.
///
/// # Errors
/// When the store cannot be read, or holds none of them.
pub async fn find(root: JobRoot) -> Result<Found, InspectError> {
    let failed = |source| InspectError::Store { place: root.uri.clone(), source };
    let newest = root.store.list(layout::JOURNAL, Some(1)).await.map_err(failed)?;
    if newest.first().is_some_and(|object| layout::parse_journal_key(&object.key).is_some()) {
        return Ok(Found::Job(root));
    }
    match root.store.head(SAVEPOINT_MANIFEST).await {
        Ok(Some(_)) => return Ok(Found::Savepoint(root)),
        Ok(None) => {}
        Err(error) if error.kind == StoreErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let objects = root.store.list("", Some(MOST_LISTED)).await.map_err(failed)?;
    let mut roots: Vec<&str> = Vec::new();
    for (above, _) in objects.iter().filter_map(|object| split_at_journal(&object.key)) {
        if roots.last() != Some(&above) {
            roots.push(above);
        }
    }
    let below =
        |folder: &str| JobRoot { store: prefixed(root.store.clone(), folder), uri: format!("{}/{folder}", root.uri) };
    match roots.as_slice() {
        [] => {
            let found = Contents::of(objects.iter().map(|object| object.key.as_str()));
            Err(InspectError::NotAJob { place: root.uri, found })
        }
        [one] => Ok(Found::Job(below(one))),
        several => Ok(Found::Jobs(several.iter().map(|folder| below(folder)).collect())),
    }
}

/// Name of a savepoint's manifest below the savepoint's own root.
pub(super) const SAVEPOINT_MANIFEST: &str = "manifest.json";

/// Takes `<root>/journal/<entry>` apart.
fn split_at_journal(key: &str) -> Option<(&str, &str)> {
    let at = key.find("/journal/")?;
    let (root, entry) = (&key[..at], &key[at + 1..]);
    layout::parse_journal_key(entry).map(|_| (root, entry))
}
