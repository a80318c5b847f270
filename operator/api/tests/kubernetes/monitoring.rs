//! Alerts and dashboard: promtool takes the rules, every alert fires when it should, and no expression names a metric or a
//! label that the reference does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use regex::Regex;
use serde_json::Value;

use crate::{installed, read, repository, run};

/// Labels that scraping adds: where a job is, and what it is called. `le` and `quantile` belong to histograms.
const SCRAPED: [&str; 3] = ["namespace", "streamjob", "le"];

struct Metric {
    is_histogram: bool,
    labels: BTreeSet<String>,
}

/// The metrics of the reference, by name.
fn documented() -> BTreeMap<String, Metric> {
    let row = Regex::new(r"(?m)^\| `(weir_[a-z_]+)` \| (\w+) \|([^|]*)\|").unwrap();
    let label = Regex::new("`([a-z_]+)`").unwrap();
    let mut metrics = BTreeMap::new();
    for file in ["docs/reference/metrics.md", "docs/reference/operator-metrics.md"] {
        for found in row.captures_iter(&read(file)) {
            let labels = label.captures_iter(&found[3]).map(|l| l[1].to_owned()).collect();
            metrics.insert(found[1].to_owned(), Metric { is_histogram: &found[2] == "histogram", labels });
        }
    }
    assert!(metrics.len() > 25, "{}", metrics.len());
    metrics
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&read("charts/weir/files/alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Every expression with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = alerts()
        .iter()
        .map(|rule| (rule["alert"].as_str().unwrap().to_owned(), rule["expr"].as_str().unwrap().to_owned()))
        .collect();
    let dashboard: Value = serde_json::from_str(&read("charts/weir/dashboards/weir.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            found.push((variable["name"].to_string(), query.to_owned()));
        }
    }
    found
}

/// The documented metric that a series' name belongs to.
fn metric_of<'m>(metrics: &'m BTreeMap<String, Metric>, series: &str) -> Option<&'m Metric> {
    let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|part| series.strip_suffix(part));
    let histogram = base.and_then(|base| metrics.get(base)).filter(|metric| metric.is_histogram);
    histogram.or_else(|| metrics.get(series).filter(|metric| !metric.is_histogram))
}

#[test]
fn every_metric_and_label_that_is_looked_at_exists() {
    let metrics = documented();
    let series = Regex::new(r"\b(weir_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let matcher = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    let grouping = Regex::new(r"by \(([^)]*)\)").unwrap();
    let expressions = expressions();
    assert!(expressions.len() > 30, "{}", expressions.len());
    for (place, expression) in expressions {
        let mut known: BTreeSet<&str> = SCRAPED.into();
        for found in series.captures_iter(&expression) {
            let metric = metric_of(&metrics, &found[1]);
            let metric = metric.unwrap_or_else(|| panic!("{place}: {} is not in docs/reference", &found[1]));
            known.extend(metric.labels.iter().map(String::as_str));
            for label in matcher.captures_iter(found.get(2).map_or("", |m| m.as_str())) {
                let is_known = metric.labels.contains(&label[1]) || SCRAPED.contains(&&label[1]);
                assert!(is_known, "{place}: {} has no label {}", &found[1], &label[1]);
            }
        }
        for labels in grouping.captures_iter(&expression) {
            for label in labels[1].split(',').map(str::trim) {
                assert!(known.contains(label), "{place}: nothing in it has a label {label}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_runbook_section_and_a_case_in_which_it_fires() {
    let runbook = read("docs/operations/runbook.md");
    let tests: Value = serde_yaml::from_str(&read("tests/alerts/alerts.yaml")).unwrap();
    let mut fired = BTreeSet::new();
    let mut silent = BTreeSet::new();
    for test in tests["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().unwrap() {
            let name = case["alertname"].as_str().unwrap().to_owned();
            let is_silent = case["exp_alerts"].as_array().unwrap().is_empty();
            if is_silent {
                silent.insert(name)
            } else {
                fired.insert(name)
            };
        }
    }
    for rule in alerts() {
        let name = rule["alert"].as_str().unwrap();
        let anchor = format!("docs/operations/runbook.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], anchor);
        assert!(runbook.contains(&format!("\n### {name}\n")), "the runbook has no section on {name}");
        assert!(fired.contains(name), "no test fires {name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
    }
    assert!(silent.len() >= 5, "{silent:?}");
}

#[test]
fn promtool_takes_the_rules_and_they_fire_as_their_tests_say() {
    let promtool = installed("prometheus").join("promtool");
    run(Command::new(&promtool)
        .args(["check", "rules", "--lint-fatal"])
        .arg(repository("charts/weir/files/alerts.yaml")))
    .unwrap();
    run(Command::new(&promtool).args(["test", "rules"]).arg(repository("tests/alerts/alerts.yaml"))).unwrap();
}

/// Grafana's variables are no PromQL; with values in their place promtool reads every expression of the dashboard.
#[test]
fn promtool_reads_every_expression_of_the_dashboard() {
    let promtool = installed("prometheus").join("promtool");
    let rules: Vec<Value> = expressions()
        .into_iter()
        .filter(|(_, expression)| !expression.starts_with("label_values"))
        .enumerate()
        .map(|(i, (_, expression))| {
            let expression = expression.replace("$__rate_interval", "5m").replace(['$'], "");
            serde_json::json!({ "record": format!("panel_{i}"), "expr": expression })
        })
        .collect();
    let file = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let path = std::env::temp_dir().join(format!("weir-dashboard-{}.json", std::process::id()));
    std::fs::write(&path, file.to_string()).unwrap();
    let checked = run(Command::new(&promtool).args(["check", "rules"]).arg(&path));
    std::fs::remove_file(&path).unwrap();
    checked.unwrap();
}

/// The words that the Weir operator's code says in conditions and events, found by how they are said.
#[test]
fn the_runbook_has_every_reason_that_the_operator_says() {
    let said = Regex::new(
        r#"(?:degraded|held_back|not_ready|progressing|tell|warn|give_up)\((?:\s*deployed,)?\s*"([A-Z]\w+)""#,
    )
    .unwrap();
    let title = Regex::new(r#"Reason::\w+(?: \| Reason::\w+)* => "(\w+)""#).unwrap();
    let mut words = BTreeSet::new();
    for source in sources(&repository("operator/src")) {
        words.extend(said.captures_iter(&source).map(|found| found[1].to_owned()));
        words.extend(title.captures_iter(&source).map(|found| found[1].to_owned()));
    }
    assert!(words.len() > 40, "{words:?}");
    let runbook = read("docs/operations/runbook.md");
    let missing: Vec<&String> = words.iter().filter(|word| !runbook.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/operations/runbook.md does not know {missing:?}");
}

fn sources(folder: &std::path::Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).unwrap());
        }
    }
    texts
}
