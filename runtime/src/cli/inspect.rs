//! `weir inspect`: what is in a bucket or directory.

use std::future::Future;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::{Exit, Refusal, print, print_json};
use crate::inspect::{self, Access, Found, History, InspectError, JobRoot};
use crate::report::Report;
use crate::show;

/// Show what is in a bucket or directory.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Inspect {
    #[command(subcommand)]
    view: Option<View>,
    #[command(flatten)]
    place: Option<PlaceFlags>,
}

/// Where to look.
#[derive(Debug, Clone, Args)]
struct PlaceFlags {
    /// file:///directory, s3://bucket/prefix, the path of a directory or of a manifest: the job's own place, or one above it
    #[arg(value_name = "URI")]
    place: String,
    /// Address of an S3 service other than AWS [default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Region of the bucket [default: AWS_REGION]
    #[arg(long)]
    region: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum View {
    /// The retained checkpoints, phase by phase
    Checkpoints {
        #[command(flatten)]
        place: PlaceFlags,
        /// Only this checkpoint
        #[arg(long)]
        id: Option<u64>,
        /// Every subtask
        #[arg(long)]
        subtasks: bool,
    },
    /// Draw the retained checkpoints, subtask by subtask, as a page that works offline
    Timeline {
        #[command(flatten)]
        place: PlaceFlags,
        /// Where the page is written
        #[arg(short, long, default_value = "timeline.html", value_name = "FILE")]
        output: PathBuf,
    },
    /// What checkpoints cost: a run's report against the model
    Impact {
        #[command(flatten)]
        place: PlaceFlags,
        /// What `weir run --report` wrote
        #[arg(long, value_name = "FILE")]
        report: PathBuf,
        /// The report of the same job without checkpoints
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
    },
    /// Read every object that a restore could need, and compare lengths and checksums
    Verify {
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// The journal's entries
    Journal {
        #[command(flatten)]
        place: PlaceFlags,
    },
}

pub(super) fn inspect(flags: Inspect) -> Result<Exit, Refusal> {
    match (flags.view, flags.place) {
        (Some(View::Checkpoints { place, id, subtasks }), _) => wait(show_checkpoints(place, id, subtasks)),
        (Some(View::Timeline { place, output }), _) => wait(write_timeline(place, output)),
        (Some(View::Impact { place, report, baseline }), _) => wait(show_impact(place, report, baseline)),
        (Some(View::Verify { place }), _) => wait(verify(place)),
        (Some(View::Journal { place }), _) => wait(show_journal(place)),
        (None, Some(place)) => wait(show_overview(place)),
        (None, None) => Err(Refusal::bad_input("name a place to look at")),
    }
}

fn wait(view: impl Future<Output = Result<Exit, Refusal>>) -> Result<Exit, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Refusal::failed)?;
    runtime.block_on(view)
}

impl From<InspectError> for Refusal {
    fn from(error: InspectError) -> Self {
        match &error {
            InspectError::Open { .. }
            | InspectError::NoPlace { .. }
            | InspectError::NotAJob { .. }
            | InspectError::SeveralJobs { .. }
            | InspectError::OnlyASavepoint { .. }
            | InspectError::NoCheckpoint { .. }
            | InspectError::Report { .. } => Self::bad_input(error),
            InspectError::Store { .. } | InspectError::Damaged { .. } | InspectError::Moving { .. } => {
                Self::failed(error)
            }
        }
    }
}

async fn find(flags: &PlaceFlags) -> Result<Found, InspectError> {
    let access = Access { endpoint: flags.endpoint.clone(), region: flags.region.clone() };
    inspect::find(inspect::open(&flags.place, &access).await?).await
}

async fn history(flags: &PlaceFlags, what: &'static str) -> Result<(JobRoot, History), InspectError> {
    let root = find(flags).await?.into_job(what)?;
    let history = inspect::read_history(&root).await?;
    Ok((root, history))
}

fn exit_of(damaged: bool) -> Exit {
    if damaged { Exit::Failed } else { Exit::Done }
}

async fn show_overview(flags: PlaceFlags) -> Result<Exit, Refusal> {
    let roots = match find(&flags).await? {
        Found::Job(root) => vec![root],
        Found::Jobs(roots) => roots,
        Found::Savepoint(root) => return show_savepoint(&flags, &root).await,
    };
    let mut pages = Vec::new();
    for root in &roots {
        let history = inspect::read_history(root).await?;
        let inventory = inspect::read_inventory(root).await?;
        let savepoints = inspect::read_savepoints(root, &inventory).await?;
        pages.push(inspect::overview(&history, &savepoints, &inventory, Timestamp::now().as_millisecond()));
    }
    match (flags.json, pages.as_slice()) {
        (true, [page]) => print_json(page)?,
        (true, pages) => print_json(&pages)?,
        (false, pages) => print(&pages.iter().map(inspect::Overview::render).collect::<Vec<_>>().join("\n")),
    }
    Ok(exit_of(pages.iter().any(inspect::Overview::is_damaged)))
}

async fn show_savepoint(flags: &PlaceFlags, root: &JobRoot) -> Result<Exit, Refusal> {
    let manifest = inspect::read_savepoint(root).await?;
    if flags.json {
        print_json(&manifest)?;
        return Ok(Exit::Done);
    }
    print(&format!(
        "savepoint    {}\njob          {}, checkpoint {} of generation {}\ncompleted    {}\nparallelism  {} of {} key groups\nstate        {} in {}\n",
        root.uri,
        manifest.job_id,
        manifest.checkpoint,
        manifest.generation,
        show::time(manifest.completed_at.0),
        manifest.parallelism,
        manifest.max_parallelism,
        show::bytes(manifest.bytes_full),
        show::count_of(manifest.object_keys().len() as u64, "object"),
    ));
    Ok(Exit::Done)
}

async fn show_checkpoints(flags: PlaceFlags, id: Option<u64>, subtasks: bool) -> Result<Exit, Refusal> {
    let (_, history) = history(&flags, "checkpoints").await?;
    let checkpoints = inspect::checkpoints(&history, id)?;
    if flags.json {
        print_json(&checkpoints)?;
    } else {
        print(&checkpoints.render(subtasks || id.is_some()));
    }
    Ok(exit_of(checkpoints.checkpoints.iter().any(|row| row.damaged.is_some())))
}

async fn write_timeline(flags: PlaceFlags, output: PathBuf) -> Result<Exit, Refusal> {
    let (_, history) = history(&flags, "checkpoints").await?;
    if flags.json {
        print_json(&inspect::checkpoints(&history, None)?)?;
        return Ok(Exit::Done);
    }
    let page = inspect::timeline(&history, Timestamp::now().as_millisecond());
    std::fs::write(&output, page)
        .map_err(|error| Refusal::failed(format!("cannot write {}: {error}", output.display())))?;
    print(&format!(
        "drew {} in {}\n",
        show::count_of(history.checkpoints.len() as u64, "checkpoint"),
        output.display()
    ));
    Ok(exit_of(history.checkpoints.iter().any(|checkpoint| checkpoint.manifest.is_err())))
}

async fn show_impact(flags: PlaceFlags, report: PathBuf, baseline: Option<PathBuf>) -> Result<Exit, Refusal> {
    let report = read_report(&report)?;
    let baseline = baseline.map(|path| read_report(&path)).transpose()?;
    let (_, history) = history(&flags, "checkpoints").await?;
    let impact = inspect::impact(&report, &history, baseline.as_ref());
    if flags.json {
        print_json(&impact)?;
    } else {
        print(&impact.render());
    }
    Ok(Exit::Done)
}

fn read_report(path: &Path) -> Result<Report, InspectError> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| InspectError::Report {
        file: path.display().to_string(),
        source,
    };
    let text = std::fs::read(path).map_err(|error| failed(error.into()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.into()))
}

async fn verify(flags: PlaceFlags) -> Result<Exit, Refusal> {
    let (root, history) = history(&flags, "journal to verify").await?;
    let inventory = inspect::read_inventory(&root).await?;
    let savepoints = inspect::read_savepoints(&root, &inventory).await?;
    let verification = inspect::verify(&root, &history, &savepoints).await?;
    if flags.json {
        print_json(&verification)?;
    } else {
        print(&verification.render());
    }
    Ok(exit_of(!verification.damaged.is_empty()))
}

async fn show_journal(flags: PlaceFlags) -> Result<Exit, Refusal> {
    let root = find(&flags).await?.into_job("journal")?;
    let entries = inspect::read_entries(&root).await?;
    let lines = inspect::journal(&root.uri, &entries);
    if flags.json {
        print_json(&lines)?;
    } else {
        print(&lines.render());
    }
    Ok(exit_of(entries.iter().any(|(_, entry)| entry.is_err())))
}
