//! The table and what is exported agree, and the reference is made from the table.

use super::*;

const REFERENCE: &str = "../docs/reference/operator-metrics.md";

#[test]
fn the_reference_has_exactly_the_metrics_there_are() {
    let reference = std::fs::read_to_string(REFERENCE).unwrap_or_default();
    let table = markdown_table();
    if std::env::var_os("WEIR_WRITE_REFERENCE").is_some() {
        let start = reference.find("| metric |").unwrap_or(reference.len());
        std::fs::write(REFERENCE, format!("{}{table}", &reference[..start])).unwrap();
        return;
    }
    assert!(
        reference.ends_with(&table),
        "docs/reference/operator-metrics.md is out of date: \
         WEIR_WRITE_REFERENCE=1 cargo test -p weir-operator the_reference_has"
    );
}

#[test]
fn every_metric_is_exported_with_its_labels_once_something_happened() {
    let metrics = Metrics::new().unwrap();
    metrics.looked(LookOutcome::Acted, Duration::from_millis(1));
    metrics.decided(Duration::from_millis(1));
    metrics.restarted("n", "j", "crashed", 2);
    metrics.api_error("patch", 409);
    metrics.leader(true);
    metrics.kept("namespace");
    let at = jiff::Timestamp::from_second(100).unwrap();
    let checkpoint = weir_api::status::CheckpointStatus {
        completed_at: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at)),
        ..Default::default()
    };
    let status = weir_api::StreamJobStatus {
        state: Some(JobState::Running),
        last_checkpoint: Some(checkpoint.clone()),
        checkpoints: vec![checkpoint],
        ..Default::default()
    };
    metrics.job("n", "j", &status, Some(Duration::from_secs(10)));
    let text = metrics.render(jiff::Timestamp::from_second(107).unwrap());
    for metric in METRICS {
        assert!(text.contains(&format!("# TYPE {} {}\n", metric.name, metric.kind.name())), "{}", metric.name);
    }
    for line in [
        "weir_operator_jobs{state=\"Running\"} 1\n",
        "weir_operator_jobs{state=\"Failed\"} 0\n",
        "weir_operator_last_checkpoint_age_seconds{namespace=\"n\",streamjob=\"j\"} 7\n",
        "weir_operator_job_restarts_total{namespace=\"n\",reason=\"crashed\",streamjob=\"j\"} 2\n",
        "weir_operator_leader 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    metrics.retain(|_, job| job != "j");
    assert!(!metrics.render(at).contains("weir_operator_retained_checkpoints{"));
}
