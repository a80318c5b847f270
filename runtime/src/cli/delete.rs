//! `weir delete`: what a deletion pod runs. Removes a resolved job from its storage, unless it is somebody else's there.

use std::path::{Path, PathBuf};

use clap::Args;
use weir_cluster::{Deleted, delete_job};
use weir_control::termination::{Finding, Findings};
use weir_protocol::journal::Owner;

use super::{Exit, Refusal, print, print_json};
use crate::manifest::place_of;
use crate::run;
use crate::show;
use crate::worker::local;

/// What is removed.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeleteFlags {
    /// The resolved job, as JSON
    #[arg(long, value_name = "FILE")]
    job: PathBuf,
    /// Where it is written whether that was done, as JSON
    #[arg(long, value_name = "FILE")]
    termination_log: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn delete(flags: &DeleteFlags) -> Result<Exit, Refusal> {
    let deleted = remove(&flags.job);
    if let Some(log) = &flags.termination_log {
        let findings = match &deleted {
            Ok(_) => Findings::fine(),
            Err(refusal) => {
                let finding = Finding { field: "spec.storage".to_owned(), message: refusal.to_string() };
                Findings::wrong(vec![finding], refusal.exit() == Exit::Failed)
            }
        };
        findings.write(log).map_err(Refusal::failed)?;
    }
    let Deleted { objects, uploads, kept } = deleted?;
    if flags.json {
        print_json(&Deleted { objects, uploads, kept })?;
    } else {
        let kept =
            if kept > 0 { format!("; {} of savepoints kept", show::count_of(kept, "object")) } else { String::new() };
        print(&format!("removed {}, {uploads} open uploads{kept}\n", show::count_of(objects, "object")));
    }
    Ok(Exit::Done)
}

fn remove(file: &Path) -> Result<Deleted, Refusal> {
    let job = local::read(file).map_err(Refusal::bad_input)?;
    let place = place_of(&job).map_err(Refusal::bad_input)?;
    let owner = Owner(job.owner);
    run::threads("weir", 1)?.block_on(async {
        let objects = run::open(&place).await.map_err(Refusal::bad_input)?;
        let deleted = delete_job(&*objects, &owner).await;
        deleted.map_err(|error| if error.can_retry() { Refusal::failed(error) } else { Refusal::bad_input(error) })
    })
}
