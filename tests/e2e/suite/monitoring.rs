//! What a Prometheus has of a job that runs: every documented series with its documented labels, and rules that keep silent.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::command::eventually;
use crate::job::Job;
use crate::prometheus::Prometheus;

/// Longest wait for a scrape or an evaluation, once a second each.
const SCRAPED: Duration = Duration::from_secs(60);
/// Labels that come with scraping.
const ADDED: [&str; 7] = ["__name__", "instance", "job", "namespace", "pod", "streamjob", "le"];

/// What a healthy job has no reason to show, and why.
const ABSENT: [(&str, &str); 4] = [
    ("weir_operator_watermark_lag_seconds", "the ledger's job has no event time"),
    ("weir_operator_job_restarts_total", "nothing restarted since the operator began"),
    ("weir_operator_api_errors_total", "no call failed since the operator began"),
    ("weir_operator_checkpoints_kept_total", "no job with deletionPolicy Delete went with its namespace"),
];

struct Metric {
    kind: String,
    labels: BTreeSet<String>,
}

/// The documented series of operator and job are there with the documented labels and no others, under the names that the
/// chart's monitors give them; every rule of the chart is evaluated without an error, and none fires.
pub fn scraped(cluster: &Cluster) {
    let job = Job::ledger(cluster, "scraped", None);
    job.apply();
    job.await_state("Running");
    job.await_checkpoint_above(1);
    let prometheus = Prometheus::start(cluster);
    let documented = documented();
    eventually("every documented series is there", SCRAPED, || {
        let series = series(&prometheus)?;
        let missing: Vec<&String> = documented
            .iter()
            .filter(|(name, metric)| {
                !is_absent(name) && names(name, metric).iter().any(|name| !series.contains_key(name))
            })
            .map(|(name, _)| name)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} are missing")) }
    });
    let series = series(&prometheus).expect("it has answered before");
    let mut known = BTreeMap::new();
    for (name, metric) in &documented {
        known.extend(names(name, metric).into_iter().map(|name| (name, metric)));
    }
    let added: BTreeSet<&str> = ADDED.into();
    for (name, found) in &series {
        let metric = known.get(name).unwrap_or_else(|| panic!("{name} is served and not in docs/reference"));
        for labels in found {
            let own: BTreeSet<&str> =
                labels.keys().map(String::as_str).filter(|label| !added.contains(label)).collect();
            let said = metric.labels.iter().map(String::as_str).filter(|label| !added.contains(label)).collect();
            assert_eq!(own, said, "labels of {name}");
            // Alerts and dashboard count on these two for whatever speaks of a job.
            let of_job = labels["job"] == "jobs" || metric.labels.contains("streamjob");
            let place = |label: &str| labels.get(label).map(String::as_str).unwrap_or_default();
            if of_job && place("namespace") == "scraped" {
                assert_eq!(place("streamjob"), "ledger", "{name}{labels:?}");
            }
            assert!(!of_job || !place("namespace").is_empty(), "{name}{labels:?}");
        }
    }
    let of_job =
        series["weir_checkpoints_completed_total"].iter().filter(|labels| labels["namespace"] == "scraped").count();
    assert_eq!(of_job, 1, "the job's pod is scraped once");
    println!("  {} names, {} series", series.len(), series.values().map(Vec::len).sum::<usize>());
    rules(&prometheus);
    job.clean_up();
}

fn rules(prometheus: &Prometheus) {
    let rules = eventually("every rule is evaluated", SCRAPED, || {
        let answer = prometheus.api("rules")?;
        let groups = answer["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<Value> =
            groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect();
        let waiting: Vec<&Value> = rules.iter().filter(|rule| rule["health"] == "unknown").collect();
        if !rules.is_empty() && waiting.is_empty() { Ok(rules) } else { Err(answer.to_string()) }
    });
    let file = Path::new("../../charts/weir/files/alerts.yaml");
    let written = std::fs::read_to_string(file).expect("the chart has alerts").matches("- alert:").count();
    assert_eq!(rules.len(), written, "rules that Prometheus has and rules of the chart");
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    // Between two scrapes a rule may look as if its series were gone; an alert that is due stays. Jobs of other tests may have restarted.
    eventually("no alert is about a healthy job", SCRAPED, || {
        let answer = prometheus.api("alerts")?;
        let alerts = answer["alerts"].as_array().into_iter().flatten();
        let namespace = |alert: &Value| alert["labels"]["namespace"].as_str().unwrap_or_default().to_owned();
        let ours: Vec<&Value> = alerts.filter(|alert| ["scraped", ""].contains(&namespace(alert).as_str())).collect();
        if ours.is_empty() { Ok(()) } else { Err(format!("{ours:?}")) }
    });
    println!("  {} rules evaluated, none of them fires", rules.len());
}

/// Label sets by name, of everything that is Weir's and was scraped just now.
fn series(prometheus: &Prometheus) -> Result<BTreeMap<String, Vec<BTreeMap<String, String>>>, String> {
    let answer = prometheus.api("query?query=%7B__name__%3D~%22weir_.*%22%7D")?;
    let mut series: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    for found in answer["result"].as_array().into_iter().flatten() {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(found["metric"].clone()).map_err(|error| error.to_string())?;
        series.entry(labels["__name__"].clone()).or_default().push(labels);
    }
    Ok(series)
}

fn is_absent(name: &str) -> bool {
    ABSENT.iter().any(|(absent, _)| *absent == name)
}

/// The names that a metric's series have.
fn names(name: &str, metric: &Metric) -> Vec<String> {
    if metric.kind != "histogram" {
        return vec![name.to_owned()];
    }
    ["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")).into()
}

/// The tables of the reference: `| name | type | labels | meaning |`.
fn documented() -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    for file in ["metrics.md", "operator-metrics.md"] {
        let path = Path::new("../../docs/reference").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for line in text.lines().filter(|line| line.starts_with("| `weir_")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            let metric =
                Metric { kind: cells[2].to_owned(), labels: labels.filter(|label| !label.is_empty()).collect() };
            metrics.insert(cells[1].trim_matches('`').to_owned(), metric);
        }
    }
    assert!(metrics.len() > 25, "only {} metrics are documented", metrics.len());
    metrics
}
