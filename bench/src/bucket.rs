//! What lies in a job's storage, read from outside the job.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Runtime;
use weir::inspect::{History, InspectError, JobRoot, read_history};
use weir_protocol::Manifest;
use weir_storage::{StoreOptions, prefixed};

use crate::process::NAME;

/// A job's place in its storage.
pub struct Bucket {
    /// Its root.
    pub root: JobRoot,
    runtime: Runtime,
}

impl Bucket {
    /// The place of the job below `uri`.
    ///
    /// # Errors
    /// When the URI is none.
    pub fn open(uri: &str, options: &StoreOptions) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let store = runtime.block_on(weir_storage::open(uri, options))?;
        let below = format!("local/{NAME}");
        let root = JobRoot { store: prefixed(store, &below), uri: format!("{uri}/{below}") };
        Ok(Self { root, runtime })
    }

    /// Head and retained checkpoints; `None` before the first claim.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn history(&self) -> Result<Option<History>> {
        match self.block_on(read_history(&self.root)) {
            Ok(history) => Ok(Some(history)),
            Err(InspectError::NotAJob { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The retained checkpoints, oldest first; none before the first claim.
    ///
    /// # Errors
    /// When something cannot be read, or is damaged.
    pub fn manifests(&self) -> Result<Vec<Manifest>> {
        let checkpoints = self.history()?.map_or_else(Vec::new, |history| history.checkpoints);
        let manifests = checkpoints.into_iter().map(|checkpoint| checkpoint.manifest);
        manifests.collect::<Result<_, _>>().map_err(anyhow::Error::msg)
    }

    /// Every object with its length.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn objects(&self) -> Result<BTreeMap<String, u64>> {
        let listed = self.block_on(self.root.store.list("", None))?;
        Ok(listed.into_iter().map(|object| (object.key, object.length)).collect())
    }

    /// Runs a future on this place's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

/// Collects every checkpoint of a running job before retention drops it.
#[derive(Default)]
pub struct Collected(pub BTreeMap<u64, Manifest>);

/// How often the storage is looked at; six checkpoints are retained.
pub const LOOK: Duration = Duration::from_millis(200);

impl Collected {
    /// Looks at the storage once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&mut self, bucket: &Bucket) -> Result<()> {
        self.0.extend(bucket.manifests()?.into_iter().map(|manifest| (manifest.checkpoint.0, manifest)));
        Ok(())
    }
}
