//! Where checkpoints are kept.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::form;
use crate::uri::StorageUri;

/// Where checkpoints are kept.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// Where jobs are kept; this one under `<namespace>/<name>`, or under `local/<name>` by `weir run`. Fixed for the job's
    /// life. Unit: URI. Default: none, required.
    pub uri: StorageUri,

    /// Address of an S3 service other than AWS. Fixed for the job's life. Unit: URL. Default: AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::endpoint_schema")]
    pub endpoint: Option<String>,

    /// Region of the bucket. Unit: region. Default: us-east-1 with an endpoint, else the environment's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "form::region_schema")]
    pub region: Option<String>,

    /// Who reads and writes the bucket. If left out, the pod's workload identity. `weir run` takes the AWS_* variables of
    /// its environment instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialsSpec>,
}

/// Who reads and writes the bucket.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CredentialsSpec {
    /// Secret in the job's namespace with the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Unit: name. Default: none,
    /// required.
    #[schemars(schema_with = "form::secret_schema")]
    pub secret_name: String,
}
