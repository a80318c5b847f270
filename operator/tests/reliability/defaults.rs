//! Another operator with other defaults takes over.

use serde_json::json;

use crate::life::{phases, runs};
use crate::on_stage;
use crate::scene::{Act, Phase, Scene};
use crate::seen::Seen;

#[test]
fn an_operator_with_another_default_image_restarts_nothing() {
    on_stage(async |stage| {
        let mut scene = Scene::new(stage, "other-defaults").await;
        scene.start_operator();
        let create = phases().swap_remove(0);
        scene.act(&create.act).await;
        let before = scene.settle(&create).await;
        drop(scene.operator.lock().take());
        scene.launch.image = "weir:2".to_owned();
        scene.start_operator();
        let offered = Phase { name: "the newer image is offered", act: Act::Delete, is_done: is_offered };
        let after = scene.settle(&offered).await;
        assert_eq!(after.told, before.told, "the job noticed");
        for (key, text) in before.dump.iter().filter(|(key, _)| !key.starts_with("StreamJob")) {
            assert_eq!(after.dump.get(key), Some(text), "{key}");
        }
        // The next change of the spec takes it.
        let change = Act::Change(json!({ "args": { "events": 2 } }));
        let upgrade = Phase { name: "upgrade", act: change, is_done: runs_the_newer_image };
        scene.act(&upgrade.act).await;
        scene.settle(&upgrade).await;
    });
}

fn is_offered(seen: &Seen) -> Result<(), String> {
    runs(seen)?;
    let job = seen.one("StreamJob")?;
    let mut conditions = job["status"]["conditions"].as_array().into_iter().flatten();
    let update = conditions.find(|condition| condition["type"] == "UpdateAvailable").unwrap();
    if update["status"] == "True" { Ok(()) } else { Err("no update is offered".to_owned()) }
}

fn runs_the_newer_image(seen: &Seen) -> Result<(), String> {
    runs(seen)?;
    let image = &seen.one("Pod")?["spec"]["containers"][0]["image"];
    if image == "weir:2" { Ok(()) } else { Err(format!("it runs {image}")) }
}
