//! /metrics, /livez and /readyz.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;

use crate::metrics::Metrics;

/// What is served.
#[derive(Debug, Clone)]
pub struct Page {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether the process has reached the API server: as leader it has read all jobs, else it waits for its turn.
    pub ready: Arc<AtomicBool>,
}

/// Serves until the process ends.
///
/// # Errors
/// When the address cannot be bound, or the listener fails.
pub async fn serve(address: SocketAddr, page: Page) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(%address, "serving metrics and probes");
    axum::serve(listener, routes(page)).await
}

fn routes(page: Page) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(page)
}

async fn ready(State(page): State<Page>) -> (StatusCode, &'static str) {
    if page.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the API server was not reached yet\n")
    }
}

async fn metrics(State(page): State<Page>) -> ([(header::HeaderName, &'static str); 1], String) {
    let text = page.metrics.render(jiff::Timestamp::now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
