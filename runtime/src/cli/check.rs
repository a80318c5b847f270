//! `weir check`: everything that can be known before a job runs. Claims nothing; the storage's probe removes what it writes.

use jiff::Timestamp;
use serde::Serialize;
use weir_cluster::{RunOptions, check_job};

use super::{Exit, ManifestFlags, Refusal, print, print_json};
use crate::inspect::{self, Found, InspectError, JobRoot};
use crate::jobs::Jobs;
use crate::manifest::{Place, place_of};
use crate::run;
use crate::show;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    name: String,
    job: String,
    revision: String,
    parallelism: u32,
    operators: Vec<String>,
    storage: String,
    /// What the job would start from; nothing if it has never run.
    journal: Option<Journal>,
}

/// The journal that is there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Journal {
    owner: String,
    generation: u64,
    status: String,
    restores: String,
    newest_checkpoint: Option<u64>,
    age_ms: Option<i64>,
}

pub(super) fn check(flags: &ManifestFlags, jobs: &Jobs, json: bool) -> Result<Exit, Refusal> {
    let loaded = flags.load().map_err(Refusal::bad_input)?;
    let graph = loaded.graph(jobs).map_err(Refusal::bad_input)?;
    let place = place_of(&loaded.job).map_err(Refusal::bad_input)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Refusal::failed)?;
    let journal = runtime.block_on(async {
        let objects = run::open(&place).await?;
        let factory = run::factory(&loaded, jobs.clone());
        let options = RunOptions::new(loaded.job.clone(), factory, objects.clone(), loaded.work_dir(None));
        check_job(&options).await.map_err(Refusal::bad_input)?;
        journal_at(&place, JobRoot { store: objects, uri: place.job_uri.clone() }).await
    })?;
    let checked = Checked {
        name: loaded.job.name.to_string(),
        job: loaded.job.job.clone(),
        revision: loaded.job.revision(),
        parallelism: loaded.job.parallelism,
        operators: graph.nodes.iter().map(|node| node.id.to_string()).collect(),
        storage: place.job_uri,
        journal,
    };
    if json {
        print_json(&checked)?;
    } else {
        print(&render(&checked));
    }
    Ok(Exit::Done)
}

async fn journal_at(place: &Place, root: JobRoot) -> Result<Option<Journal>, Refusal> {
    let root = match inspect::find(root).await {
        Ok(Found::Job(root)) if root.uri == place.job_uri => root,
        Ok(Found::Job(_) | Found::Jobs(_) | Found::Savepoint(_)) | Err(InspectError::NotAJob { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let history = inspect::read_history(&root).await?;
    let now = Timestamp::now().as_millisecond();
    let page = inspect::overview(&history, &[], &inspect::Inventory::default(), now);
    let newest = page.checkpoints.first();
    Ok(Some(Journal {
        newest_checkpoint: newest.map(|line| line.id),
        age_ms: newest.map(|line| now - line.completed_at),
        owner: page.owner,
        generation: page.generation,
        status: page.status,
        restores: page.restores,
    }))
}

fn render(checked: &Checked) -> String {
    let Checked { name, job, revision, parallelism, operators, storage, journal } = checked;
    let found = match journal {
        None => "none yet: the job begins at the start of its input".to_owned(),
        Some(journal) => {
            let age = journal.age_ms.map(|age| format!(", {}", show::ago(u64::try_from(age).unwrap_or(0)))).unwrap_or_default();
            format!("{}, owner {}, generation {}, goes on from {}{age}", journal.status, journal.owner, journal.generation, journal.restores)
        }
    };
    format!(
        "job          {name} ({job}), revision {revision}\noperators    {}, parallelism {parallelism}\nstorage      {storage}\njournal      {found}\nready to run\n",
        operators.join(", ")
    )
}
