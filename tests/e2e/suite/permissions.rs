//! What the operator's service account may do: nothing beyond its rules, and nothing in them that it does not need.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::{Cluster, SYSTEM};

/// Verbs, API group, resources and namespaces.
type Denied = (&'static [&'static str], &'static str, &'static [&'static str], &'static [&'static str]);

/// What must be denied: verbs, group, resources, and where (a tenant's namespace, the operator's own, everywhere).
const DENIED: &[Denied] = &[
    (
        &["get", "list", "watch", "update", "patch", "delete", "deletecollection"],
        "",
        &["secrets"],
        &["tenant", "kube-system"],
    ),
    (&["list", "watch", "update", "patch", "delete", "get"], "", &["secrets"], &[SYSTEM]),
    (&["create", "get", "update", "patch"], "", &["pods/exec", "pods/attach", "pods/portforward"], &["tenant"]),
    (&["get", "update", "patch"], "", &["pods/ephemeralcontainers", "pods/log", "pods/eviction"], &["tenant"]),
    (&["update", "patch", "deletecollection"], "", &["pods", "configmaps"], &["kube-system"]),
    (&["update", "patch"], "", &["configmaps", "pods"], &["tenant"]),
    (&["delete", "deletecollection", "update"], "apps", &["statefulsets"], &["tenant"]),
    (
        &["create", "update", "patch", "delete"],
        "apps",
        &["deployments", "daemonsets", "replicasets"],
        &["tenant", SYSTEM],
    ),
    (&["create", "update", "patch", "delete"], "batch", &["jobs", "cronjobs"], &["tenant"]),
    (&["create", "update", "patch", "delete", "bind", "escalate"], RBAC, &["roles", "clusterroles"], &["tenant"]),
    (&["create", "update", "patch", "delete"], RBAC, &["rolebindings", "clusterrolebindings"], &["tenant"]),
    (&["create", "update", "patch", "delete", "impersonate"], "", &["serviceaccounts"], &["tenant"]),
    (&["create"], "", &["serviceaccounts/token"], &["tenant", SYSTEM, "kube-system"]),
    (&["impersonate"], "", &["users", "groups"], &[""]),
    (&["list", "watch", "update", "patch", "delete"], "", &["nodes"], &[""]),
    (&["get", "create"], "", &["nodes/proxy"], &[""]),
    (&["create", "update", "patch", "delete", "list"], "", &["namespaces"], &[""]),
    (&["create", "update", "patch", "delete"], "apiextensions.k8s.io", &["customresourcedefinitions"], &[""]),
    (&["create", "update", "patch"], "admissionregistration.k8s.io", &["validatingwebhookconfigurations"], &[""]),
    (&["create", "update", "patch"], "admissionregistration.k8s.io", &["mutatingwebhookconfigurations"], &[""]),
    (&["get", "create", "update", "delete"], "coordination.k8s.io", &["leases"], &["tenant", "kube-system"]),
    (&["create", "update", "delete"], "weir.dev", &["streamjobs"], &["tenant"]),
    (&["create", "delete"], "", &["persistentvolumes", "persistentvolumeclaims"], &["tenant"]),
    (&["approve", "update"], "certificates.k8s.io", &["certificatesigningrequests"], &[""]),
    (&["*"], "*", &["*"], &["", "tenant", SYSTEM]),
];
const RBAC: &str = "rbac.authorization.k8s.io";

/// `auth can-i`, more than a hundred times: all of it denied.
pub fn nothing_else(cluster: &Cluster) {
    cluster.operator();
    let user = user(cluster);
    let mut items = Vec::new();
    for (verbs, group, resources, namespaces) in DENIED {
        for (verb, resource, namespace) in product(verbs, resources, namespaces) {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let attributes = json!({
                "verb": verb, "group": group, "resource": resource, "subresource": subresource, "namespace": namespace,
            });
            items.push(review(&user, &attributes));
        }
    }
    assert!(items.len() >= 100, "only {} questions", items.len());
    // The questions are worth nothing if all answers are no.
    let allowed = json!({ "verb": "list", "group": "weir.dev", "resource": "streamjobs", "namespace": "tenant" });
    items.push(review(&user, &allowed));
    let count = items.len();
    let answers = ask(cluster, items);
    assert_eq!(answers.len(), count, "each question has an answer");
    let yes: Vec<&Value> =
        answers.iter().filter(|answer| answer["status"]["allowed"] == true).map(|answer| &answer["spec"]).collect();
    assert!(yes.len() == 1 && yes[0]["resourceAttributes"]["resource"] == "streamjobs", "allowed: {yes:#?}");
    println!("  {} of {count} denied", count - 1);
}

/// The audit log of all tests before this one holds every verb on every resource that is granted, and nothing that was refused.
pub fn all_used(cluster: &Cluster) {
    cluster.operator();
    let user = user(cluster);
    let log = std::fs::read_to_string(cluster.logs().join("audit.log")).expect("the API server writes an audit log");
    let mut used = BTreeSet::new();
    let mut refused = BTreeSet::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).expect("an event a line");
        if event["user"]["username"] != user.as_str() {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut resource = text(&event["objectRef"]["resource"]);
        if let Some(subresource) = event["objectRef"]["subresource"].as_str() {
            resource = format!("{resource}/{subresource}");
        }
        let what = (text(&event["objectRef"]["apiGroup"]), resource, text(&event["verb"]));
        if event["responseStatus"]["code"] == 403
            && text(&event["annotations"]["authorization.k8s.io/decision"]) == "forbid"
        {
            refused.insert(what);
        } else {
            used.insert(what);
        }
    }
    assert!(!used.is_empty(), "the audit log knows nothing of {user}");
    assert!(refused.is_empty(), "a rule is missing for {refused:?}");
    let unused: Vec<_> = granted(cluster).into_iter().filter(|rule| !implied(rule) && !used.contains(rule)).collect();
    assert!(unused.is_empty(), "granted, and not used by any of the tests before: {unused:?}");
}

/// Checked by admission where owner references are set, and never asked for by itself.
fn implied((_, resource, _): &(String, String, String)) -> bool {
    resource == "streamjobs/finalizers"
}

fn granted(cluster: &Cluster) -> BTreeSet<(String, String, String)> {
    let roles =
        cluster.must(&["get", "clusterroles,roles", "-A", "-l", "app.kubernetes.io/instance=weir", "-o", "json"]);
    let roles: Value = serde_json::from_str(&roles).expect("kubectl prints JSON");
    let of_operator = |role: &&Value| {
        role["metadata"]["labels"].as_object().is_some_and(|labels| {
            // Roles that the cluster aggregates into view, edit and admin are people's.
            !labels.keys().any(|label| label.contains("aggregate-to"))
        })
    };
    let mut granted = BTreeSet::new();
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    for rule in roles["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(of_operator)
        .flat_map(|role| role["rules"].as_array().into_iter().flatten())
    {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    assert!(!granted.is_empty(), "no roles of the release were found");
    granted
}

fn product<'a>(a: &'a [&str], b: &'a [&str], c: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str, &'a str)> {
    a.iter().flat_map(move |a| b.iter().flat_map(move |b| c.iter().map(move |c| (*a, *b, *c))))
}

fn user(cluster: &Cluster) -> String {
    let accounts = cluster.must(&[
        "-n",
        SYSTEM,
        "get",
        "deployments",
        "-o",
        "jsonpath={.items[0].spec.template.spec.serviceAccountName}",
    ]);
    format!("system:serviceaccount:{SYSTEM}:{}", accounts.trim())
}

fn review(user: &str, attributes: &Value) -> Value {
    let groups = ["system:serviceaccounts", "system:serviceaccounts:weir-system", "system:authenticated"];
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": user, "groups": groups, "resourceAttributes": attributes },
    })
}

fn ask(cluster: &Cluster, items: Vec<Value>) -> Vec<Value> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    let answer = cluster.kubectl_with(&["create", "-f", "-", "-o", "json"], &list.to_string());
    assert!(answer.ok, "{}", answer.err);
    serde_json::Deserializer::from_str(&answer.out)
        .into_iter::<Value>()
        .flat_map(|value| {
            let value = value.expect("kubectl prints JSON");
            value["items"].as_array().cloned().unwrap_or_else(|| vec![value])
        })
        .collect()
}
