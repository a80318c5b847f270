//! How to reach a store and how long to wait for it. Every bound of this crate that a user may want to move is here.

use std::fmt;
use std::time::Duration;

/// A string that never shows itself in a log or a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that signs with it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Static S3 credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: Secret,
    /// Session token of temporary credentials.
    pub session_token: Option<Secret>,
}

/// Where a store is and what bounds its calls. The defaults suit a bucket in the same region or a server in the same cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// S3 endpoint such as `http://minio.storage:9000`. None: `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then AWS itself.
    pub endpoint: Option<String>,
    /// S3 region. None: the environment or profile; `us-east-1` with an endpoint of one's own.
    pub region: Option<String>,
    /// S3 credentials. None: environment, profile, web identity, pod identity, instance metadata, in this order.
    pub credentials: Option<Credentials>,
    /// Bound of making one TCP and TLS connection.
    pub connect_timeout: Duration,
    /// Bound of one request with its answer's body. `create` makes one attempt, so this bounds it.
    pub attempt_timeout: Duration,
    /// Bound of one call with all its attempts, without the time its bytes may take (`min_throughput`).
    pub operation_timeout: Duration,
    /// Bytes per second a transfer of a file must make on average before its call is given up: a call that moves `n` bytes may
    /// take `operation_timeout + n / min_throughput`.
    pub min_throughput: u64,
    /// Most attempts for one request of an idempotent call, the first included.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubles with each further one, with full jitter.
    pub first_backoff: Duration,
    /// Longest wait between two attempts.
    pub max_backoff: Duration,
    /// Files up to this many bytes are uploaded with one request, larger ones in parts.
    pub multipart_threshold: u64,
    /// Bytes of one range of a download, and at least of one part of an upload.
    pub part_size: u64,
    /// Bytes all transfers of files of this store may hold in memory at once. Fewer than one part: one part at a time.
    pub transfer_memory: u64,
    /// Most requests one transfer has in flight at once.
    pub transfer_concurrency: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            endpoint: None,
            region: None,
            credentials: None,
            connect_timeout: Duration::from_secs(3),
            attempt_timeout: Duration::from_secs(20),
            operation_timeout: Duration::from_secs(60),
            min_throughput: 1 << 20,
            max_attempts: 6,
            first_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(3),
            multipart_threshold: 32 << 20,
            part_size: 8 << 20,
            transfer_memory: 64 << 20,
            transfer_concurrency: 8,
        }
    }
}

impl StoreOptions {
    /// The same for a process with so much memory: transfers of files take an eighth of it, from one part to the default.
    #[must_use]
    pub fn for_memory(self, bytes: u64) -> Self {
        let transfer_memory = (bytes / 8).clamp(self.part_size, Self::default().transfer_memory);
        Self { transfer_memory, multipart_threshold: self.multipart_threshold.min(transfer_memory), ..self }
    }

    /// How long a call that moves `bytes` bytes may take.
    pub fn bound_of(&self, bytes: u64) -> Duration {
        self.operation_timeout + Duration::from_secs(bytes / self.min_throughput.max(1))
    }
}
