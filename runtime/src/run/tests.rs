//! Whole runs in this process: what is refused, and what a run leaves behind.

use std::fs;

use serde_json::json;

use super::*;
use crate::manifest::Set;
use crate::stock;

struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A job named `name` that runs a stock graph over storage in this scene.
    fn manifest(&self, name: &str, spec: serde_json::Value) -> PathBuf {
        let mut spec = spec;
        spec["storage"] = json!({"uri": format!("file://{}", self.at("storage").display())});
        let manifest =
            json!({"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": name}, "spec": spec});
        let file = self.at(&format!("{name}.yaml"));
        fs::write(&file, manifest.to_string()).unwrap();
        file
    }

    fn run(&self, file: &Path, set: &[&str], restore_from: Option<&str>) -> Result<Exit, String> {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let flags = RunFlags {
            manifest: crate::cli::ManifestFlags {
                file: file.to_owned(),
                set: set.iter().map(|one| one.parse().unwrap()).collect(),
                restore_from: restore_from
                    .map(|text| Set::restore_from(&crate::manifest::parse_restore_from(text).unwrap())),
            },
            report: Some(self.at("report.json")),
            work_dir: Some(self.at(&format!("work-{name}"))),
            metrics_addr: Some(Address::Off),
            log: LogFormat::Text,
        };
        run(flags, stock::jobs()).map_err(|refusal| refusal.to_string())
    }

    fn report(&self) -> Report {
        serde_json::from_slice(&fs::read(self.at("report.json")).unwrap()).unwrap()
    }
}

fn bids(events: u64) -> serde_json::Value {
    json!({"job": "nexmark-bids-per-auction", "args": {"events": events, "sink": "blackhole"}, "restart": {"budget": 0}})
}

#[test]
fn a_bounded_job_finishes_and_is_finished_when_it_is_run_again() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(5_000));
    assert_eq!(scene.run(&file, &[], None), Ok(Exit::Done));
    let report = scene.report();
    assert_eq!((report.outcome, report.records_in, report.records_out), (Ending::Finished, 4_600, 4_600));
    assert_eq!((report.generation, report.restored_from, report.restarts.len()), (1, None, 0));
    assert!(report.checkpoints.completed >= 1 && report.wall_seconds > 0.0 && report.peak_rss_bytes > 0);
    assert_eq!(scene.run(&file, &[], None), Ok(Exit::Done));
    assert_eq!((scene.report().outcome, scene.report().records_in), (Ending::Settled, 0));
    let refused = scene.run(&file, &[], Some("empty")).unwrap_err();
    assert!(refused.contains("say allowDuplicates to accept that"), "{refused}");
    let again = scene.run(&file, &["spec.restoreFrom.allowDuplicates=true"], Some("empty"));
    assert_eq!(again, Ok(Exit::Done));
    assert_eq!((scene.report().outcome, scene.report().records_in), (Ending::Finished, 4_600));
}

#[test]
fn counts_of_a_finished_file_job_are_in_its_directory() {
    let scene = Scene::new();
    fs::write(scene.at("text.txt"), "a b a\nc A\n").unwrap();
    let args = json!({"input": scene.at("text.txt"), "output": scene.at("out")});
    let file = scene.manifest("words", json!({"job": "word-count", "args": args}));
    assert_eq!(scene.run(&file, &[], None), Ok(Exit::Done));
    let mut lines: Vec<String> = fs::read_dir(scene.at("out"))
        .unwrap()
        .flat_map(|entry| {
            fs::read_to_string(entry.unwrap().path()).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    lines.sort();
    assert_eq!(lines, [r#"{"word":"a","count":3}"#, r#"{"word":"b","count":1}"#, r#"{"word":"c","count":1}"#]);
}

/// Runs a job that must be refused; what is said may not begin with anything else.
fn refused(scene: &Scene, file: &Path, set: &[&str], restore_from: Option<&str>, expected: &str) {
    let refusal = scene.run(file, set, restore_from).unwrap_err();
    assert!(refusal.starts_with(expected), "found:    {refusal}\nexpected: {expected}");
}

#[test]
fn a_missing_input_is_refused_before_the_journal_is_claimed() {
    let scene = Scene::new();
    let args = json!({"input": scene.at("none.txt"), "sink": "blackhole"});
    let file = scene.manifest("words", json!({"job": "word-count", "args": args}));
    refused(&scene, &file, &[], None, "operator lines: ");
    assert!(!scene.at("storage").exists() || fs::read_dir(scene.at("storage")).unwrap().count() == 0);
}

#[test]
fn storage_that_is_no_directory_is_refused() {
    let scene = Scene::new();
    fs::write(scene.at("storage"), "").unwrap();
    let file = scene.manifest("bids", bids(100));
    let place = scene.at("storage");
    refused(&scene, &file, &[], None, &format!("storage uri \"file://{0}\": {0} is not a directory", place.display()));
}

#[test]
fn a_job_does_not_start_from_the_state_of_other_operators() {
    let scene = Scene::new();
    let first = scene.manifest("bids", bids(100));
    scene.run(&first, &[], None).unwrap();
    fs::write(scene.at("text.txt"), "a").unwrap();
    let args = json!({"input": scene.at("text.txt"), "sink": "blackhole"});
    let other = scene.manifest("words", json!({"job": "word-count", "args": args, "restart": {"budget": 0}}));
    let journal = format!("journal:file://{}/local/bids", scene.at("storage").display());
    refused(
        &scene,
        &other,
        &[],
        Some(&journal),
        "operator bids has positions of its input in checkpoint 1, but the job has no such operator (it has: lines): \
         give the operator its old id back, or start with restoreFrom empty",
    );
    assert!(!scene.at("storage/local/words").exists(), "the journal was claimed");
}

#[test]
fn a_checkpoint_that_is_not_retained_is_refused_with_those_that_are() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(100));
    scene.run(&file, &[], None).unwrap();
    refused(
        &scene,
        &file,
        &[],
        Some("checkpoint:77"),
        "the job cannot start: checkpoint 77 is not retained; retained are: 1",
    );
}

#[test]
fn parallelism_above_the_number_of_key_groups_is_refused() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(100));
    refused(
        &scene,
        &file,
        &["spec.maxParallelism=2", "spec.worker.slots=4"],
        None,
        "--set spec.worker.slots: found 4, a parallelism of 4, with a maxParallelism of 2; allowed: ",
    );
}

#[test]
fn a_changed_number_of_key_groups_is_refused() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(100));
    scene.run(&file, &[], None).unwrap();
    refused(
        &scene,
        &file,
        &["spec.maxParallelism=64"],
        None,
        "checkpoint 1 has maxParallelism 128, the job says 64: it is fixed for the job's life; write 128, or start with restoreFrom empty",
    );
    assert_eq!(scene.run(&file, &["spec.worker.slots=2"], None), Ok(Exit::Done), "the refusal left a trace");
}

#[test]
fn a_report_that_cannot_be_written_is_refused_at_once() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(100));
    fs::create_dir(scene.at("report.json")).unwrap();
    refused(
        &scene,
        &file,
        &[],
        None,
        &format!("cannot write the report {}: is a directory", scene.at("report.json").display()),
    );
}

#[test]
fn a_work_directory_in_use_is_refused() {
    let scene = Scene::new();
    let file = scene.manifest("bids", bids(100));
    let _taken = lock::take(&scene.at("work-bids")).unwrap();
    refused(&scene, &file, &[], None, &format!("process {} runs in the work directory", std::process::id()));
}
