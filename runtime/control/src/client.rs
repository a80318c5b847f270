//! A caller of one job's control API.
//!
//! A client is cheap to clone and connects again by itself. Every call has a limit of its own; giving a call up gives up
//! only the answer.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};
use tower::service_fn;

use crate::identity::{ClientIdentity, IdentityError, job_name};
use crate::server::MOST_MESSAGE;
use crate::tls;
use crate::v1;
use crate::v1::control_client::ControlClient as Stub;

/// How long a connection may take, with its handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// A connection that is silent for so long is asked whether it lives, also between calls.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long the answer to that may take.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(5);
/// How long a call that only looks may take.
pub const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is none.
    #[error("found address {0:?}; allowed: HOST:PORT, such as 10.0.0.7:7443 or [::1]:7443")]
    Address(String),
    /// The identity cannot be used.
    #[error("cannot use this identity")]
    Identity(#[source] IdentityError),
    /// Nobody answers there, or not as the job that is meant.
    #[error("cannot reach the control API of {name} at {address}")]
    Connect {
        /// The address.
        address: String,
        /// The name that was demanded of the server.
        name: String,
        /// Why not.
        #[source]
        source: tonic::transport::Error,
    },
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The call is for an older revision, or the job is in no state for it.
    #[error("{0}")]
    Precondition(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The job said no, or cannot tell now; asking again is fine.
    #[error("{0}")]
    Refused(String),
    /// The runtime does not know the call: it is older than the caller.
    #[error("the runtime does not know this call: {0}")]
    Unknown(String),
    /// No answer in time. What was asked for may happen all the same.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection failed. What was asked for may happen all the same.
    #[error("no answer from {address}: {reason}")]
    Broken {
        /// Who was called.
        address: String,
        /// What happened to the connection.
        reason: String,
    },
}

impl CallError {
    /// True if the same call may be made again.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Refused(_) | Self::TimedOut(_) | Self::Broken { .. } => true,
            Self::Precondition(_) | Self::Invalid(_) | Self::Unknown(_) => false,
        }
    }
}

/// A caller of one job's control API.
#[derive(Debug, Clone)]
pub struct ControlClient {
    address: Arc<str>,
    stub: Stub<Channel>,
}

impl ControlClient {
    /// Connects to the process at `address` (`HOST:PORT`), which must prove to be the job that `job_uid` owns.
    ///
    /// A server that refuses this caller's certificate does so only when the first call is made: that is how TLS 1.3
    /// goes.
    ///
    /// # Errors
    /// When nobody answers there, or somebody else.
    pub async fn connect(address: &str, identity: &ClientIdentity, job_uid: &str) -> Result<Self, ConnectError> {
        let name = job_name(job_uid).map_err(ConnectError::Identity)?;
        let config = tls::client_config(identity).map_err(ConnectError::Identity)?;
        let server = ServerName::try_from(name.clone()).expect("a job's name is a DNS name");
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .ok()
            .filter(|endpoint| endpoint.uri().port().is_some())
            .ok_or_else(|| ConnectError::Address(address.to_owned()))?
            .connect_timeout(CONNECT_LIMIT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_LIMIT)
            .keep_alive_while_idle(true);
        let (connector, to) = (TlsConnector::from(config), Arc::<str>::from(address));
        let dial = service_fn({
            let to = to.clone();
            move |_: Uri| {
                let (connector, server, to) = (connector.clone(), server.clone(), to.clone());
                async move {
                    let tcp = TcpStream::connect(&*to).await?;
                    tcp.set_nodelay(true)?;
                    Ok::<_, std::io::Error>(TokioIo::new(connector.connect(server, tcp).await?))
                }
            }
        });
        let channel = endpoint.connect_with_connector(dial).await.map_err(|source| ConnectError::Connect {
            address: address.to_owned(),
            name,
            source,
        })?;
        let stub = Stub::new(channel).max_decoding_message_size(MOST_MESSAGE).max_encoding_message_size(MOST_MESSAGE);
        Ok(Self { address: to, stub })
    }

    /// Where the job stands.
    ///
    /// # Errors
    /// When there is no answer within [`LOOK_LIMIT`].
    pub async fn status(&self) -> Result<v1::StatusResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(LOOK_LIMIT, async move { stub.status(v1::StatusRequest {}).await }).await
    }

    /// Takes a checkpoint and waits for it.
    ///
    /// # Errors
    /// When it is not complete within `limit`; it may be later.
    pub async fn trigger_checkpoint(
        &self,
        request: v1::TriggerCheckpointRequest,
        limit: Duration,
    ) -> Result<v1::TriggerCheckpointResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(limit, async move { stub.trigger_checkpoint(request).await }).await
    }

    /// Takes a savepoint and waits for it.
    ///
    /// # Errors
    /// When it is not complete within `limit`; it may be later.
    pub async fn trigger_savepoint(
        &self,
        request: v1::TriggerSavepointRequest,
        limit: Duration,
    ) -> Result<v1::TriggerSavepointResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(limit, async move { stub.trigger_savepoint(request).await }).await
    }

    /// Stops the job durably with a final checkpoint and waits for it.
    ///
    /// # Errors
    /// When it is not stopped within `limit`; it may be later. Asking again is fine.
    pub async fn stop(&self, request: v1::StopRequest, limit: Duration) -> Result<v1::StopResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(limit, async move { stub.stop(request).await }).await
    }

    /// Ends the process at once.
    ///
    /// # Errors
    /// When there is no answer within [`LOOK_LIMIT`].
    pub async fn cancel(&self, request: v1::CancelRequest) -> Result<v1::CancelResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(LOOK_LIMIT, async move { stub.cancel(request).await }).await
    }

    /// Stops what runs with a final checkpoint, deploys another resolved job from it, and waits until that runs.
    ///
    /// # Errors
    /// When it does not run within `limit`; it may later. Asking again is fine.
    pub async fn redeploy(
        &self,
        request: v1::RedeployRequest,
        limit: Duration,
    ) -> Result<v1::RedeployResponse, CallError> {
        let mut stub = self.stub.clone();
        self.limited(limit, async move { stub.redeploy(request).await }).await
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        match tokio::time::timeout(limit, call).await {
            Err(_) => Err(CallError::TimedOut(limit)),
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| self.error(&status)),
        }
    }

    fn error(&self, status: &Status) -> CallError {
        let message = status.message().to_owned();
        let is_local = std::error::Error::source(status).is_some();
        match status.code() {
            _ if is_local => self.broken(status),
            Code::FailedPrecondition => CallError::Precondition(message),
            Code::InvalidArgument => CallError::Invalid(message),
            Code::Aborted | Code::Unavailable | Code::ResourceExhausted => CallError::Refused(message),
            Code::Unimplemented => CallError::Unknown(message),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::OutOfRange
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => self.broken(status),
        }
    }

    fn broken(&self, status: &Status) -> CallError {
        let mut reason = status.message().to_owned();
        let mut cause = std::error::Error::source(status);
        while let Some(error) = cause {
            let more = error.to_string();
            if !reason.ends_with(&more) {
                reason = format!("{reason}: {more}");
            }
            cause = error.source();
        }
        CallError::Broken { address: self.address.to_string(), reason }
    }
}
