//! The `weir` binary from outside: signals, exit codes, requests to a running job, and what is refused.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod scene;

use std::fs;
use std::path::Path;

use scene::Scene;
use serde_json::json;

/// A job that never ends: ten thousand events a second.
fn endless() -> serde_json::Value {
    json!({
        "job": "nexmark-bids-per-auction",
        "args": {"events": 0, "rate": 10_000, "sink": "files", "output": "out"},
        "checkpoint": {"interval": "100ms"}
    })
}

/// Lines of all committed files.
fn committed(folder: &Path) -> usize {
    let files = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
    let visible = files.filter(|file| !file.file_name().to_string_lossy().starts_with('.'));
    visible.map(|file| fs::read_to_string(file.path()).unwrap().lines().count()).sum()
}

#[test]
fn ctrl_c_takes_a_final_checkpoint_and_the_next_run_goes_on_from_it() {
    let scene = Scene::new();
    scene.manifest("bids", endless());
    let mut seen = 0;
    for _ in 0..2 {
        let running = scene.start(&["run", "bids.yaml", "--report", "report.json", "--metrics-addr", "off"]);
        scene.wait_for_checkpoints("bids.yaml", 2);
        running.signal("INT");
        let ended = running.wait();
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stderr.contains("stopped; the next run goes on from checkpoint"), "{}", ended.stderr);
        let report: serde_json::Value = serde_json::from_str(&scene.read("report.json")).unwrap();
        assert_eq!(report["outcome"], "stopped");
        let now = committed(&scene.at("out"));
        assert!(now > seen, "the run went on: {seen}, then {now}");
        seen = now;
    }
    // Run to an end that is known: then the files must hold every bid once, over both stops.
    let to_the_end = [
        "run",
        "bids.yaml",
        "--metrics-addr",
        "off",
        "--set",
        "spec.args.events=60000",
        "--set",
        "spec.args.rate=null",
    ];
    let ended = scene.call(&to_the_end);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(committed(&scene.at("out")), 60_000 * 46 / 50);
    let verified = scene.call(&["inspect", "verify", "bids.yaml"]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let scene = Scene::new();
    // Nobody reads what it prints, so no barrier passes and the final checkpoint cannot complete.
    scene.manifest(
        "bids",
        json!({"job": "nexmark-bids-per-auction", "args": {"events": 0}, "checkpoint": {"interval": "1h"}}),
    );
    let running = scene.start(&["run", "bids.yaml", "--report", "report.json", "--metrics-addr", "off"]);
    scene.wait_for_phase("bids.yaml", "running");
    running.signal("INT");
    scene.wait_for_phase("bids.yaml", "ending");
    running.signal("INT");
    let ended = running.wait();
    assert_eq!(ended.code, 130, "{}", ended.stderr);
    let report: serde_json::Value = serde_json::from_str(&scene.read("report.json")).unwrap();
    assert_eq!(report["outcome"], "interrupted");
}

#[test]
fn a_running_job_answers_requests() {
    let scene = Scene::new();
    scene.manifest("bids", endless());
    let running = scene.start(&["run", "bids.yaml", "--metrics-addr", "off"]);
    scene.wait_for_checkpoints("bids.yaml", 1);
    let taken = scene.call(&["checkpoint", "bids.yaml"]);
    assert!(taken.code == 0 && taken.stdout.starts_with("checkpoint "), "{taken:?}");
    let kept = scene.call(&["savepoint", "bids.yaml", "--name", "before", "--json"]);
    let uri = format!("file://{}/weir-data/local/bids/savepoints/before", scene.path().display());
    assert_eq!((kept.code, &kept.json()["uri"]), (0, &json!(uri)), "{kept:?}");
    let again = scene.call(&["savepoint", "bids.yaml", "--name", "before"]);
    assert_eq!((again.code, again.stderr.contains("exists already")), (1, true), "{again:?}");
    let status = scene.call(&["status", "bids.yaml"]);
    assert!(status.code == 0 && status.stdout.contains("state        running"), "{status:?}");
    let second = scene.call(&["run", "bids.yaml", "--metrics-addr", "off"]);
    assert_eq!((second.code, second.stderr.contains("runs in the work directory")), (2, true), "{second:?}");
    let stopped = scene.call(&["stop", "bids.yaml"]);
    assert!(stopped.code == 0 && stopped.stdout.starts_with("stopped with final checkpoint "), "{stopped:?}");
    assert_eq!(running.wait().code, 0);
    let nobody = scene.call(&["status", "bids.yaml"]);
    assert_eq!(
        (nobody.code, nobody.stderr.contains("no process runs this job in weir-data/work/bids")),
        (2, true),
        "{nobody:?}"
    );
    let checked = scene.call(&["check", "bids.yaml", "--restore-from", &uri]);
    // Output after the savepoint is committed already: going back to it is refused unless that is accepted.
    assert_eq!((checked.code, checked.stderr.contains("say allowDuplicates to accept that")), (2, true), "{checked:?}");
    let page = scene.call(&["inspect", "weir-data"]);
    assert!(page.code == 0 && page.stdout.contains("1 savepoint\n"), "{page:?}");
    let drawn = scene.call(&["inspect", "timeline", "weir-data", "-o", "page.html"]);
    assert!(drawn.code == 0 && scene.read("page.html").ends_with("</html>\n"), "{drawn:?}");
}

#[test]
fn killed_at_once_the_job_goes_on_and_its_files_hold_every_bid_once() {
    let scene = Scene::new();
    scene.manifest("bids", endless());
    let running = scene.start(&["run", "bids.yaml", "--metrics-addr", "off"]);
    scene.wait_for_checkpoints("bids.yaml", 2);
    running.signal("KILL");
    assert_eq!(running.wait().code, -9);
    let args = [
        "run",
        "bids.yaml",
        "--metrics-addr",
        "off",
        "--set",
        "spec.args.events=60000",
        "--set",
        "spec.args.rate=null",
    ];
    let ended = scene.call(&args);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(committed(&scene.at("out")), 60_000 * 46 / 50);
}

#[test]
fn what_was_refused_is_said_once_with_exit_code_2() {
    let scene = Scene::new();
    scene.manifest("bids", endless());
    for (args, expected) in [
        (
            &["run", "bid.yaml"][..],
            "error: cannot read the manifest bid.yaml (there is bids.yaml): No such file or directory (os error 2)\n",
        ),
        (
            &["check", "bids.yaml", "--set", "spec.args.evnts=1"],
            "error: --set spec.args.evnts: found an argument that nexmark-bids-per-auction does not take; ",
        ),
        (&["jobs", "wordcount"], "error: spec.job: found \"wordcount\"; allowed: one of the "),
        (&["inspect", "nowhere"], "error: found \"nowhere\"; allowed: file:///directory, "),
        (&["inspect", "."], "error: file://"),
        (
            &["run", "bids.yaml", "--metrics-addr", "192.0.2.1:80"],
            "error: cannot serve metrics at 192.0.2.1:80: choose another --metrics-addr, or off: ",
        ),
    ] {
        let refused = scene.call(args);
        assert_eq!(refused.code, 2, "{args:?}: {refused:?}");
        let errors: Vec<&str> = refused.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(errors.len() == 1 && refused.stderr.contains(expected), "{args:?}: {refused:?}");
    }
}

#[test]
fn a_read_only_directory_is_refused_before_anything_runs() {
    let test = "a_read_only_directory_is_refused_before_anything_runs";
    let Some(folder) = scene::on_a_file_system_of_its_own(test) else { return };
    let storage = folder.join("storage");
    fs::create_dir(&storage).unwrap();
    scene::remount(&folder, "ro");
    let scene = Scene::new();
    let mut spec = endless();
    spec["storage"] = json!({"uri": format!("file://{}", storage.display())});
    scene.manifest("bids", spec);
    for command in ["run", "check"] {
        let refused = scene.call(&[command, "bids.yaml"]);
        let expected = format!(
            "error: the job's storage was refused: storage file://{}/local/bids is read-only: make it writable, or choose another place: ",
            storage.display()
        );
        assert_eq!((refused.code, refused.stderr.contains(&expected)), (2, true), "{command}: {refused:?}");
    }
}

#[test]
fn an_unreadable_newest_checkpoint_is_refused_with_its_name_and_the_way_out() {
    let scene = Scene::new();
    let mut spec = endless();
    spec["args"] = json!({"events": 1000, "sink": "blackhole"});
    scene.manifest("bids", spec);
    assert_eq!(scene.call(&["run", "bids.yaml", "--metrics-addr", "off"]).code, 0);
    let manifests = scene.at("weir-data/local/bids/manifests");
    let newest = fs::read_dir(&manifests).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[20] ^= 1;
    fs::remove_file(&newest).unwrap();
    fs::write(&newest, bytes).unwrap();
    let name = newest.file_name().unwrap().to_str().unwrap().to_owned();
    let refused = scene.call(&["run", "bids.yaml", "--metrics-addr", "off", "--set", "spec.args.events=2000"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for part in
        [format!("its manifest manifests/{name} cannot be read"), "choose it with restoreFrom checkpoint".to_owned()]
    {
        assert!(refused.stderr.contains(&part), "{part}: {refused:?}");
    }
    let verified = scene.call(&["inspect", "verify", "weir-data", "--json"]);
    assert_eq!((verified.code, &verified.json()["damaged"][0]["object"]), (1, &json!(format!("manifests/{name}"))));
}
