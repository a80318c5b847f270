//! The process: waits for its turn, then runs the controller until the leadership is lost or it is asked to go.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use futures::StreamExt;
use futures::channel::mpsc;
use kube::runtime::events::{Recorder, Reporter};
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::authority::{Issuer, IssuerError};
use super::clients::{ClientError, Clients};
use super::context::{Context, WOKEN};
use super::leadership::Leadership;
use super::reconcile::{chain, reconcile, retry};
use super::stores;
use crate::build;
use crate::election::Reign;
use crate::http::{Page, serve};
use crate::metrics::Metrics;
use crate::names::MANAGER;
use crate::settings::Settings;

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No API server.
    #[error("cannot reach an API server")]
    Client(#[source] ClientError),
    /// No authority.
    #[error("cannot issue certificates")]
    Issuer(#[source] IssuerError),
    /// No metrics.
    #[error("cannot register metrics")]
    Metrics(#[source] prometheus::Error),
    /// No signals.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// Metrics and probes cannot be served.
    #[error("cannot serve metrics and probes")]
    Http(#[source] std::io::Error),
    /// Another process leads now. Everything in memory may be old, so the process starts anew.
    #[error("the leadership is lost")]
    Leadership,
    /// The watches ended.
    #[error("the controller ended")]
    Controller,
}

/// Runs until the process is asked to go.
///
/// # Errors
/// When it cannot go on; whoever started it starts it again.
pub async fn run(settings: Settings) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new().map_err(RunError::Metrics)?);
    let ready = Arc::new(AtomicBool::new(false));
    let reign = Arc::new(Reign::new(Instant::now()));
    metrics.leader(false);
    let mut asked_to_go = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupted = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let page = Page { metrics: metrics.clone(), ready: ready.clone() };
    let mut http = tokio::spawn(serve(settings.http_address, page));
    let clients = Clients::new().await.map_err(RunError::Client)?;
    let me = settings.holder();
    let mut leadership =
        Leadership::new(clients.lease.clone(), &settings.namespace, me.clone(), reign.clone(), metrics.clone());
    tracing::info!(%me, namespace = %settings.namespace, watched = %settings.watch_namespace, image = %settings.runtime_image, "started");
    let number = tokio::select! {
        number = leadership.acquire(&ready) => number,
        _ = asked_to_go.recv() => return Ok(()),
        _ = interrupted.recv() => return Ok(()),
        ended = &mut http => return Err(http_error(ended)),
    };
    tracing::info!(reign = number, "leads");
    let issuer = Issuer::open(&clients.call, &settings.namespace).await.map_err(RunError::Issuer)?;
    let (wake, woken) = mpsc::channel(WOKEN);
    let build =
        build::Context { operator_namespace: settings.namespace.clone(), image: settings.runtime_image.clone() };
    let (controller, stores) =
        stores::controller(&clients.watch, &settings.watch_namespace, settings.concurrency, &build, woken);
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: Some(me) };
    let context = Arc::new(Context {
        recorder: Recorder::new(clients.call.clone(), reporter),
        clients,
        stores: stores.clone(),
        issuer,
        metrics,
        build,
        jobs: Mutex::default(),
        wake: Mutex::new(wake),
        calls: Mutex::new(JoinSet::new()),
        reign,
    });
    // A look before the stores are filled would take what is not there yet for gone.
    let (filled, gate) = watch::channel(false);
    let filling = async move {
        if stores.filled().await.is_ok() {
            let _ = filled.send(true);
        }
        std::future::pending::<()>().await;
    };
    let looks = controller
        .run(
            move |object, context| {
                let mut gate = gate.clone();
                async move {
                    if gate.wait_for(|filled| *filled).await.is_err() {
                        return Ok(kube::runtime::controller::Action::await_change());
                    }
                    reconcile(object, context).await
                }
            },
            retry,
            context.clone(),
        )
        .for_each(async |result| {
            if let Err(error) = result {
                tracing::debug!(error = %chain(&error), "a look, or a watch, failed");
            }
        });
    let result = tokio::select! {
        () = looks => Err(RunError::Controller),
        () = filling => Err(RunError::Controller),
        () = context.tidy() => Err(RunError::Controller),
        () = leadership.keep() => Err(RunError::Leadership),
        _ = asked_to_go.recv() => Ok(()),
        _ = interrupted.recv() => Ok(()),
        ended = &mut http => Err(http_error(ended)),
    };
    context.reign.ended();
    let mut calls = std::mem::take(&mut *context.calls.lock());
    // What coordinators were asked they do, whoever listens: giving up here gives up the answer only.
    calls.shutdown().await;
    if result.is_ok() {
        leadership.release().await;
    }
    result
}

fn http_error(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> RunError {
    let error = match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => std::io::Error::other("the server ended"),
        Err(error) => std::io::Error::other(error),
    };
    RunError::Http(error)
}
