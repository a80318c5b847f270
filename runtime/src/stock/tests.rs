use serde_json::json;

use super::*;

/// Builds `name` with `args`; the refusal, if there is one.
fn check(name: &str, args: serde_json::Value, expected: Option<&str>) {
    let args = serde_json::from_value(args).unwrap();
    let refused = jobs().build(name, &args).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), expected, "{name}");
}

#[test]
fn every_stock_graph_is_named_once_and_described() {
    jobs().check().unwrap();
    for job in jobs().list() {
        assert!(!job.description.is_empty() && !job.args.is_empty(), "{job:?}");
        assert!(job.args.iter().all(|arg| !arg.description.is_empty()), "{job:?}");
    }
}

#[test]
fn stock_graphs_build_from_their_arguments() {
    check("nexmark-bids-per-auction", json!({}), None);
    check("nexmark-bids-per-auction", json!({"events": 10, "window": "10s", "sink": "blackhole"}), None);
    check("nexmark-events", json!({"output": "x", "format": "json"}), None);
    check("word-count", json!({"input": "x", "follow": "1s"}), None);
    for name in ["csv-pass-through", "csv-count", "csv-window"] {
        check(name, json!({"input": "x", "output": "y"}), None);
    }
}

#[test]
fn sinks_and_their_directory_belong_together() {
    let name = "nexmark-bids-per-auction";
    check(name, json!({"sink": "files", "output": "x"}), None);
    check(name, json!({"output": "x"}), None);
    check(
        name,
        json!({"sink": "files"}),
        Some("spec.args.output: found nothing beside the sink files; allowed: a directory; add it"),
    );
    check(
        name,
        json!({"sink": "print", "output": "x"}),
        Some(
            "spec.args.output: found a directory beside another sink; allowed: a directory beside the sink files; remove one of them",
        ),
    );
    check(
        name,
        json!({"sink": "file", "output": "x"}),
        Some(
            "spec.args.sink: found the text \"file\"; allowed: print, blackhole, files; write files if that is what you meant",
        ),
    );
}

#[test]
fn the_generator_refuses_what_it_cannot_do() {
    check(
        "nexmark-events",
        json!({"output": "x", "splits": 0}),
        Some("spec.args.splits: found 0; allowed: 1 to 32768; raise it"),
    );
    let refused =
        jobs().build("nexmark-events", &[("output".to_owned(), json!("x")), ("rate".to_owned(), json!(0))].into());
    assert_eq!(
        crate::cli::chain(&refused.err().unwrap()),
        "job nexmark-events cannot be built from its arguments: nexmark: rate is 0; allowed are 1 and above; leave it out for no limit"
    );
}
