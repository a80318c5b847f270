use super::*;
use crate::message::{LoadSample, OperatorSample};

/// Where the reference stands, seen from the package, where cargo runs tests; the test says how to mend it.
const REFERENCE: &str = "../../docs/reference/metrics.md";

#[test]
fn the_reference_has_exactly_the_metrics_there_are() {
    let reference = std::fs::read_to_string(REFERENCE).unwrap();
    let table = markdown_table();
    if std::env::var_os("WEIR_WRITE_REFERENCE").is_some() {
        let start = reference.find("| metric |").unwrap_or(reference.len());
        std::fs::write(REFERENCE, format!("{}{table}", &reference[..start])).unwrap();
        return;
    }
    assert!(
        reference.ends_with(&table),
        "docs/reference/metrics.md is out of date: WEIR_WRITE_REFERENCE=1 cargo test --release -p weir-cluster the_reference_has"
    );
}

#[test]
fn every_metric_is_named_and_registered_once() {
    let registry = Registry::new();
    Metrics::register(&registry).unwrap();
    let names: std::collections::BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len());
    assert!(names.iter().all(|name| name.starts_with("weir_")));
    assert!(Metrics::register(&registry).is_err(), "a second run needs a registry of its own");
}

#[test]
fn counters_with_closed_labels_are_there_before_they_count() {
    let registry = Registry::new();
    Metrics::register(&registry).unwrap();
    let served: BTreeMap<String, Vec<String>> = registry
        .gather()
        .iter()
        .map(|family| {
            let reasons = family.get_metric().iter().flat_map(|metric| metric.get_label());
            (family.name().to_owned(), reasons.map(|label| label.value().to_owned()).collect())
        })
        .collect();
    let of_operators = ["operator", "subtask"];
    for MetricInfo { name, labels, help, .. } in METRICS.iter().filter(|metric| metric.kind == Kind::Counter) {
        if labels.iter().any(|label| of_operators.contains(label)) {
            continue;
        }
        let reasons = served.get(*name).unwrap_or_else(|| panic!("{name} is not served before it counts"));
        assert_eq!(reasons.is_empty(), labels.is_empty(), "{name}: {reasons:?}");
        for reason in reasons {
            assert!(help.contains(reason.as_str()), "{name}: {reason} is not in \"{help}\"");
        }
    }
}

fn sample(generation: u64, records_in: u64, idle_ns: u64) -> WorkerSample {
    let key = ("count".into(), 0);
    let operator = OperatorSample { records_in, watermark: Some(4_000), ..OperatorSample::default() };
    let load = LoadSample { idle_ns, total_ns: 10_000_000, ..LoadSample::default() };
    WorkerSample {
        generation: Generation(generation),
        operators: [(key.clone(), operator)].into(),
        loads: [(key, load)].into(),
        ..WorkerSample::default()
    }
}

#[test]
fn counters_grow_over_redeployments_and_ignore_old_samples() {
    let metrics = Metrics::register(&Registry::new()).unwrap();
    for (generation, records) in [(1, 10), (1, 25), (2, 5), (1, 40), (2, 6)] {
        metrics.observe_sample(&sample(generation, records, 3_000_000), Millis(9_000));
    }
    let counter = |name: Name, labels: &[&str]| metrics.counters[&name].with_label_values(labels).get();
    assert_eq!(counter(Name::RecordsIn, &["count", "0"]), 31);
    assert_eq!(counter(Name::SubtaskTime, &["count", "0", "idle"]), 6);
    assert_eq!(counter(Name::SubtaskTime, &["count", "0", "busy"]), 14);
    assert_eq!(metrics.seconds[&Name::WatermarkLag].with_label_values(&["count", "0"]).get(), 5.0);
}
