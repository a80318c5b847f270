//! `/metrics`, `/livez`, `/readyz` and, where nobody else can ask, `/status` of a running job.

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_cluster::status::{JobState, JobStatus};

/// Where metrics are served unless something else is said; if the port is taken, at any free one.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// Where metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// At [`DEFAULT_ADDRESS`], or nearby.
    Default,
    /// Exactly here.
    At(String),
    /// Nowhere.
    Off,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let port = text
            .rsplit_once(':')
            .and_then(|(host, port)| (!host.is_empty()).then_some(port))
            .and_then(|port| port.parse::<u16>().ok());
        match port {
            Some(_) => Ok(Self::At(text.to_owned())),
            None => Err(format!(
                "found {text:?}; allowed: HOST:PORT such as 127.0.0.1:9464, or off; port 0 takes any free one"
            )),
        }
    }
}

/// The address cannot be served at.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics at {address}: choose another --metrics-addr, or off")]
pub(crate) struct BindError {
    address: String,
    #[source]
    source: std::io::Error,
}

/// What is served. Asked for with every request, so that it may change.
pub(crate) trait Shown: Send + Sync + 'static {
    /// What is gathered.
    fn metrics(&self) -> Registry;
    /// Where the job stands.
    fn status(&self) -> Arc<JobStatus>;
    /// Whether this process should be called ready.
    fn is_ready(&self, state: &JobState) -> bool;
    /// Whether the status is anybody's to read.
    fn shows_status(&self) -> bool;
}

/// One run: ready while its tasks run.
pub(crate) struct OneRun {
    pub metrics: Registry,
    pub status: watch::Receiver<Arc<JobStatus>>,
}

impl Shown for OneRun {
    fn metrics(&self) -> Registry {
        self.metrics.clone()
    }

    fn status(&self) -> Arc<JobStatus> {
        self.status.borrow().clone()
    }

    fn is_ready(&self, state: &JobState) -> bool {
        match state {
            JobState::Running | JobState::Ending => true,
            JobState::Starting
            | JobState::Deploying
            | JobState::Restarting { .. }
            | JobState::Stopped
            | JobState::Finished
            | JobState::Failed { .. }
            | JobState::Left { .. } => false,
        }
    }

    fn shows_status(&self) -> bool {
        true
    }
}

/// A server that ends when it is dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Begins to serve; `None` if nothing is to be served.
///
/// # Errors
/// When the address is taken or not this machine's.
pub(crate) async fn serve(address: &Address, shown: Arc<dyn Shown>) -> Result<Option<Server>, BindError> {
    let bound = match address {
        Address::Off => return Ok(None),
        Address::At(address) => bind(address).await?,
        Address::Default => match bind(DEFAULT_ADDRESS).await {
            Ok(listener) => listener,
            Err(_) => bind("127.0.0.1:0").await?,
        },
    };
    let address = bound.local_addr().map_err(|source| BindError { address: "a bound address".to_owned(), source })?;
    let mut router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(show_ready));
    if shown.shows_status() {
        router = router.route("/status", get(show_status));
    }
    let router = router.with_state(shown);
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(bound, router).await {
            tracing::warn!(%error, "metrics are not served any more");
        }
    });
    Ok(Some(Server { address, task }))
}

async fn bind(address: &str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| BindError { address: address.to_owned(), source })
}

async fn show_metrics(State(shown): State<Arc<dyn Shown>>) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&shown.metrics().gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn show_ready(State(shown): State<Arc<dyn Shown>>) -> (StatusCode, String) {
    let state = &shown.status().state;
    let code = if shown.is_ready(state) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, format!("{}\n", state.name()))
}

async fn show_status(State(shown): State<Arc<dyn Shown>>) -> axum::Json<JobStatus> {
    axum::Json(shown.status().as_ref().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_host_and_a_port_or_off() {
        assert_eq!("off".parse(), Ok(Address::Off));
        assert_eq!("[::1]:0".parse(), Ok(Address::At("[::1]:0".to_owned())));
        for text in ["9464", ":9464", "localhost", "localhost:http", "localhost:70000"] {
            let message =
                format!("found {text:?}; allowed: HOST:PORT such as 127.0.0.1:9464, or off; port 0 takes any free one");
            assert_eq!(text.parse::<Address>(), Err(message));
        }
    }

    #[tokio::test]
    async fn a_taken_address_is_refused_but_the_default_moves_on() {
        let (_, status) = watch::channel(Arc::new(JobStatus::default()));
        let shown: Arc<dyn Shown> = Arc::new(OneRun { metrics: Registry::new(), status });
        let first = serve(&Address::At("127.0.0.1:0".to_owned()), shown.clone()).await.unwrap().unwrap();
        let taken = first.address.to_string();
        let refused = serve(&Address::At(taken.clone()), shown.clone()).await.err().unwrap();
        assert_eq!(
            refused.to_string(),
            format!("cannot serve metrics at {taken}: choose another --metrics-addr, or off")
        );
        let one = serve(&Address::Default, shown.clone()).await.unwrap().unwrap();
        let other = serve(&Address::Default, shown).await.unwrap().unwrap();
        assert_ne!(one.address, other.address);
    }
}
