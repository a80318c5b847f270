//! What a run of a job is given.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use weir_api::ResolvedJob;
use weir_engine::graph::JobGraph;
use weir_engine::time::{Clock, SystemClock};
use weir_protocol::journal::{Owner, RevisionRule};
use weir_storage::ObjectStore;

use crate::memory::ProcessMemory;

/// Makes the job's graph. Called before every deployment; an error is a sentence for the user.
pub type GraphFactory = Arc<dyn Fn() -> Result<JobGraph, String> + Send + Sync>;

/// Opens the store that a URI names, with the run's credentials; an error is a sentence for the user.
pub type StoreOpener = Arc<dyn Fn(String) -> BoxFuture<'static, Result<Arc<dyn ObjectStore>, String>> + Send + Sync>;

/// How often a worker tells how far it is, by default.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(200);

/// Defects that can be planted, so that tests can show that they would be noticed. All are off by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Defects {
    /// In the journal and the coordinator.
    pub protocol: weir_protocol::defects::Defects,
    /// In keyed state.
    pub state: weir_state::Defects,
    /// Watermarks are not restored.
    pub forget_watermarks: bool,
}

/// Everything a run needs. The fields below `work_dir` have defaults in [`RunOptions::new`].
#[derive(Clone)]
pub struct RunOptions {
    /// The job.
    pub job: ResolvedJob,
    /// Makes its graph.
    pub graph: GraphFactory,
    /// The object store, rooted at the job's own prefix `<storage.uri>/<namespace>/<name>/`.
    pub objects: Arc<dyn ObjectStore>,
    /// Local directory for the database and the run cache; one process at a time, and only a cache.
    pub work_dir: PathBuf,
    /// Opens other places, for savepoints and journals that `restoreFrom` names.
    pub opener: Option<StoreOpener>,
    /// Who claims the journal.
    pub owner: Owner,
    /// By what its entries in the journal are known to later processes of the same name; may be empty.
    pub process: String,
    /// When a stopped, finished or failed job runs again.
    pub revision: RevisionRule,
    /// Processing time and timestamps.
    pub clock: Arc<dyn Clock>,
    /// Where metrics are registered.
    pub metrics: prometheus::Registry,
    /// How often the status is sampled.
    pub sample_interval: Duration,
    /// Whether the store is probed for create-if-absent at the start.
    pub probe: bool,
    /// Where subtasks run; `None`: with everything else. On a runtime of their own, user code, reads of state and writes of
    /// sinks that block cannot hold up the coordinator.
    pub flow: Option<tokio::runtime::Handle>,
    /// The process's memory, if it is the job's alone; `None`: budgets go by estimates.
    pub memory: Option<Arc<dyn ProcessMemory>>,
    /// Planted defects.
    pub defects: Defects,
    /// For tests: the process is taken to have stood still between any two looks at the time.
    pub restless: bool,
}

impl RunOptions {
    /// A run from the command line: owner `local`, a settled job runs again on request, the machine's clock.
    pub fn new(
        job: ResolvedJob,
        graph: GraphFactory,
        objects: Arc<dyn ObjectStore>,
        work_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            job,
            graph,
            objects,
            work_dir: work_dir.into(),
            opener: None,
            owner: Owner::local(),
            process: String::new(),
            revision: RevisionRule::OnRequest,
            clock: Arc::new(SystemClock),
            metrics: prometheus::Registry::new(),
            sample_interval: SAMPLE_INTERVAL,
            probe: true,
            flow: None,
            memory: None,
            defects: Defects::default(),
            restless: false,
        }
    }
}
