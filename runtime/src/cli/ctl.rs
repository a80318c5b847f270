//! `weir ctl`: the control API of a runtime pod, for people.
//!
//! What it shows of a status is meant for eyes; `--json` is not promised to be the API's own form.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use weir_control::{CallError, ClientIdentity, ControlClient, v1};

use super::{Exit, Refusal, print, print_json};
use crate::run;

mod page;

/// What is asked of a runtime pod.
#[derive(Debug, Clone, Args)]
pub(crate) struct Ctl {
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Debug, Clone, Subcommand)]
enum Ask {
    /// Where the job stands
    Status(To),
    /// Take a checkpoint
    Checkpoint(To),
    /// Take a savepoint: a checkpoint of its own objects that outlives the job
    Savepoint {
        #[command(flatten)]
        to: To,
        /// Its name: it becomes the folder savepoints/NAME below the job
        #[arg(long)]
        name: String,
    },
    /// Take a final checkpoint and stop the job, durably
    Stop {
        #[command(flatten)]
        to: To,
        /// Also keep the final checkpoint as a savepoint of this name
        #[arg(long, value_name = "NAME")]
        savepoint: Option<String>,
    },
    /// End the process at once; the job goes on from its latest checkpoint wherever it is started next
    Cancel(To),
}

/// Who is asked, by whom.
#[derive(Debug, Clone, Args)]
struct To {
    /// The pod's control port
    #[arg(long, value_name = "HOST:PORT")]
    to: String,
    /// Directory with tls.crt, tls.key and ca.crt: a certificate for operator.weir.internal
    #[arg(long, value_name = "DIR")]
    tls: PathBuf,
    /// The StreamJob's uid, which the pod must prove
    #[arg(long, env = "WEIR_JOB_UID")]
    uid: String,
    /// Only if the pod runs no later revision than this; 0 for whatever it runs
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    timeout: weir_api::Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn ctl(flags: Ctl) -> Result<Exit, Refusal> {
    let to = match &flags.ask {
        Ask::Status(to) | Ask::Checkpoint(to) | Ask::Cancel(to) => to,
        Ask::Savepoint { to, .. } | Ask::Stop { to, .. } => to,
    };
    let identity = ClientIdentity::from_directory(&to.tls).map_err(Refusal::bad_input)?;
    let answer = run::threads("weir", 1)?.block_on(async {
        let client = ControlClient::connect(&to.to, &identity, &to.uid).await.map_err(Refusal::failed)?;
        ask(&client, &flags.ask, to).await.map_err(|error| match error {
            CallError::Precondition(_) | CallError::Invalid(_) => Refusal::bad_input(error),
            CallError::Refused(_) | CallError::Unknown(_) | CallError::TimedOut(_) | CallError::Broken { .. } => {
                Refusal::failed(error)
            }
        })
    })?;
    if to.json {
        print_json(&answer.1)?;
    } else {
        print(&answer.0);
    }
    Ok(Exit::Done)
}

/// The answer for eyes and as JSON.
async fn ask(client: &ControlClient, ask: &Ask, to: &To) -> Result<(String, Value), CallError> {
    let (revision, limit): (u64, Duration) = (to.revision, to.timeout.as_std());
    Ok(match ask {
        Ask::Status(_) => {
            let status = client.status().await?;
            (page::render(&status, Timestamp::now().as_millisecond()), page::as_json(&status))
        }
        Ask::Checkpoint(_) => {
            let request = v1::TriggerCheckpointRequest { revision, nonce: None };
            let taken = client.trigger_checkpoint(request, limit).await?.checkpoint.unwrap_or_default();
            (page::taken(&taken), page::checkpoint_json(&taken))
        }
        Ask::Savepoint { name, .. } => {
            let request = v1::TriggerSavepointRequest { revision, nonce: None, name: name.clone() };
            let v1::TriggerSavepointResponse { name, uri, checkpoint } =
                client.trigger_savepoint(request, limit).await?;
            let text = format!("savepoint of checkpoint {checkpoint}: {uri}\n");
            (text, json!({"name": name, "uri": uri, "checkpoint": checkpoint}))
        }
        Ask::Stop { savepoint, .. } => {
            let savepoint = savepoint.clone().unwrap_or_default();
            let request = v1::StopRequest { revision, savepoint, timeout_ms: 0 };
            let stopped = client.stop(request, limit).await?;
            let state = page::state(stopped.state());
            let with_final = stopped.with_final_checkpoint;
            let shown = json!({"state": state, "checkpoint": stopped.checkpoint, "withFinalCheckpoint": with_final});
            (page::stopped(&stopped), shown)
        }
        Ask::Cancel(_) => {
            client.cancel(v1::CancelRequest { revision }).await?;
            ("the process ends\n".to_owned(), json!({}))
        }
    })
}
