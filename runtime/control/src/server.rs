//! Serves a job's control API: TLS, bounds, and errors as codes. What the calls do is [`Control`]'s.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};

use crate::identity::{IdentityError, ServerIdentity};
use crate::tls;
use crate::v1;
use crate::v1::control_server::{Control as Service, ControlServer};

/// Bytes of a message, at most, in both directions.
pub(crate) const MOST_MESSAGE: usize = 4 << 20;
/// Connections that are served at once, those in their handshake included.
const MOST_CONNECTIONS: usize = 64;
/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);
/// A connection that is silent for so long is asked whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long accepting pauses when the process has no more files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long answers that are under way may take when the server ends.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// What a call does. Every method may be called many times at once; a caller that goes away drops its call, which must
/// not undo what was begun.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Where the job stands.
    async fn status(&self) -> Result<v1::StatusResponse, Refusal>;
    /// Takes a checkpoint.
    async fn trigger_checkpoint(
        &self,
        request: v1::TriggerCheckpointRequest,
    ) -> Result<v1::TriggerCheckpointResponse, Refusal>;
    /// Takes a savepoint.
    async fn trigger_savepoint(
        &self,
        request: v1::TriggerSavepointRequest,
    ) -> Result<v1::TriggerSavepointResponse, Refusal>;
    /// Stops the job durably.
    async fn stop(&self, request: v1::StopRequest) -> Result<v1::StopResponse, Refusal>;
    /// Ends the process.
    async fn cancel(&self, request: v1::CancelRequest) -> Result<v1::CancelResponse, Refusal>;
    /// Runs another resolved job.
    async fn redeploy(&self, request: v1::RedeployRequest) -> Result<v1::RedeployResponse, Refusal>;
}

/// Why a call is not carried out; the text is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The call is for an older revision, or the job is in no state for it.
    #[error("{0}")]
    Precondition(String),
    /// The request itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and did not work; asking again is fine.
    #[error("{0}")]
    Failed(String),
    /// It cannot be told now; asking again is fine.
    #[error("{0}")]
    Unavailable(String),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Precondition(reason) => Self::failed_precondition(reason),
            Refusal::Invalid(reason) => Self::invalid_argument(reason),
            Refusal::Failed(reason) => Self::aborted(reason),
            Refusal::Unavailable(reason) => Self::unavailable(reason),
        }
    }
}

/// A server. It ends when it is dropped; [`Server::shutdown`] lets answers out first.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    serving: JoinHandle<()>,
    end: Option<oneshot::Sender<()>>,
}

impl Server {
    /// Takes no more calls, and gives answers that are under way a moment.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        drop(self.end.take());
        let _ = tokio::time::timeout(SHUTDOWN_LIMIT, &mut self.serving).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        self.serving.abort();
    }
}

/// Begins to serve `control` at `listener`.
///
/// # Errors
/// When the identity cannot be used, or the listener has no address.
pub fn serve(
    listener: TcpListener,
    identity: &ServerIdentity,
    control: Arc<dyn Control>,
) -> Result<Server, ServeError> {
    let acceptor = TlsAcceptor::from(tls::server_config(identity).map_err(ServeError::Identity)?);
    let address = listener.local_addr().map_err(ServeError::Listen)?;
    let (connections, accepted) = mpsc::channel(1);
    let accepting = tokio::spawn(accept(listener, acceptor, connections));
    let incoming = futures::stream::unfold(accepted, |mut accepted| async move {
        accepted.recv().await.map(|connection| (Ok::<_, Infallible>(connection), accepted))
    });
    let (end, ended) = oneshot::channel::<()>();
    let service = ControlServer::new(Calls(control))
        .max_decoding_message_size(MOST_MESSAGE)
        .max_encoding_message_size(MOST_MESSAGE);
    let serving = tokio::spawn(async move {
        let served = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async move { _ = ended.await })
            .await;
        if let Err(error) = served {
            tracing::warn!(%error, "the control API is not served any more");
        }
    });
    Ok(Server { address, accepting, serving, end: Some(end) })
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The identity cannot be used.
    #[error("cannot use this process's identity")]
    Identity(#[source] IdentityError),
    /// The listener is of no use.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
}

/// Shakes hands with whoever comes, each in a task of its own.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, connections: mpsc::Sender<Connection>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut handshakes = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection to the control API could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while handshakes.try_join_next().is_some() {}
        let (acceptor, connections) = (acceptor.clone(), connections.clone());
        handshakes.spawn(async move {
            let _ = tcp.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(tcp)).await {
                Ok(Ok(stream)) => _ = connections.send(Connection { stream, _permit: permit }).await,
                Ok(Err(error)) => tracing::info!(%peer, %error, "a caller of the control API was refused"),
                Err(_) => tracing::info!(%peer, "a caller of the control API was refused: no handshake in time"),
            }
        });
    }
}

/// A connection that has proved itself.
struct Connection {
    stream: TlsStream<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// From the wire to [`Control`] and back.
struct Calls(Arc<dyn Control>);

#[async_trait]
impl Service for Calls {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        answer(self.0.status().await)
    }

    async fn trigger_checkpoint(
        &self,
        request: Request<v1::TriggerCheckpointRequest>,
    ) -> Result<Response<v1::TriggerCheckpointResponse>, Status> {
        answer(self.0.trigger_checkpoint(request.into_inner()).await)
    }

    async fn trigger_savepoint(
        &self,
        request: Request<v1::TriggerSavepointRequest>,
    ) -> Result<Response<v1::TriggerSavepointResponse>, Status> {
        answer(self.0.trigger_savepoint(request.into_inner()).await)
    }

    async fn stop(&self, request: Request<v1::StopRequest>) -> Result<Response<v1::StopResponse>, Status> {
        answer(self.0.stop(request.into_inner()).await)
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Result<Response<v1::CancelResponse>, Status> {
        answer(self.0.cancel(request.into_inner()).await)
    }

    async fn redeploy(&self, request: Request<v1::RedeployRequest>) -> Result<Response<v1::RedeployResponse>, Status> {
        answer(self.0.redeploy(request.into_inner()).await)
    }
}

fn answer<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}
