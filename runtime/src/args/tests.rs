use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// Builds with `args`, returns what the builder saw, and everything that was refused.
fn check<T: PartialEq + std::fmt::Debug>(args: Value, ask: impl Fn(&mut Args) -> T, sees: T, refused: &[&str]) {
    let mut found = Args::new(serde_json::from_value(args.clone()).unwrap());
    assert_eq!(ask(&mut found), sees, "{args}");
    let messages: Vec<String> = found.finish("count").iter().map(ToString::to_string).collect();
    assert_eq!(messages, refused, "{args}");
}

#[test]
fn defaults_stand_in_for_what_is_not_given() {
    check(json!({}), |args| args.get("n", 7_u64, "how many"), 7, &[]);
    check(json!({"n": 8}), |args| args.get("n", 7_u64, "how many"), 8, &[]);
    check(json!({"n": 1e8}), |args| args.get("n", 7_u64, "how many"), 100_000_000, &[]);
    check(json!({}), |args| args.optional::<u64>("n", "how many"), None, &[]);
    check(json!({"n": 8}), |args| args.optional("n", "how many"), Some(8_u64), &[]);
    check(json!({"t": "1h30m"}), |args| args.get("t", Duration::ZERO, "time"), Duration::from_secs(5400), &[]);
    check(json!({"p": "a/b"}), |args| args.required::<PathBuf>("p", "input"), PathBuf::from("a/b"), &[]);
    check(json!({"l": [1, 2]}), |args| args.get("l", Vec::<u8>::new(), "list"), vec![1, 2], &[]);
}

#[test]
fn values_of_another_type_are_refused_by_name_with_what_is_allowed() {
    let u8_bounds = "a whole number from 0 to 255";
    for (given, found, hint) in [
        (json!("5"), "the text \"5\"", "remove the quotes"),
        (json!("five"), "the text \"five\"", "write such a value"),
        (json!(-1), "the number -1", "write a number within these bounds"),
        (json!(256), "the number 256", "write a number within these bounds"),
        (json!(1.5), "the number 1.5", "write a number within these bounds"),
        (json!(true), "the boolean true", "write such a value"),
        (json!([5]), "a list", "write such a value"),
    ] {
        let message = format!("spec.args.n: found {found}; allowed: {u8_bounds}; {hint}");
        check(json!({ "n": given }), |args| args.get("n", 7_u8, "how many"), 7, &[&message]);
    }
    check(
        json!({"t": 10}),
        |args| args.get("t", Duration::ZERO, "time"),
        Duration::ZERO,
        &[
            "spec.args.t: found the number 10; allowed: a duration such as 500ms, 10s or 1h30m; add a unit: ms, s, m or h",
        ],
    );
    check(
        json!({"s": 10}),
        |args| args.get("s", String::new(), "text"),
        String::new(),
        &["spec.args.s: found the number 10; allowed: a text; put it in quotes"],
    );
    check(
        json!({"b": "true"}),
        |args| args.get("b", false, "flag"),
        false,
        &["spec.args.b: found the text \"true\"; allowed: true or false; remove the quotes"],
    );
}

#[test]
fn bounds_and_choices_are_refused_with_what_is_allowed() {
    let ask = |args: &mut Args| args.within("n", 1..=10_u32, 5, "how many");
    check(json!({"n": 10}), ask, 10, &[]);
    check(json!({"n": 11}), ask, 5, &["spec.args.n: found 11; allowed: 1 to 10; lower it"]);
    check(json!({"n": 0}), ask, 5, &["spec.args.n: found 0; allowed: 1 to 10; raise it"]);
    let choose = |args: &mut Args| args.choice("sink", &[("print", 1), ("files", 2)], "print", "where to");
    check(json!({}), choose, 1, &[]);
    check(json!({"sink": "files"}), choose, 2, &[]);
    check(
        json!({"sink": "file"}),
        choose,
        1,
        &["spec.args.sink: found the text \"file\"; allowed: print, files; write files if that is what you meant"],
    );
    check(
        json!({"sink": true}),
        choose,
        1,
        &["spec.args.sink: found the boolean true; allowed: print, files; write one of these words"],
    );
}

#[test]
fn unknown_and_missing_arguments_are_refused_together() {
    let ask = |args: &mut Args| {
        args.get("events", 1_u64, "how many");
        args.required::<PathBuf>("path", "file or directory to read")
    };
    check(
        json!({"evnts": 5, "other": null}),
        ask,
        PathBuf::from("."),
        &[
            "spec.args.path: found nothing; allowed: the path of a file or directory; add path: file or directory to read",
            "spec.args.evnts: found an argument that count does not take; allowed: events, path; write events if that is what you meant",
            "spec.args.other: found an argument that count does not take; allowed: events, path; remove it",
        ],
    );
    check(
        json!({"x": 1}),
        |_| (),
        (),
        &["spec.args.x: found an argument that count does not take; allowed: none; remove it"],
    );
}

#[test]
fn what_was_asked_for_is_remembered_once_with_its_default() {
    let mut args = Args::new(BTreeMap::new());
    args.get("every", Duration::from_millis(1500), "how often");
    args.get("every", Duration::from_millis(1500), "how often");
    args.optional::<u64>("rate", "records per second");
    args.required::<PathBuf>("path", "input");
    let listed: Vec<_> =
        args.asked().iter().map(|info| (info.name.as_str(), info.takes.as_str(), &info.default)).collect();
    assert_eq!(
        listed,
        [
            ("every", "duration", &ArgDefault::Value(json!("1s500ms"))),
            ("rate", "number", &ArgDefault::Unset),
            ("path", "path", &ArgDefault::Required),
        ]
    );
}
