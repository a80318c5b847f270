use serde_json::json;

use super::*;
use crate::args::Args;
use crate::jobs::JobError;

/// The stock graph that the manifest names, and another one.
fn graphs() -> Jobs {
    let build = |args: &mut Args| crate::stock::bids_per_auction(args);
    Jobs::new().job("nexmark-bids-per-auction", "", build).job("other", "", build)
}

const MANIFEST: &str = "apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata:
  name: bids
spec:
  job: nexmark-bids-per-auction
  args:
    events: 100
";

/// Loads `text` with `set` and builds the stock graph; the refusal, if there is one.
fn check(text: &str, set: &[&str], expected: Result<(), &str>) {
    let set: Vec<Set> = set.iter().map(|one| one.parse().unwrap()).collect();
    let found =
        load_text("job.yaml".to_owned(), text.to_owned(), &set).and_then(|loaded| loaded.graph(&graphs()).map(drop));
    let found = found.map_err(|error| crate::cli::chain(&error));
    assert_eq!(found, expected.map_err(str::to_owned), "{text}{set:?}");
}

#[test]
fn what_is_wrong_is_named_with_its_line_what_was_found_and_what_is_allowed() {
    check(MANIFEST, &[], Ok(()));
    check(
        &MANIFEST.replace("nexmark-bids-per-auction", "nexmark-bid-per-auction"),
        &[],
        Err("job.yaml:6:8: spec.job: found \"nexmark-bid-per-auction\"; allowed: nexmark-bids-per-auction, other; \
             write nexmark-bids-per-auction if that is what you meant"),
    );
    check(
        &MANIFEST.replace("events", "event"),
        &[],
        Err("job.yaml:8:12: spec.args.event: found an argument that nexmark-bids-per-auction does not take; \
             allowed: events, output, rate, seed, sink, splits, window; write events if that is what you meant"),
    );
    check(
        &MANIFEST.replace("100", "\"100\""),
        &[],
        Err(
            "job.yaml:8:13: spec.args.events: found the text \"100\"; allowed: a whole number from 0 to 18446744073709551615; remove the quotes",
        ),
    );
}

#[test]
fn what_the_api_refuses_is_refused_here_in_the_same_words() {
    for (from, to) in [
        ("events: 100", "events: 100\n    events: 200"),
        ("spec:", "spec:\n  jib: x"),
        ("spec:", "spec:\n  checkpoint: {interval: 10}"),
        ("spec:", "spec:\n  checkpoint: {interval: 10x}"),
        ("spec:", "spec:\n  worker: {memory: 1Gib}"),
        ("spec:", "spec:\n  worker: {slots: 300}"),
        ("name: bids", "name: Bids"),
    ] {
        let text = MANIFEST.replace(from, to);
        let Err(expected) = yaml::read("job.yaml", &text, Surface::CommandLine) else { panic!("{text} is taken") };
        assert!(expected.to_string().starts_with("job.yaml:"), "{expected}");
        check(&text, &[], Err(&expected.to_string()));
    }
}

#[test]
fn fields_are_replaced_from_the_command_line() {
    let load = |set: &[&str]| {
        let set: Vec<Set> = set.iter().map(|one| one.parse().unwrap()).collect();
        load_text("job.yaml".to_owned(), MANIFEST.to_owned(), &set).unwrap().job
    };
    assert_eq!(load(&["spec.args.events=7"]).args["events"], json!(7));
    assert_eq!(load(&["spec.args.sink=blackhole"]).args["sink"], json!("blackhole"));
    assert_eq!(load(&["spec.checkpoint.interval=1s"]).checkpoint.interval.as_millis(), 1000);
    assert_eq!(load(&["spec.storage={\"uri\": \"s3://bucket/x\"}"]).storage.unwrap().uri.to_string(), "s3://bucket/x");
    assert_eq!(load(&["metadata.name=other"]).name.as_str(), "other");
}

#[test]
fn a_refused_replacement_names_the_flag_and_not_a_line() {
    check(
        MANIFEST,
        &["spec.checkpoint.interval=1ms"],
        Err(&format!("--set {}", refusal("spec:", "spec:\n  checkpoint: {interval: 1ms}"))),
    );
    check(
        MANIFEST,
        &["spec.worker.slots=two"],
        Err(&format!("--set {}", refusal("spec:", "spec:\n  worker: {slots: two}"))),
    );
    check(
        MANIFEST,
        &["spec.args.evnts=5"],
        Err("--set spec.args.evnts: found an argument that nexmark-bids-per-auction does not take; \
             allowed: events, output, rate, seed, sink, splits, window; write events if that is what you meant"),
    );
    check(MANIFEST, &["spec.job.x=5"], Err("--set spec.job.x: spec.job holds a value, not fields"));
    assert_eq!(
        "interval=1s".parse::<Set>().unwrap_err().to_string(),
        "found \"interval\"; allowed: a path that begins with spec or metadata; write it as in messages, such as spec.args.events"
    );
    assert_eq!(
        "spec.x".parse::<Set>().unwrap_err().to_string(),
        "found \"spec.x\"; allowed: path=value such as spec.checkpoint.interval=1s; write the path of a field before the first `=`"
    );
}

/// What is said of the manifest with `from` replaced by `to`, without file and line.
fn refusal(from: &str, to: &str) -> String {
    let error = yaml::read("f", &MANIFEST.replace(from, to), Surface::CommandLine).err().unwrap();
    let yaml::ManifestError::Refused { refusals, .. } = error else { panic!("{error}") };
    refusals[0].invalid.to_string()
}

#[test]
fn restore_from_takes_the_forms_of_the_manifest_and_bare_uris() {
    let check = |text: &str, expected: Result<&str, &str>| {
        let found = parse_restore_from(text).map(|spec| serde_json::to_string(&spec).unwrap());
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    };
    check("empty", Ok(r#"{"empty":true}"#));
    check("checkpoint:7", Ok(r#"{"checkpoint":7}"#));
    check("file:///a/local/x/savepoints/before", Ok(r#"{"savepoint":"file:///a/local/x/savepoints/before"}"#));
    check("s3://weir/jobs/local/x", Ok(r#"{"journal":"s3://weir/jobs/local/x"}"#));
    check(
        "latest",
        Err(
            "found \"latest\"; allowed: empty, checkpoint:ID, savepoint:URI or journal:URI; write the kind before the colon",
        ),
    );
    let set = Set::restore_from(&parse_restore_from("empty").unwrap());
    let loaded = load_text("job.yaml".to_owned(), MANIFEST.to_owned(), &[set]).unwrap();
    assert_eq!(loaded.job.restore_from, Some(weir_api::resolved::RestoreFrom::Empty));
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_likeliest_neighbour() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bids.yaml"), MANIFEST).unwrap();
    let at = |name: &str| directory.path().join(name);
    let refusal = |name: &str| crate::cli::chain(&load(&at(name), &[]).unwrap_err());
    assert_eq!(
        refusal("bid.yaml"),
        format!(
            "cannot read the manifest {} (there is {}): No such file or directory (os error 2)",
            at("bid.yaml").display(),
            at("bids.yaml").display()
        )
    );
    assert_eq!(
        refusal("none/bid.yaml"),
        format!(
            "cannot read the manifest {}: there is no directory {}: No such file or directory (os error 2)",
            at("none/bid.yaml").display(),
            at("none").display()
        )
    );
}

#[test]
fn mistakes_in_the_program_are_told_apart_from_mistakes_in_the_manifest() {
    fn broken(_: &mut Args) -> Result<weir_engine::graph::Graph, JobError> {
        Err(JobError::new("out of luck"))
    }
    let text = MANIFEST.replace("nexmark-bids-per-auction", "broken").replace("  args:\n    events: 100\n", "");
    let loaded = load_text("job.yaml".to_owned(), text, &[]).unwrap();
    let error = loaded.graph(&Jobs::new().job("broken", "", broken)).err().unwrap();
    assert_eq!(crate::cli::chain(&error), "job broken cannot be built from its arguments: out of luck");
}

#[test]
fn a_job_without_storage_is_kept_below_the_current_directory() {
    let job = load_text("job.yaml".to_owned(), MANIFEST.to_owned(), &[]).unwrap();
    let here = std::env::current_dir().unwrap();
    let place = place_of(&job.job).unwrap();
    assert_eq!(place.job_uri, format!("file://{}/weir-data/local/bids", here.display()));
    assert_eq!(job.work_dir(None), Path::new("weir-data/work/bids"));
    assert_eq!(job.work_dir(Some(Path::new("/x"))), Path::new("/x"));
}
