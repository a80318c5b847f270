//! `weir check`: everything that can be known before a job runs. Claims nothing; the storage's probe removes what it writes.

use jiff::Timestamp;
use serde::Serialize;
use weir_cluster::{Preview, check_job, preview};

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
    /// Nothing if the job has never run.
    journal: Option<Journal>,
    /// What a start would do.
    start: String,
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
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(Refusal::failed)?;
    let (journal, start) = runtime.block_on(async {
        let options = run::options(&loaded, &place, jobs.clone(), &loaded.work_dir(None)).await?;
        check_job(&options).await.map_err(Refusal::bad_input)?;
        let start = preview(&options).await.map_err(Refusal::bad_input)?;
        let root = JobRoot { store: options.objects, uri: place.job_uri.clone() };
        Ok::<_, Refusal>((journal_at(&place, root).await?, start))
    })?;
    let checked = Checked {
        name: loaded.job.name.to_string(),
        job: loaded.job.job.clone(),
        revision: loaded.job.revision(),
        parallelism: loaded.job.parallelism,
        operators: graph.nodes.iter().map(|node| node.id.to_string()).collect(),
        storage: place.job_uri,
        journal,
        start: describe(&start),
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
        Ok(Found::Job(_) | Found::Jobs(_) | Found::Savepoint(_)) | Err(InspectError::NotAJob { .. }) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let history = inspect::read_history(&root).await?;
    let now = Timestamp::now().as_millisecond();
    let page = inspect::overview(&history, &[], &inspect::Inventory::default(), now);
    let newest = page.checkpoints.first();
    Ok(Some(Journal {
        newest_checkpoint: newest.map(|line| line.facts.id),
        age_ms: newest.map(|line| now - line.facts.completed_at),
        owner: page.owner,
        generation: page.generation,
        status: page.status,
        restores: page.restores,
    }))
}

fn render(checked: &Checked) -> String {
    let Checked { name, job, revision, parallelism, operators, storage, journal, start } = checked;
    let found = match journal {
        None => "none yet".to_owned(),
        Some(Journal { owner, generation, status, restores: _, newest_checkpoint, age_ms }) => {
            let newest = newest_checkpoint
                .zip(*age_ms)
                .map(|(id, age)| format!(", checkpoint {id} {}", show::ago(u64::try_from(age).unwrap_or(0))));
            format!("{status}, owner {owner}, generation {generation}{}", newest.unwrap_or_default())
        }
    };
    format!(
        "job          {name} ({job}), revision {revision}\noperators    {}, parallelism {parallelism}\nstorage      {storage}\n\
         journal      {found}\na start      {start}\n",
        operators.join(", ")
    )
}

fn describe(start: &Preview) -> String {
    match start {
        Preview::Settled(status) => format!("would do nothing: the job is {status}"),
        Preview::Starts { generation, restore } => {
            format!("would begin generation {generation} from {}", inspect::restores(restore))
        }
    }
}
