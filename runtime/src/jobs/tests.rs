use serde_json::json;
use weir_connectors::sequence::Sequence;
use weir_engine::time::WatermarkStrategy;

use super::*;

fn numbers(args: &mut Args) -> Result<Graph, JobError> {
    let limit = args.get("limit", 10_u64, "how many");
    if limit == 13 {
        return Err(JobError::new("13 brings bad luck"));
    }
    let graph = Graph::new();
    let numbers = graph.source("numbers", Sequence::bounded(limit), WatermarkStrategy::none());
    if limit != 14 {
        numbers.sink("out", crate::stock::test_sink());
    }
    Ok(graph)
}

fn jobs() -> Jobs {
    Jobs::new().job("count-numbers", "counts", numbers).job("broken", "fails", |_| Err(JobError::new("no")))
}

/// Builds `name` with `args`; the refusal with its causes, if there is one.
fn check(name: &str, args: serde_json::Value, expected: Option<&str>) {
    let args = serde_json::from_value(args).unwrap();
    let refused = jobs().build(name, &args).err().map(|error| crate::cli::chain(&error));
    assert_eq!(refused.as_deref(), expected, "{name}");
}

#[test]
fn graphs_are_built_by_name() {
    check("count-numbers", json!({"limit": 3}), None);
    check(
        "count-number",
        json!({}),
        Some(
            "spec.job: found \"count-number\"; allowed: broken, count-numbers; write count-numbers if that is what you meant",
        ),
    );
    check(
        "kafka",
        json!({}),
        Some(
            "spec.job: found \"kafka\"; allowed: broken, count-numbers; see `weir jobs` for the graphs and their arguments",
        ),
    );
    let many = (0..13).fold(jobs(), |jobs, index| jobs.job(&format!("graph-{index}"), "", numbers));
    assert_eq!(
        many.build("count-numbr", &BTreeMap::new()).err().unwrap().to_string(),
        "spec.job: found \"count-numbr\"; allowed: one of the 15 graphs that `weir jobs` lists; \
         write count-numbers if that is what you meant"
    );
    check("broken", json!({}), Some("job broken cannot be built from its arguments: no"));
    check(
        "count-numbers",
        json!({"limit": 13}),
        Some("job count-numbers cannot be built from its arguments: 13 brings bad luck"),
    );
    check(
        "count-numbers",
        json!({"limit": 14}),
        Some(
            "job count-numbers is not a graph that can run: the output of numbers goes nowhere and the graph has no sink",
        ),
    );
}

#[test]
fn refused_arguments_come_before_what_the_builder_made_of_them() {
    check(
        "broken",
        json!({"limit": 1}),
        Some("spec.args.limit: found an argument that broken does not take; allowed: none; remove it"),
    );
}

#[test]
fn listing_runs_no_job_and_shows_arguments_also_of_builders_that_fail() {
    let listed = jobs().list();
    assert_eq!(listed.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["broken", "count-numbers"]);
    assert_eq!(listed[1].args.len(), 1);
}

#[test]
fn names_that_cannot_be_told_apart_or_written_are_mistakes() {
    assert!(jobs().check().is_ok());
    let twice = jobs().and(jobs());
    assert_eq!(
        twice.check().unwrap_err().to_string(),
        "job \"broken\" cannot be registered: two graphs have this name"
    );
    let bad = Jobs::new().job("a b", "", numbers).check().unwrap_err().to_string();
    assert!(bad.starts_with("job \"a b\" cannot be registered: the name of a job graph"), "{bad}");
}
