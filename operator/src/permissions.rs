//! What the Weir operator may do on a cluster: every rule it needs and none that it does not use, as data.
//!
//! The chart's roles are held against this table by a test. There are no wildcards. Three scopes:
//!
//! - [`WATCHED`]: in every namespace whose jobs it runs (a ClusterRole, or a Role per watched namespace);
//! - [`CLUSTER`]: of the cluster itself; without them (namespaced installation) a lost node is noticed later, when the
//!   cluster evicts its pods, and a namespace that ends is noticed by the refusal of new objects;
//! - [`OWN`]: in the operator's own namespace.

/// One rule of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    /// The verbs, in alphabetical order.
    pub verbs: &'static [&'static str],
    /// The only names it holds for; empty for all.
    pub names: &'static [&'static str],
    /// What it is for.
    pub why: &'static str,
}

const fn rule(group: &'static str, resource: &'static str, verbs: &'static [&'static str], why: &'static str) -> Rule {
    Rule { group, resource, verbs, names: &[], why }
}

/// The Lease of the leader election.
pub const LEASE: &str = "weir-operator";
/// The Secret with the authority's certificate and key.
pub const AUTHORITY: &str = "weir-authority";

const APPLIED: &[&str] = &["create", "get", "list", "patch", "watch"];

/// In every namespace whose jobs the operator runs.
pub const WATCHED: &[Rule] = &[
    rule("weir.dev", "streamjobs", &["list", "patch", "watch"], "read jobs; patch the finalizer"),
    rule("weir.dev", "streamjobs/status", &["patch"], "write what was seen"),
    rule("weir.dev", "streamjobs/finalizers", &["update"], "own objects where owner references are checked"),
    rule("apps", "statefulsets", APPLIED, "the runtime pods' owner"),
    rule("", "services", APPLIED, "the runtime pods' names"),
    rule("", "configmaps", &["create", "delete", "get", "list", "watch"], "resolved jobs; immutable, old ones go"),
    rule("policy", "poddisruptionbudgets", APPLIED, "one pod at a time"),
    rule("networking.k8s.io", "networkpolicies", APPLIED, "who may talk to runtime pods"),
    rule("", "pods", &["create", "delete", "list", "watch"], "replace runtime pods; preflight and deletion"),
    rule("", "secrets", &["create"], "certificates of jobs; never read"),
    rule("", "serviceaccounts", &["get"], "whether a service account is labelled for jobs"),
    rule("", "events", &["list"], "why no pod could be created: quota, limits, admission"),
    rule("events.k8s.io", "events", &["create", "patch"], "say what was done"),
];

/// Of the cluster itself.
pub const CLUSTER: &[Rule] = &[
    rule("", "nodes", &["get"], "whether the node of a silent pod is gone"),
    rule("", "namespaces", &["get"], "whether a job goes because its namespace does"),
];

/// In the operator's own namespace.
pub const OWN: &[Rule] = &[
    Rule { names: &[LEASE], ..rule("coordination.k8s.io", "leases", &["get", "update"], "hold the leadership") },
    rule("coordination.k8s.io", "leases", &["create"], "the first leadership"),
    Rule { names: &[AUTHORITY], ..rule("", "secrets", &["get"], "the authority that issues certificates") },
    rule("", "secrets", &["create"], "the first authority"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rule_is_a_wildcard_or_stands_twice() {
        for scope in [WATCHED, CLUSTER, OWN] {
            let mut seen = Vec::new();
            for rule in scope {
                let key = (rule.group, rule.resource, rule.names);
                assert!(!seen.contains(&key), "{rule:?}");
                seen.push(key);
                assert!(rule.verbs.is_sorted() && !rule.verbs.contains(&"*"), "{rule:?}");
                assert!(!rule.resource.contains('*') && !rule.why.is_empty(), "{rule:?}");
            }
        }
    }

    #[test]
    fn secrets_of_jobs_can_only_be_created() {
        let verbs: Vec<_> = WATCHED.iter().filter(|rule| rule.resource == "secrets").map(|rule| rule.verbs).collect();
        assert_eq!(verbs, [["create"]]);
    }
}
