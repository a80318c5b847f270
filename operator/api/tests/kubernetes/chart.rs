//! The Helm chart: what it renders is held by snapshots, what it must never contain by rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

use crate::{installed, read, repository, run};

static HELM: LazyLock<PathBuf> = LazyLock::new(|| installed("helm"));

/// Sets of values, each with a snapshot in `tests/golden/chart`. The resource itself is left to a test of its own.
const SETS: [(&str, &[&str]); 4] = [
    ("default", &[]),
    ("one-namespace", &["watchNamespace=team-a", "replicas=2", "image.tag=e2e", "image.pullPolicy=Never"]),
    (
        "monitored",
        &[
            "metrics.serviceMonitor.enabled=true",
            "metrics.podMonitor.enabled=true",
            "metrics.podMonitor.labels.release=prometheus",
            "metrics.prometheusRule.enabled=true",
            "metrics.prometheusRule.runbookUrl=https://docs.example/runbook.md",
            "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring",
        ],
    ),
    (
        "everything-else",
        &[
            "runtimeImage=registry.example/team/jobs:7",
            "imagePullSecrets[0].name=registry",
            "rbac.create=false",
            "serviceAccount.create=false",
            "serviceAccount.name=given",
            "logLevel=info\\,weir_operator=debug",
            "logFormat=text",
            "resources.limits.memory=512Mi",
            "podAnnotations.note=yes",
            "podLabels.team=data",
            "nodeSelector.disk=fast",
            "tolerations[0].operator=Exists",
            "priorityClassName=high",
            "podDisruptionBudget.enabled=false",
            "networkPolicy.enabled=false",
            "metrics.service.enabled=false",
        ],
    ),
];

fn helm(words: &[&str], settings: &[&str]) -> Result<String, String> {
    let mut command = Command::new(&*HELM);
    command.args(words).arg(repository("charts/weir"));
    for setting in settings {
        // `--set` reads `true` and numbers as such, and text otherwise.
        command.args(["--set", setting]);
    }
    run(&mut command)
}

fn template(settings: &[&str]) -> Result<String, String> {
    let words = ["template", "weir", "--namespace", "weir-system", "--kube-version", "1.34.0"];
    helm(&words, settings)
}

/// The documents of a rendered chart.
fn objects(settings: &[&str]) -> Vec<Value> {
    use serde::Deserialize;
    let text = template(settings).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    documents.map(|d| Value::deserialize(d).unwrap()).filter(|object| !object.is_null()).collect()
}

#[test]
fn the_chart_renders_as_the_snapshots_say() {
    for (name, settings) in SETS {
        let settings: Vec<&str> = settings.iter().copied().chain(["crds.enabled=false"]).collect();
        let rendered = template(&settings).unwrap();
        let path = repository("tests/golden/chart").join(format!("{name}.yaml"));
        if std::env::var_os("WEIR_WRITE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &rendered).unwrap();
        }
        let held = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            rendered == held,
            "{name} renders differently than tests/golden/chart/{name}.yaml says; if it should: WEIR_WRITE_GOLDEN=1 cargo test \
             --release -p weir-api --test kubernetes chart, and look at the difference"
        );
    }
}

#[test]
fn the_dashboard_is_the_one_of_the_file() {
    let is_dashboard = |object: &Value| object["metadata"]["name"] == "weir-operator-dashboard";
    let map = objects(&["metrics.dashboard.enabled=true"]).into_iter().find(is_dashboard).unwrap();
    assert_eq!(
        map["data"]["weir.json"].as_str().unwrap().trim_end(),
        read("charts/weir/dashboards/weir.json").trim_end()
    );
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
}

/// Helm shows the notes after an installation only; as comments in a template it renders them without one.
#[test]
fn the_notes_say_the_next_command() {
    let copy = std::env::temp_dir().join(format!("weir-chart-{}", std::process::id()));
    run(Command::new("cp").arg("-r").arg(repository("charts/weir")).arg(&copy)).unwrap();
    let notes: String = read("charts/weir/templates/NOTES.txt").lines().map(|line| format!("# {line}\n")).collect();
    std::fs::write(copy.join("templates/notes.yaml"), format!("{notes}kind: Notes\n")).unwrap();
    let rendered = |settings: &[&str]| {
        let mut command = Command::new(&*HELM);
        command.args(["template", "weir", "--namespace", "weir-system", "--kube-version", "1.34.0"]).arg(&copy);
        run(command.args(settings.iter().flat_map(|setting| ["--set", setting]))).unwrap()
    };
    let (everywhere, one) = (rendered(&[]), rendered(&["watchNamespace=team-a", "crds.enabled=false"]));
    std::fs::remove_dir_all(&copy).unwrap();
    let job = "examples/kubernetes/bids-per-auction.yaml";
    assert!(repository(job).exists());
    for (text, words) in [
        (&everywhere, "kubectl -n weir-system rollout status deployment/weir-operator\n".to_owned()),
        (&everywhere, format!("kubectl apply -f {job}\n")),
        (&one, format!("kubectl -n team-a apply -f {job}\n")),
        (&one, "kubectl apply -f crds/\n".to_owned()),
    ] {
        assert!(text.contains(&words), "{words:?} is not in the notes");
    }
    assert!(!everywhere.contains("crds.enabled is false"));
}

#[test]
fn the_chart_has_nothing_to_complain_about() {
    for (_, settings) in SETS {
        helm(&["lint", "--strict", "--quiet", "--kube-version", "1.34.0"], settings).unwrap();
    }
}

#[test]
fn the_resource_in_the_chart_is_the_committed_one_and_is_kept() {
    let is_crd = |object: &Value| object["kind"] == "CustomResourceDefinition";
    let mut rendered: Vec<Value> = objects(&[]).into_iter().filter(is_crd).collect();
    assert_eq!(rendered.len(), 1);
    let mut crd = rendered.remove(0);
    let annotations = crd["metadata"].as_object_mut().unwrap().remove("annotations");
    assert_eq!(annotations, Some(serde_json::json!({ "helm.sh/resource-policy": "keep" })));
    let committed: Value = serde_yaml::from_str(&read("crds/streamjob.yaml")).unwrap();
    assert!(crd == committed, "the rendered resource is not that of crds/streamjob.yaml");
    assert!(!objects(&["crds.enabled=false"]).iter().any(is_crd));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for setting in [
        "imagee.tag=1",
        "image.tagg=1",
        "metrics.serviceMonitor.intervall=1s",
        "metrics.podMonitor.interval=often",
        "replicas=-1",
        "replicas=two",
        "image.pullPolicy=Sometimes",
        "watchNamespace=Team A",
        "watchNamespace=a/b",
        "resources.limits.memory=lots",
        "resources.limits.gpu=1",
        "logFormat=xml",
        "crds.enabled=perhaps",
        "imagePullSecrets[0].named=x",
        "runtimeImage=weir 1",
    ] {
        let refused = template(&[setting]).expect_err(setting);
        assert!(refused.contains("values don't meet the specifications of the schema"), "{setting}: {refused}");
    }
    let refused = template(&["metrics.service.enabled=false", "metrics.serviceMonitor.enabled=true"]).unwrap_err();
    assert!(refused.contains("needs metrics.service.enabled"), "{refused}");
}

/// Every leaf of values.yaml is in the schema and the other way round, and its comment says unit and default.
#[test]
fn every_value_is_documented_and_in_the_schema() {
    fn in_schema(schema: &Value, path: &str, leaves: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            assert!(field["description"].is_string(), "{path} has no description");
            match field.get("properties") {
                Some(_) if name != "resources" => {
                    assert_eq!(field["additionalProperties"], false, "{path} takes unknown names");
                    in_schema(field, &path, leaves);
                }
                _ => drop(leaves.insert(path)),
            }
        }
    }
    let schema: Value = serde_json::from_str(&read("charts/weir/values.schema.json")).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let mut leaves = BTreeSet::new();
    in_schema(&schema, "", &mut leaves);
    leaves.remove("global");

    let text = read("charts/weir/values.yaml");
    let values: Value = serde_yaml::from_str(&text).unwrap();
    for leaf in &leaves {
        let pointer = format!("/{}", leaf.replace('.', "/"));
        assert!(values.pointer(&pointer).is_some(), "{leaf} is not in values.yaml");
    }
    let mut written = BTreeSet::new();
    for (path, comment) in commented(&text) {
        if leaves.contains(&path) {
            assert!(comment.contains("Unit: ") && comment.contains("Default: "), "{path}: {comment:?}");
            written.insert(path);
        } else {
            let is_parent =
                |leaf: &String| leaf.starts_with(&format!("{path}.")) || path.starts_with(&format!("{leaf}."));
            assert!(leaves.iter().any(is_parent), "{path} is not in values.schema.json");
        }
    }
    assert_eq!(written, leaves);
}

/// Every key of a plain YAML file with the comment that stands over it, or over its neighbour above without a blank line.
fn commented(text: &str) -> Vec<(String, String)> {
    let mut keys: Vec<(usize, String)> = Vec::new();
    let (mut comment, mut fresh, mut found) = (String::new(), true, Vec::new());
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(words) = content.strip_prefix('#') {
            if !fresh {
                comment.clear();
            }
            fresh = true;
            comment.push_str(words);
        } else if let Some((key, _)) = content.split_once(':') {
            fresh = false;
            keys.retain(|(other, _)| *other < indent);
            keys.push((indent, key.to_owned()));
            let path: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
            found.push((path.join("."), comment.clone()));
        } else {
            comment.clear();
        }
    }
    found
}

type Grant = (String, String, Option<String>, String);

/// What the operator is granted: (where, resource, name, verb); `where` is a kind and a namespace.
fn grants(settings: &[&str]) -> BTreeSet<Grant> {
    let mut grants = BTreeSet::new();
    let texts = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    for role in objects(settings) {
        let kind = role["kind"].as_str().unwrap();
        let name = role["metadata"]["name"].as_str().unwrap();
        if !["Role", "ClusterRole"].contains(&kind) || name.contains("-streamjobs-") {
            continue;
        }
        let at = format!("{kind} {}", role["metadata"]["namespace"].as_str().unwrap_or_default());
        for rule in role["rules"].as_array().unwrap() {
            assert!(!rule.to_string().contains('*'), "a wildcard: {rule}");
            let names = texts(&rule["resourceNames"]);
            let names: Vec<Option<String>> =
                if names.is_empty() { vec![None] } else { names.into_iter().map(Some).collect() };
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    for verb in texts(&rule["verbs"]) {
                        let full = if group.is_empty() { resource.clone() } else { format!("{resource}.{group}") };
                        grants.extend(names.iter().map(|n| (at.clone(), full.clone(), n.clone(), verb.clone())));
                    }
                }
            }
        }
    }
    grants
}

#[test]
fn outside_its_namespace_the_operator_can_only_create_secrets() {
    for (settings, place) in [(&[][..], "ClusterRole "), (&["watchNamespace=team-a"][..], "Role team-a")] {
        let grants = grants(settings);
        let places: BTreeSet<&str> = grants.iter().map(|(at, ..)| at.as_str()).collect();
        assert_eq!(places, BTreeSet::from([place, "Role weir-system"]));
        let mut secrets: BTreeMap<&str, Vec<(&str, Option<&str>)>> = BTreeMap::new();
        for (at, resource, name, verb) in &grants {
            match resource.as_str() {
                "secrets" => secrets.entry(at).or_default().push((verb, name.as_deref())),
                "leases.coordination.k8s.io" => assert_eq!(at, "Role weir-system"),
                // Nobody's token, nobody's shell, nobody's rights.
                other => assert!(
                    !other.contains('/')
                        || ["streamjobs/status.weir.dev", "streamjobs/finalizers.weir.dev"].contains(&other),
                    "{other}"
                ),
            }
            let never = ["impersonate", "escalate", "bind", "deletecollection"];
            assert!(!never.contains(&verb.as_str()), "{resource} {verb}");
        }
        assert_eq!(secrets[place], [("create", None)]);
        assert_eq!(secrets["Role weir-system"], [("create", None), ("get", Some("weir-authority"))]);
    }
}

#[test]
fn the_operators_pod_is_restricted() {
    for (_, settings) in SETS {
        let deployment = objects(settings).into_iter().find(|object| object["kind"] == "Deployment").unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["volumes"], Value::Null);
        for container in pod["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], serde_json::json!({ "drop": ["ALL"] }));
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}
