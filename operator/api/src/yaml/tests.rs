//! Every message about a bad manifest, word for word; and what must not be refused.

use super::*;

/// A manifest with `spec` as its indented body, from line 5 on.
fn manifest(spec: &str) -> String {
    format!("apiVersion: weir.dev/v1alpha1\nkind: StreamJob\nmetadata: {{name: a}}\nspec:\n{spec}")
}

#[track_caller]
fn check_text(text: &str, expected: &[&str]) {
    let message = match read("job.yaml", text, Surface::CommandLine) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert_eq!(message, expected.join("\n"), "\n{text}");
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    check_text(&manifest(spec), expected);
}

#[test]
fn an_unknown_field_is_refused_at_its_key_with_the_likely_name() {
    check(
        "  job: a
  checkpoint:
    intervall: 10s
",
        &[
            "job.yaml:7:5: spec.checkpoint.intervall: found an unknown field; allowed: everyBytes, everyRecords, interval, maxConcurrent, minPause, mode, retained, timeout, tolerableFailures; write `interval` if you mean that",
        ],
    );
    check(
        "  job: a
  interval: 10s
  foo: 1
  worker: {min_pause: 1}
",
        &[
            "job.yaml:6:3: spec.interval: found an unknown field; allowed: args, checkpoint, checkpointNonce, deletionPolicy, desiredState, image, job, maxParallelism, pod, rescale, restart, restartNonce, restoreFrom, savepoint, state, storage, upgrade, worker, workers; move it to spec.checkpoint.interval",
            "job.yaml:7:3: spec.foo: found an unknown field; allowed: args, checkpoint, checkpointNonce, deletionPolicy, desiredState, image, job, maxParallelism, pod, rescale, restart, restartNonce, restoreFrom, savepoint, state, storage, upgrade, worker, workers; remove it",
            "job.yaml:8:12: spec.worker.min_pause: found an unknown field; allowed: cpu, disk, diskClass, memory, slots; move it to spec.checkpoint.minPause",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata:
  name: a
  labels:
    app.kubernetes.io/name: 5
  lables: {}
spec: {job: a}
",
        &[
            r#"job.yaml:6:29: metadata.labels["app.kubernetes.io/name"]: found the number 5; allowed: a text; write it in quotes: "5""#,
            "job.yaml:7:3: metadata.lables: found an unknown field; allowed: annotations, creationTimestamp, deletionGracePeriodSeconds, deletionTimestamp, finalizers, generateName, generation, labels, managedFields, name, namespace, ownerReferences, resourceVersion, selfLink, uid; write `labels` if you mean that",
        ],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_the_right_one() {
    check(
        r#"  job: 5
  workers: "1"
  worker: 3
  args: [a]
  checkpoint: {interval: 10, retained: 1.5, mode: exactlyonce}
  restoreFrom: {empty: "yes"}
"#,
        &[
            r#"job.yaml:5:8: spec.job: found the number 5; allowed: the name of a job graph: letters, digits, `-`, `_` and `.`, a letter or digit at both ends; write it in quotes: "5""#,
            r#"job.yaml:6:12: spec.workers: found the text "1"; allowed: a whole number (1); write 1 without quotes"#,
            "job.yaml:7:11: spec.worker: found the number 3; allowed: a mapping with cpu, disk, diskClass, memory, slots; write its fields below it, indented",
            "job.yaml:8:3: spec.args: found a list; allowed: a mapping of names to values; write its fields without dashes",
            "job.yaml:9:26: spec.checkpoint.interval: found the number 10; allowed: a duration such as 250ms, 10s or 1h30m (10ms to 24h); `10` has no unit: write `10s` for seconds or `10ms` for milliseconds",
            "job.yaml:9:40: spec.checkpoint.retained: found the number 1.5; allowed: a whole number (1 to 100); write a whole number",
            r#"job.yaml:9:51: spec.checkpoint.mode: found "exactlyonce"; allowed: ExactlyOnce or AtLeastOnce; write ExactlyOnce if you mean that"#,
            r#"job.yaml:10:24: spec.restoreFrom.empty: found the text "yes"; allowed: true; write true without quotes"#,
        ],
    );
    check(
        "  job: a
  worker: {cpu: 0.5, memory: 1GB, slots: 99999999999}
  checkpoint: {interval: 10 s, everyBytes: 1.5}
",
        &[
            r#"job.yaml:6:17: spec.worker.cpu: found the number 0.5; allowed: a quantity such as 512Mi, 1Gi or 2 (10m to 1024); write it in quotes: "0.5""#,
            r#"job.yaml:6:30: spec.worker.memory: found "1GB"; allowed: a quantity such as 512Mi, 1Gi or 2 (64Mi to 4Ti); `GB` is not a unit: write Gi for powers of 1024 or G for powers of 1000"#,
            "job.yaml:6:42: spec.worker.slots: found 99999999999; allowed: a whole number (1 to 1024); write a smaller number",
            r#"job.yaml:7:26: spec.checkpoint.interval: found "10 s"; allowed: a duration such as 250ms, 10s or 1h30m (10ms to 24h); ` s` is not a unit: write it in lower case right behind the number, as in 10s"#,
            r#"job.yaml:7:44: spec.checkpoint.everyBytes: found the number 1.5; allowed: a quantity such as 512Mi, 1Gi or 2 (1 to 1Ei); write it in quotes: "1.5""#,
        ],
    );
    check(
        "  job: [a]
  storage: s3://weir/jobs
  checkpoint:
    - interval: 10s
",
        &[
            "job.yaml:5:3: spec.job: found a list; allowed: the name of a job graph: letters, digits, `-`, `_` and `.`, a letter or digit at both ends; write a single value",
            r#"job.yaml:6:12: spec.storage: found the text "s3://weir/jobs"; allowed: a mapping with credentials, endpoint, region, uri; write its fields below it, indented"#,
            "job.yaml:7:3: spec.checkpoint: found a list; allowed: a mapping with everyBytes, everyRecords, interval, maxConcurrent, minPause, mode, retained, timeout, tolerableFailures; write its fields without dashes",
        ],
    );
}

#[test]
fn a_field_that_stands_twice_is_refused_at_the_second() {
    check(
        "  job: a
  worker:
    slots: 1
    memory: 1Gi
    slots: 2
    slots: 3
",
        &[
            "job.yaml:9:5: spec.worker.slots: found the same field again; allowed: each field once; keep this one or the one in line 7",
            "job.yaml:10:5: spec.worker.slots: found the same field again; allowed: each field once; keep this one or the one in line 7",
        ],
    );
    check(
        r#"  job: a
  "job": b
"#,
        &[
            "job.yaml:6:3: spec.job: found the same field again; allowed: each field once; keep this one or the one in line 5",
        ],
    );
    check(
        "  job: a
  args: {x: 1, y2: 1, x: 2}
",
        &[
            "job.yaml:6:23: spec.args.x: found the same field again; allowed: each field once; keep this one or the one in line 6",
        ],
    );
}

#[test]
fn a_missing_field_is_refused_where_it_belongs() {
    check(
        "  workers: 1\n",
        &[
            "job.yaml:4:1: spec.job: found nothing; allowed: the name of a job graph: letters, digits, `-`, `_` and `.`, a letter or digit at both ends; add it, it is required",
        ],
    );
    check(
        "  job: a
  storage:
    uri: s3://abc
    credentials: {}
",
        &[
            "job.yaml:8:5: spec.storage.credentials.secretName: found nothing; allowed: the name of a Secret in the job's namespace: lower-case letters, digits, `-` and `.`; add it, it is required",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a}
",
        &[
            "job.yaml:1:1: spec: found nothing; allowed: a mapping with args, checkpoint, checkpointNonce, deletionPolicy, desiredState, image, job, maxParallelism, pod, rescale, restart, restartNonce, restoreFrom, savepoint, state, storage, upgrade, worker, workers; add it, it is required",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a}
spec:
",
        &[
            "job.yaml:4:6: spec: found nothing; allowed: a mapping with args, checkpoint, checkpointNonce, deletionPolicy, desiredState, image, job, maxParallelism, pod, rescale, restart, restartNonce, restoreFrom, savepoint, state, storage, upgrade, worker, workers; add it, it is required",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata:
  generateName: a-
spec: {job: a}
",
        &[
            "job.yaml:3:1: metadata.name: found nothing; allowed: 1 to 45 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or digit; add it: checkpoints are found again by the job's name",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
spec: {job: a}
",
        &[
            "job.yaml:1:1: metadata: found nothing; allowed: a mapping with annotations, creationTimestamp, deletionGracePeriodSeconds, deletionTimestamp, finalizers, generateName, generation, labels, managedFields, name, namespace, ownerReferences, resourceVersion, selfLink, uid; add it, it is required",
        ],
    );
}

#[test]
fn another_kind_of_file_is_named_as_such() {
    check_text(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
",
        &[
            r#"job.yaml:1:13: apiVersion: found "apps/v1"; allowed: weir.dev/v1alpha1; write `apiVersion: weir.dev/v1alpha1`, or is this another kind of file?"#,
            r#"job.yaml:2:7: kind: found "Deployment"; allowed: StreamJob; write `kind: StreamJob`, or is this another kind of file?"#,
        ],
    );
    check_text(
        "hello",
        &[r#"job.yaml:1:1: manifest: found the text "hello"; allowed: a StreamJob; is this the right file?"#],
    );
    check_text("", &["job.yaml: manifest: found nothing; allowed: a StreamJob; is this the right file?"]);
    check_text(
        "# only a comment\n",
        &["job.yaml: manifest: found nothing; allowed: a StreamJob; is this the right file?"],
    );
    check_text(
        "\
- a
- b
",
        &["job.yaml:1:1: manifest: found a list; allowed: a StreamJob; is this the right file?"],
    );
}

#[test]
fn a_second_document_is_refused_where_it_begins() {
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a}
spec: {job: a}
---
apiVersion: v1
kind: Secret
",
        &[
            "job.yaml:6:1: manifest: found a second document; allowed: one StreamJob in a file; move what follows `---` to a file of its own",
        ],
    );
}

#[test]
fn what_is_not_yaml_is_refused_with_its_place() {
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a
spec:
  job: a
",
        &[
            "job.yaml:4:5: this is not YAML: did not find expected ',' or '}'; check indentation, colons and quotes there and in the lines above",
        ],
    );
    check_text(
        "kind: StreamJob\nspec:\n\tjob: a\n",
        &[
            "job.yaml:3:1: this is not YAML: found character that cannot start any token; indent with blanks, not with tabs",
        ],
    );
    check_text(
        "\
kind: StreamJob
spec:
  job: a: b
",
        &[
            "job.yaml:3:9: this is not YAML: mapping values are not allowed in this context; check indentation, colons and quotes there and in the lines above",
        ],
    );
    check(
        "  job: *nope\n",
        &[
            "job.yaml:5:8: this is not YAML: unknown anchor; check indentation, colons and quotes there and in the lines above",
        ],
    );
}

#[test]
fn words_that_kubectl_reads_otherwise_need_quotes() {
    check(
        r#"  job: a
  args:
    flag: on
    y: 1
    n: 0123
    big: 1_000
    fine: "on"
    block: |
      on
    tagged: !!str no
    list: [yes, 'no']
    anchor: &x off
    alias: *x
"#,
        &[
            r#"job.yaml:7:11: spec.args.flag: found on without quotes; allowed: "on" or true; write one of them: kubectl reads on as true, `weir run` as a text"#,
            r#"job.yaml:8:5: spec.args.y: found the key y without quotes; allowed: "y"; write it in quotes: kubectl reads y as true, `weir run` as a text"#,
            r#"job.yaml:9:5: spec.args.n: found the key n without quotes; allowed: "n"; write it in quotes: kubectl reads n as false, `weir run` as a text"#,
            r#"job.yaml:9:8: spec.args.n: found 0123 without quotes; allowed: "0123" or 83; write one of them: kubectl reads 0123 as 83, `weir run` as a text"#,
            r#"job.yaml:10:10: spec.args.big: found 1_000 without quotes; allowed: "1_000" or 1000; write one of them: kubectl reads 1_000 as 1000, `weir run` as a text"#,
            r#"job.yaml:15:12: spec.args.list[0]: found yes without quotes; allowed: "yes" or true; write one of them: kubectl reads yes as true, `weir run` as a text"#,
            r#"job.yaml:16:16: spec.args.anchor: found off without quotes; allowed: "off" or false; write one of them: kubectl reads off as false, `weir run` as a text"#,
            r#"job.yaml:16:16: spec.args.alias: found off without quotes; allowed: "off" or false; write one of them: kubectl reads off as false, `weir run` as a text"#,
        ],
    );
    check(
        "  job: a
  args: {a: {b: [1, {c: on}]}}
",
        &[
            r#"job.yaml:6:25: spec.args.a.b[1].c: found on without quotes; allowed: "on" or true; write one of them: kubectl reads on as true, `weir run` as a text"#,
        ],
    );
}

#[test]
fn tags_merge_keys_and_strange_keys_are_refused() {
    check(
        "  job: !Foo a\n",
        &["job.yaml:5:8: spec.job: found a tag; allowed: plain values; remove the tag, the word that begins with `!`"],
    );
    check(
        "  job: a
  args: {x: !Ref {a: 1}}
",
        &[
            "job.yaml:6:13: spec.args.x: found a tag; allowed: plain values; remove the tag, the word that begins with `!`",
        ],
    );
    check(
        "  job: a
  worker: &w {slots: 1}
  args:
    <<: *w
",
        &[
            r#"job.yaml:8:5: spec.args["<<"]: found a merge key; allowed: plain fields; write the fields out: kubectl and `weir run` would merge differently"#,
        ],
    );
    check(
        "  job: a
  args: {1: a, true: b, 1.5: c}
",
        &[
            "job.yaml:6:3: spec.args: found a key that is no text; allowed: texts as keys; write a word or a number before the colon",
        ],
    );
    check(
        "  job: a
  args: {[a]: c}
",
        &[
            "job.yaml:6:3: spec.args: found a key that is no text; allowed: texts as keys; write a word or a number before the colon",
        ],
    );
}

#[test]
fn numbers_that_would_change_on_a_cluster_are_refused() {
    check(
        "  job: a
  args: {a: 18446744073709551615, b: .inf, c: 99999999999999999999999, d: -9223372036854775809, e: 1e400}
",
        &[
            "job.yaml:6:13: spec.args.a: found 18446744073709551615; allowed: whole numbers up to 9223372036854775807; write it in quotes if the text is meant",
            "job.yaml:6:38: spec.args.b: found inf; allowed: finite numbers; write it in quotes if the text is meant",
            "job.yaml:6:47: spec.args.c: found 99999999999999999999999; allowed: whole numbers up to 9223372036854775807; write it in quotes if the text is meant",
            "job.yaml:6:75: spec.args.d: found -9223372036854775809; allowed: whole numbers from -9223372036854775808 to 9223372036854775807; write it in quotes if the text is meant",
        ],
    );
}

#[test]
fn what_resolve_refuses_is_shown_at_its_place() {
    check(
        "  job: a
  workers: 3
  checkpoint:
    interval: 1ms
  restoreFrom:
    empty: true
    checkpoint: 4
",
        &[
            "job.yaml:6:12: spec.workers: found 3; allowed: 1; a job has one worker for now: raise spec.worker.slots to use more cores",
            "job.yaml:8:15: spec.checkpoint.interval: found 1ms; allowed: 10ms to 24h; 10s suits most jobs: the time between checkpoints is what a failure repeats",
            "job.yaml:9:3: spec.restoreFrom: found checkpoint and empty; allowed: exactly one of journal, savepoint, checkpoint and empty; keep the one the job should start from",
        ],
    );
    check(
        "  job: a
  storage: {uri: /tmp/x}
",
        &[
            r#"job.yaml:6:18: spec.storage.uri: found "/tmp/x"; allowed: s3://bucket/prefix, or file:///directory for `weir run`; it has no scheme: write s3://bucket/prefix, or file:// and an absolute path"#,
        ],
    );
    check(
        r#"  job: a
  storage: {uri: s3://abc, endpoint: "http://u:p@x"}
"#,
        &[
            "job.yaml:6:38: spec.storage.endpoint: found an address with credentials in it; allowed: http:// or https://, a host and perhaps a port, such as http://minio.storage:9000; remove the credentials: they come from a Secret or the environment",
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: My_Job}
spec: {job: a}
",
        &[
            r#"job.yaml:3:18: metadata.name: found "My_Job"; allowed: 1 to 45 lower-case letters, digits and `-`, beginning with a letter and ending with a letter or digit; replace `M`"#,
        ],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a, creationTimestamp: noon}
spec: {job: a}
",
        &[
            "job.yaml:3:1: metadata: found failed to parse four digit integer as year: invalid digit, expected 0-9 but got n; allowed: Kubernetes' object metadata; compare it with the reference of StreamJob",
        ],
    );
}

#[test]
fn what_the_api_server_adds_and_what_yaml_allows_is_read() {
    check_text(
        "\
---
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a}
spec: {job: a}
---
",
        &[],
    );
    check_text(
        "\
---
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a}
spec: {job: a}
...
---
# nothing
---
",
        &[],
    );
    check_text(
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata: {name: a, creationTimestamp: null, labels: {app.kubernetes.io/name: x}, managedFields: [{manager: x, fieldsV1: {f: {}}}]}
spec: {job: a}
status: {anything: 1}
",
        &[
        ],
    );
    check(
        "  job: a
  worker: &w {slots: 1}
  args: {x: *w}
",
        &[],
    );
    check_text(
        r#"{"apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob", "metadata": {"name": "a"}, "spec": {"job": "a"}}"#,
        &[],
    );
}

#[test]
fn a_text_that_is_too_large_is_not_read() {
    let text = manifest(&format!("  job: a # {}\n", "x".repeat(MAX_BYTES)));
    let message = from_str("job.yaml", &text).err().map(|e| e.to_string());
    assert_eq!(
        message.as_deref(),
        Some(
            "job.yaml: found 1048660 bytes; allowed: up to 1048576 bytes; a manifest is a short text, is this the right file?"
        )
    );
}

#[test]
fn aliases_that_stand_for_too_many_values_are_refused() {
    let many = "x, ".repeat(1000);
    let bomb =
        format!("  job: a\n  args: {{a: &a [{many}], b: &b [{}], c: [{}]}}\n", "*a, ".repeat(50), "*b, ".repeat(50));
    check(
        &bomb,
        &[
            "job.yaml:1:1: manifest: found more than 100000 values; allowed: fewer; write less, or fewer aliases (`*name`)",
        ],
    );
}

#[test]
fn a_value_nested_without_end_is_refused() {
    let deep = format!("  job: a\n  args: {{a: {}}}\n", "[".repeat(200) + &"]".repeat(200));
    let error = from_str("job.yaml", &manifest(&deep)).unwrap_err().to_string();
    assert!(error.starts_with("job.yaml:6:"), "{error}");
    assert!(error.contains("recursion limit exceeded"), "{error}");
}

#[test]
fn a_long_list_of_refusals_is_cut() {
    let fields: String = (0..25).map(|i| format!("  field{i}: 1\n")).collect();
    let error = from_str("job.yaml", &manifest(&format!("  job: a\n{fields}"))).unwrap_err().to_string();
    assert_eq!(error.lines().count(), MAX_REFUSALS + 1);
    assert!(error.ends_with("job.yaml: and 5 more"), "{error}");
}

#[test]
fn a_refused_text_cannot_write_to_the_terminal() {
    let text = manifest("  job: \"a\\e[31mb\"\n  \"we\\e[0mird\": 1\n  storage: {uri: \"s3://b\\e[0mad\"}\n");
    let error = from_str("job.yaml", &text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
    assert!(!error.contains('\u{1b}'), "{error:?}");
}

#[test]
fn a_job_is_written_as_every_reader_reads_it() {
    let text = manifest(
        "  job: a\n  args: {mode: \"on\", \"y\": \"0123\", date: 2026-11-20, n1: \"1e3\"}\n  worker: {memory: 1024Mi}\n",
    );
    let job = from_str("job.yaml", &text).unwrap();
    let written = to_string(&job);
    assert_eq!(
        written,
        "\
apiVersion: weir.dev/v1alpha1
kind: StreamJob
metadata:
  name: a
spec:
  args:
    date: \"2026-11-20\"
    mode: \"on\"
    n1: \"1e3\"
    \"y\": \"0123\"
  job: a
  worker:
    memory: \"1024Mi\"
"
    );
    assert_eq!(from_str("job.yaml", &written).unwrap(), job);
}

#[test]
fn thousands_of_refusals_take_no_longer_than_reading() {
    let check = |args: String, first: &str| {
        let start = std::time::Instant::now();
        let error =
            from_str("job.yaml", &manifest(&format!("  job: a\n  args: {{{args}}}\n"))).unwrap_err().to_string();
        assert!(error.starts_with(first), "{error}");
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    };
    check((0..20_000).map(|i| format!("k{i}: on, ")).collect(), "job.yaml:6:14: spec.args.k0: found on without quotes");
    check("a: 1, ".repeat(20_000), "job.yaml:6:16: spec.args.a: found the same field again");
    check((0..20_000).map(|i| format!("k{i}: .nan, ")).collect(), "job.yaml:6:14: spec.args.k0: found NaN");
}
