//! `weir check`: everything that can be known before a job runs. Claims nothing; the storage's probe removes what it writes.
//!
//! With `--job` it is the preflight of a change: a pod of the new image, with the job's own credentials, that answers in its
//! termination message before anything that runs is stopped. Exit code 1 then means that nothing is known to be wrong.

use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use weir_api::{Invalid, ResolvedJob};
use weir_cluster::{JobError, Preview, PreviewError, RunOptions, check_job, preview};
use weir_control::termination::{Finding, Findings};
use weir_engine::graph::JobGraph;
use weir_storage::ProbeError;

use super::{Exit, Refusal, chain, print, print_json};
use crate::inspect::{self, Found, InspectError, JobRoot};
use crate::jobs::{Jobs, JobsError};
use crate::manifest::{self, Place, Set, place_of};
use crate::run;
use crate::show;
use crate::worker::local;
use crate::worker::start::Starter;

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

/// What is checked.
#[derive(Debug, Clone, Args)]
pub(crate) struct CheckFlags {
    /// The manifest: a StreamJob
    #[arg(value_name = "JOB.yaml", required_unless_present = "job", conflicts_with = "job")]
    file: Option<PathBuf>,
    /// Replace a field, such as spec.args.events=1000; may be repeated
    #[arg(long, value_name = "PATH=VALUE", conflicts_with = "job")]
    set: Vec<Set>,
    /// Start from this: empty, checkpoint:ID, a savepoint's URI or a job's URI
    #[arg(long, value_name = "URI|empty", value_parser = super::restore_from, conflicts_with = "job")]
    restore_from: Option<Set>,
    /// Instead of a manifest: the resolved job, as JSON
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Where the findings are written, as JSON
    #[arg(long, value_name = "FILE", requires = "job")]
    termination_log: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Why a job was not found fit.
struct Unfit {
    exit: Exit,
    findings: Vec<Finding>,
    refusal: Refusal,
}

pub(super) fn check(flags: &CheckFlags, jobs: &Jobs) -> Result<Exit, Refusal> {
    let checked = match (&flags.file, &flags.job) {
        (_, Some(job)) => {
            let checked = check_resolved(job, jobs);
            if let Some(log) = &flags.termination_log {
                findings_of(checked.as_ref().err()).write(log).map_err(Refusal::failed)?;
            }
            checked.map_err(|unfit| unfit.refusal)?
        }
        (Some(file), None) => check_manifest(file, flags, jobs)?,
        (None, None) => return Err(Refusal::bad_input("give a manifest, or a resolved job with --job")),
    };
    if flags.json {
        print_json(&checked)?;
    } else {
        print(&render(&checked));
    }
    Ok(Exit::Done)
}

fn check_manifest(file: &Path, flags: &CheckFlags, jobs: &Jobs) -> Result<Checked, Refusal> {
    let set: Vec<Set> = flags.restore_from.iter().chain(&flags.set).cloned().collect();
    let loaded = manifest::load(file, &set).map_err(Refusal::bad_input)?;
    let graph = loaded.graph(jobs).map_err(Refusal::bad_input)?;
    let place = place_of(&loaded.job).map_err(Refusal::bad_input)?;
    on_a_runtime(async {
        let factory = run::graph_of(&loaded, jobs.clone());
        let options = run::options(loaded.job.clone(), factory, &place, &loaded.work_dir(None)).await?;
        look(&loaded.job, &graph, options, place).await.map_err(|unfit| unfit.refusal)
    })
}

/// What a preflight does: the same, of a resolved job, with the StreamJob's fields by name.
fn check_resolved(file: &Path, jobs: &Jobs) -> Result<Checked, Unfit> {
    let whole = |error: Refusal| Unfit {
        exit: error.exit(),
        findings: vec![Finding { field: String::new(), message: error.to_string() }],
        refusal: error,
    };
    let job = local::read(file).map_err(|error| whole(Refusal::bad_input(error)))?;
    let graph = jobs.build(&job.job, &job.args).map_err(|error| Unfit {
        exit: Exit::BadInput,
        findings: of_graph(&error),
        refusal: Refusal::bad_input(error),
    })?;
    let place = place_of(&job).map_err(|error| whole(Refusal::bad_input(error)))?;
    on_a_runtime(async {
        let starter = Starter { jobs: jobs.clone(), work_dir: std::env::temp_dir(), pod_uid: String::new() };
        let options = starter.options(&job).await.map_err(whole)?;
        look(&job, &graph, options, place).await
    })
}

fn on_a_runtime<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("the system gives a thread and an event queue").block_on(future)
}

async fn look(job: &ResolvedJob, graph: &JobGraph, options: RunOptions, place: Place) -> Result<Checked, Unfit> {
    check_job(&options).await.map_err(|error| {
        let may_pass = match &error {
            JobError::Storage(error) => matches!(error, ProbeError::Unreachable { .. } | ProbeError::Other { .. }),
            JobError::Connector { source, .. } => source.transient,
            _ => false,
        };
        unfit(field_of(&error), may_pass, error)
    })?;
    let start = preview(&options).await.map_err(|error| {
        let field = match &error {
            PreviewError::RestoreFrom(_) | PreviewError::Refused(_) => "spec.restoreFrom",
            PreviewError::Graph(_) | PreviewError::Misfit(_) => "spec.job",
            PreviewError::Journal(_) | PreviewError::Manifest { .. } => "spec.storage",
        };
        unfit(field, error.can_retry(), error)
    })?;
    let root = JobRoot { store: options.objects, uri: place.job_uri.clone() };
    let journal = journal_at(&place, root).await.map_err(|refusal| Unfit {
        exit: refusal.exit(),
        findings: vec![Finding { field: "spec.storage".to_owned(), message: refusal.to_string() }],
        refusal,
    })?;
    Ok(Checked {
        name: job.name.to_string(),
        job: job.job.clone(),
        revision: job.revision(),
        parallelism: job.parallelism,
        operators: graph.nodes.iter().map(|node| node.id.to_string()).collect(),
        storage: place.job_uri,
        journal,
        start: describe(&start),
    })
}

fn unfit(field: &str, may_pass: bool, error: impl std::error::Error + Send + Sync + 'static) -> Unfit {
    let finding = Finding { field: field.to_owned(), message: chain(&error) };
    let refusal = if may_pass { Refusal::failed(error) } else { Refusal::bad_input(error) };
    Unfit { exit: refusal.exit(), findings: vec![finding], refusal }
}

fn field_of(error: &JobError) -> &'static str {
    match error {
        JobError::Storage(_) => "spec.storage",
        JobError::RestoreFrom(_) => "spec.restoreFrom",
        JobError::Connector { .. } => "spec.args",
        JobError::Graph(_) | JobError::Misfit(_) => "spec.job",
        JobError::Journal(_)
        | JobError::Refused(_)
        | JobError::Unreadable { .. }
        | JobError::Failed { .. }
        | JobError::Thread(_)
        | JobError::Metrics(_) => "",
    }
}

fn of_graph(error: &JobsError) -> Vec<Finding> {
    match error {
        JobsError::Refused(refused) => {
            let finding = |Invalid { path, found, allowed, hint }: &Invalid| Finding {
                field: path.to_string(),
                message: format!("found {found}; allowed: {allowed}; {hint}"),
            };
            refused.iter().map(finding).collect()
        }
        other @ (JobsError::Build { .. } | JobsError::Graph { .. } | JobsError::Registration { .. }) => {
            vec![Finding { field: "spec.job".to_owned(), message: chain(other) }]
        }
    }
}

fn findings_of(unfit: Option<&Unfit>) -> Findings {
    match unfit {
        None => Findings::fine(),
        Some(unfit) => Findings::wrong(unfit.findings.clone(), unfit.exit == Exit::Failed),
    }
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
