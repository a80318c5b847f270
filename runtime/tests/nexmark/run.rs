//! Runs a stock job in this process, with checkpoints, and reads what it committed.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use weir_cluster::{JobOutcome, RunOptions, run_job};
use weir_storage::StoreOptions;

/// Runs a job to its end and returns the rows of its output files.
pub fn job(name: &str, slots: u32, args: &[(&str, Value)]) -> Vec<Value> {
    let out = tempfile::tempdir().expect("a directory");
    job_into(name, slots, args, out.path());
    let mut rows = Vec::new();
    for entry in std::fs::read_dir(out.path()).expect("the output directory") {
        let path = entry.expect("an entry").path();
        let hidden = path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'));
        assert!(!hidden, "{} was left behind", path.display());
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        rows.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line of JSON")));
    }
    rows
}

/// Runs a job to its end with its output in `out`.
pub fn job_into(name: &str, slots: u32, args: &[(&str, Value)], out: &Path) {
    let dir = tempfile::tempdir().expect("a directory");
    let manifest = format!(
        "apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {{name: nexmark}}\nspec:\n  job: {name}\n  worker: {{slots: {slots}, memory: 512Mi}}\n  \
         storage: {{uri: \"file://{}\"}}\n  checkpoint: {{interval: 100ms}}\n",
        dir.path().display()
    );
    let job = weir_api::yaml::from_str("nexmark.yaml", &manifest).expect("a valid manifest");
    let job = weir_api::resolve(&job, weir_api::Surface::CommandLine).expect("a valid job");
    let mut given: std::collections::BTreeMap<String, Value> =
        args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    given.insert("output".to_owned(), out.to_str().expect("UTF-8").into());
    let name = name.to_owned();
    let graph = Arc::new(move || weir::stock::jobs().build(&name, &given).map_err(|error| error.to_string()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async {
        let uri = format!("file://{}/objects", dir.path().display());
        let objects = weir_storage::open(&uri, &StoreOptions::default()).await.expect("storage");
        let (_commands, requests) = tokio::sync::mpsc::channel(1);
        let (status, _watch) = tokio::sync::watch::channel(Default::default());
        run_job(RunOptions::new(job, graph, objects, dir.path().join("work")), requests, status).await
    });
    assert!(matches!(outcome, Ok(JobOutcome::Finished { .. })), "{outcome:?}");
}
