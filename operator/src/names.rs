//! Names, labels and annotations of everything the Weir operator makes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

/// The field manager of everything that is applied, and the controller named in events.
pub const MANAGER: &str = "weir-operator";
/// The finalizer of jobs with `deletionPolicy: Delete`.
pub const FINALIZER: &str = "weir.dev/delete-checkpoints";

/// The job's name.
pub const JOB: &str = "weir.dev/job";
/// The StreamJob's uid: pods of an earlier job with the same name differ in it.
pub const JOB_UID: &str = "weir.dev/job-uid";
/// Which part a pod plays: [`Component`].
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Who manages an object.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Selects everything the Weir operator manages.
pub const MANAGED: &str = "app.kubernetes.io/managed-by=weir-operator";
/// On pods: the ConfigMap they were made for.
pub const CONFIG: &str = "weir.dev/config";
/// On applied objects: the hash of what was applied.
pub const APPLIED: &str = "weir.dev/applied";
/// On StatefulSets as they are remembered, never as they are stored: the hash of what the pods' template is.
pub const LIVE: &str = "weir.dev/live";
/// On a service account: jobs may use it if this is `true`.
pub const ALLOW: &str = "weir.dev/allow";

/// The part a pod plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// A runtime pod.
    Worker,
    /// A preflight of another revision.
    Check,
    /// Removes what a job leaves in its bucket.
    Delete,
}

impl Component {
    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Worker => "worker",
            Component::Check => "check",
            Component::Delete => "delete",
        }
    }
}

/// Which StreamJob an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Job {
    /// Labels on everything the job owns.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "weir-job"),
            ("app.kubernetes.io/instance", &self.name),
            (MANAGED_BY, MANAGER),
            (JOB, &self.name),
            (JOB_UID, &self.uid),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// Labels on its pods.
    pub fn pod_labels(&self, component: Component) -> BTreeMap<String, String> {
        let mut labels = self.labels();
        labels.insert(COMPONENT.to_owned(), component.as_str().to_owned());
        labels
    }

    /// What its worker pods are selected by; fixed for an object's life.
    pub fn worker_labels(&self) -> BTreeMap<String, String> {
        [(JOB, self.name.as_str()), (JOB_UID, &self.uid), (COMPONENT, Component::Worker.as_str())]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    /// The same as a selector.
    pub fn worker_selector(&self) -> LabelSelector {
        LabelSelector { match_labels: Some(self.worker_labels()), match_expressions: None }
    }

    /// The same as text, for the scale subresource.
    pub fn worker_selector_text(&self) -> String {
        let labels = self.worker_labels();
        labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
    }

    /// The StreamJob as owner: the cluster removes what it owns when it goes.
    pub fn owner(&self) -> OwnerReference {
        OwnerReference {
            api_version: weir_api::spec::API_VERSION.to_owned(),
            kind: weir_api::spec::KIND.to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Metadata of an owned object.
    pub fn metadata(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner()]),
            ..ObjectMeta::default()
        }
    }

    /// The Secret of a leaf certificate.
    pub fn secret(&self, serial: u64) -> String {
        format!("{}-tls-{serial}", self.name)
    }

    /// The preflight pod of a ConfigMap, whose name ends with its hash.
    pub fn check_pod(&self, config: &str) -> String {
        let hash = config.rsplit('-').next().unwrap_or_default();
        format!("{}-check-{hash}", self.name)
    }

    /// The pod that removes what the job leaves.
    pub fn delete_pod(&self) -> String {
        format!("{}-delete", self.name)
    }
}
