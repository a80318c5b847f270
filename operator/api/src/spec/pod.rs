//! The part of a runtime pod that users may shape. Closed: what is not listed here cannot be set, so that whoever may
//! create a StreamJob gains nothing beyond a restricted pod in that namespace.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::form;

/// Where runtime pods run and what they are given.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodSpec {
    /// Labels that a node must have. Unit: label to value. Default: any node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::labels_schema")]
    pub node_selector: Option<BTreeMap<String, String>>,

    /// Taints of nodes that the pods tolerate. Unit: tolerations. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 32))]
    pub tolerations: Option<Vec<TolerationSpec>>,

    /// When the image is pulled. Unit: policy. Default: IfNotPresent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<ImagePullPolicy>")]
    pub image_pull_policy: Option<ImagePullPolicy>,

    /// Secrets in the job's namespace for the image's registry. Unit: names. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::secrets_schema")]
    pub image_pull_secrets: Option<Vec<String>>,

    /// Further labels of the pods; those of Weir and of app.kubernetes.io cannot be set. Unit: label to value. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::labels_schema")]
    pub labels: Option<BTreeMap<String, String>>,

    /// Environment variables with values from Secrets in the job's namespace. Unit: variables. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxItems" = 64))]
    pub env: Option<Vec<EnvSpec>>,

    /// Service account of the pods, for workload identity; it must be labelled `weir.dev/allow: "true"`, and no token of
    /// the API server is mounted. Unit: name. Default: the namespace's `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::account_schema")]
    pub service_account: Option<String>,
}

/// An environment variable with its value in a Secret.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvSpec {
    /// Name of the variable. Unit: name. Default: none, required.
    #[schemars(schema_with = "form::env_schema")]
    pub name: String,

    /// Secret in the job's namespace. Unit: name. Default: none, required.
    #[schemars(schema_with = "form::secret_schema")]
    pub secret_name: String,

    /// Key in the Secret. Unit: key. Default: none, required.
    #[schemars(schema_with = "form::secret_key_schema")]
    pub key: String,
}

/// A taint that pods tolerate.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TolerationSpec {
    /// Key of the taint. Unit: label. Default: every taint, with operator Exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::label_key_schema")]
    pub key: Option<String>,

    /// How the taint's value is compared. Unit: operator. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<TolerationOperator>")]
    pub operator: Option<TolerationOperator>,

    /// Value of the taint. Unit: label value. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::label_value_schema")]
    pub value: Option<String>,

    /// The taint's effect. Unit: effect. Default: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::enum_schema::<TaintEffect>")]
    pub effect: Option<TaintEffect>,
}

/// When an image is pulled.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum ImagePullPolicy {
    /// At every start of a container.
    Always,
    /// If the node does not have it.
    #[default]
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

impl ImagePullPolicy {
    /// The name in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            ImagePullPolicy::Always => "Always",
            ImagePullPolicy::IfNotPresent => "IfNotPresent",
            ImagePullPolicy::Never => "Never",
        }
    }
}

/// How a taint's value is compared.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum TolerationOperator {
    /// Key and value are equal.
    #[default]
    Equal,
    /// The key is there, with any value.
    Exists,
}

/// What a taint does to pods that do not tolerate it.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[schemars(inline)]
pub enum TaintEffect {
    /// They are not scheduled.
    NoSchedule,
    /// They are scheduled elsewhere if possible.
    PreferNoSchedule,
    /// They are evicted.
    NoExecute,
}
