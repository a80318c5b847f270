//! Clients of the API server. kube's own retries wait up to 1000 s and its reads without end, so we set our own.

use std::time::Duration;

use kube::{Client, Config};

/// How long an answer may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How long a connection for the Lease may take, and a write to it. How long an answer may take is the caller's; here it would
/// also end the connection in the pause between two renewals, and each would begin with a handshake.
const LEASE_LIMIT: Duration = Duration::from_secs(3);

/// One client for each kind of waiting.
#[derive(Clone)]
pub struct Clients {
    /// Watches: as kube sets them, with idle timeouts of their own.
    pub watch: Client,
    /// Reads and writes: one try; the next look is the retry.
    pub call: Client,
    /// The Lease: one short try.
    pub lease: Client,
}

impl Clients {
    /// From the pod's service account, or from KUBECONFIG.
    ///
    /// # Errors
    /// When neither is there, or a client cannot be made.
    pub async fn new() -> Result<Self, ClientError> {
        let config = Config::infer().await.map_err(ClientError::Config)?;
        let client = |limit: Option<Duration>| {
            let mut config = config.clone();
            if let Some(limit) = limit {
                config.read_timeout = Some(CALL_LIMIT);
                config.write_timeout = Some(limit);
                config.connect_timeout = Some(limit);
                config.default_retry = false;
            }
            Client::try_from(config).map_err(ClientError::Client)
        };
        Ok(Clients { watch: client(None)?, call: client(Some(CALL_LIMIT))?, lease: client(Some(LEASE_LIMIT))? })
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No configuration.
    #[error("neither a service account nor a kubeconfig says where the API server is")]
    Config(#[source] kube::config::InferConfigError),
    /// A configuration that makes no client.
    #[error("the configuration makes no client")]
    Client(#[source] kube::Error),
}
