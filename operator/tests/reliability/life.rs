//! The phases of a job's life, and how an undisturbed one goes.

use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::scene::{Act, Ending, Phase, Scene, Stage};
use crate::seen::Seen;

/// Create, upgrade, rescale, suspend, resume, restore, then ask for deletion with everything, and delete.
pub fn phases() -> Vec<Phase> {
    vec![
        Phase { name: "create", act: Act::Create(spec()), is_done: runs },
        Phase { name: "upgrade", act: Act::Change(json!({ "args": { "events": 2 } })), is_done: runs },
        Phase { name: "rescale", act: Act::Change(json!({ "worker": { "slots": 2 } })), is_done: runs },
        Phase { name: "suspend", act: Act::Change(json!({ "desiredState": "Suspended" })), is_done: is_suspended },
        Phase { name: "resume", act: Act::Change(json!({ "desiredState": "Running" })), is_done: runs },
        Phase { name: "restore", act: Act::Change(json!({ "restoreFrom": { "empty": true } })), is_done: runs },
        Phase { name: "policy", act: Act::Change(json!({ "deletionPolicy": "Delete" })), is_done: runs },
        Phase { name: "delete", act: Act::Delete, is_done: is_gone },
    ]
}

/// The spec that the job begins with.
pub fn spec() -> Value {
    json!({
        "job": "nexmark-bids-per-auction",
        "args": { "events": 1 },
        "worker": { "slots": 1 },
        "storage": { "uri": "s3://weir/jobs", "credentials": { "secretName": "weir-s3" } },
        "checkpoint": { "interval": "1s" },
    })
}

/// How each phase ends when nothing disturbs the operator.
pub async fn undisturbed(stage: &'static Stage) -> &'static [Ending] {
    static ENDINGS: OnceCell<Vec<Ending>> = OnceCell::const_new();
    ENDINGS
        .get_or_init(|| async move {
            let scene = Scene::new(stage, "undisturbed").await;
            scene.start_operator();
            let mut endings = Vec::new();
            for phase in phases() {
                scene.proxy.arm(None);
                scene.act(&phase.act).await;
                endings.push(scene.settle(&phase).await);
                println!("undisturbed: {} takes {} writes", phase.name, scene.proxy.writes());
            }
            endings
        })
        .await
}

/// The job runs what its spec says, has proven it by a checkpoint, and nothing is under way.
pub fn runs(seen: &Seen) -> Result<(), String> {
    let job = answered(seen)?;
    let record = seen.record()?;
    let state = &job["status"]["state"];
    expect(state == "Running", || format!("it is {state}"))?;
    expect(record["unprovenSince"].is_null(), || "it has not proven itself".to_owned())?;
    expect(record["stable"]["config"] == record["config"], || "another deployment is the stable one".to_owned())?;
    let conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let mut progressing = conditions.filter(|condition| condition["type"] == "Progressing");
    expect(progressing.all(|condition| condition["status"] == "False"), || "something is under way".to_owned())?;
    seen.one("Pod").map(drop)
}

/// The job does not run and will not.
pub fn is_suspended(seen: &Seen) -> Result<(), String> {
    let job = answered(seen)?;
    let state = &job["status"]["state"];
    expect(state == "Suspended", || format!("it is {state}"))?;
    expect(seen.all("Pod").is_empty(), || "its pod is still there".to_owned())
}

/// Nothing is left.
pub fn is_gone(seen: &Seen) -> Result<(), String> {
    expect(seen.count() == 0, || format!("{} objects are still there", seen.count()))
}

fn answered(seen: &Seen) -> Result<&Value, String> {
    let job = seen.one("StreamJob")?;
    let is_answered = job["status"]["observedGeneration"] == job["metadata"]["generation"];
    expect(is_answered, || "its status answers an older spec".to_owned())?;
    Ok(job)
}

fn expect(holds: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(words()) }
}
