//! A proxy of our own between one operator and the API server: passes everything on, watches included, counts what is
//! written, and does what a network and a busy API server do at their worst.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::{Client, Config};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::server::Server;

/// The part of a write after which something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The API server never sees it.
    Before,
    /// It is done, and nobody is told.
    After,
    /// It is done and told, but whoever sent it may not hear for a while: the connection is not cut.
    During,
}

/// What happens at one write.
pub struct Blow {
    /// At the write with this number, counted from 1.
    pub at: u64,
    /// On which side of it.
    pub side: Side,
    /// What; the connection is cut after it, unless it strikes during the write.
    pub strike: Box<dyn FnOnce() + Send>,
}

/// What happens to requests again and again.
#[derive(Debug, Clone, Copy)]
pub struct Errors {
    /// The answer.
    pub code: u16,
    /// Each so many requests.
    pub every: u64,
    /// Whether the request was carried out all the same.
    pub side: Side,
}

/// What happens to the events of watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watches {
    /// Nothing.
    Undisturbed,
    /// They come late, in order.
    Delayed,
    /// They come twice.
    Duplicated,
    /// Each third one does not come. A while after that the watch ends with 410, as when its history is gone.
    Dropped,
}

/// How long an event is late, at most; they take turns.
const LATE: [u64; 4] = [0, 300, 1500, 50];
/// How long a watch goes on after an event was dropped.
const GAP: Duration = Duration::from_secs(2);

struct State {
    writes: u64,
    /// All writes so far: method, path, answer.
    log: Vec<(Instant, String)>,
    blow: Option<Blow>,
    errors: Option<Errors>,
    requests: u64,
    /// Reads of the Lease, if two of three are refused.
    lease_reads: Option<u64>,
    watches: Watches,
}

/// A proxy for one operator. It ends when it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens before `server`.
    pub async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (certificate, key) = server.identity();
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut upstream = Config::new(server.url().parse().unwrap());
        let authority = CertificateDer::from_pem_slice(server.authority().as_bytes()).unwrap();
        upstream.root_cert = Some(vec![authority.to_vec()]);
        upstream.default_retry = false;
        let upstream = Client::try_from(upstream).unwrap();
        let state = Arc::new(Mutex::new(State {
            writes: 0,
            log: Vec::new(),
            blow: None,
            errors: None,
            requests: 0,
            lease_reads: None,
            watches: Watches::Undisturbed,
        }));
        let accepting = tokio::spawn(accept(listener, acceptor, upstream, state.clone()));
        Self { address, state, accepting }
    }

    /// Counts writes from 1 again, and strikes once.
    pub fn arm(&self, blow: Option<Blow>) {
        let mut state = self.state.lock();
        state.writes = 0;
        state.blow = blow;
    }

    /// How many writes there were since it was armed, while the blow has not been struck.
    pub fn unstruck(&self) -> Option<u64> {
        let state = self.state.lock();
        state.blow.as_ref().map(|_| state.writes)
    }

    /// Writes since it was armed.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Answers requests with errors.
    pub fn errors(&self, errors: Option<Errors>) {
        self.state.lock().errors = errors;
    }

    /// Refuses two of three reads of the Lease.
    pub fn refuse_lease_reads(&self) {
        self.state.lock().lease_reads = Some(0);
    }

    /// Disturbs the events of watches that begin from now on.
    pub fn watches(&self, watches: Watches) {
        self.state.lock().watches = watches;
    }

    /// All writes so far, a line each.
    pub fn log(&self) -> Vec<String> {
        self.state.lock().log.iter().map(|(_, line)| line.clone()).collect()
    }

    /// When the first write after the first `skipped` came whose path ends with `end`.
    pub fn first_write(&self, skipped: usize, end: &str) -> Option<Instant> {
        let state = self.state.lock();
        let is_it = |line: &str| line.split(' ').nth(1).is_some_and(|path| path.ends_with(end));
        state.log.iter().skip(skipped).find(|(_, line)| is_it(line)).map(|(at, _)| *at)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, upstream: Client, state: Arc<Mutex<State>>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((tcp, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let (acceptor, upstream, state) = (acceptor.clone(), upstream.clone(), state.clone());
        connections.spawn(async move {
            let _ = tcp.set_nodelay(true);
            let Ok(stream) = acceptor.accept(tcp).await else { return };
            let service = service_fn(move |request| pass(request, upstream.clone(), state.clone()));
            // An error is a connection that was cut, by us or by an operator that was killed.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The connection is to be cut.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

async fn pass(request: Request<Incoming>, upstream: Client, state: Arc<Mutex<State>>) -> Result<Answer, Cut> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let is_lease = parts.uri.path().contains("/leases");
    let is_write = parts.method != Method::GET && !(is_lease && parts.method == Method::PUT);
    let is_watch = parts.uri.query().is_some_and(|query| query.contains("watch=true"));
    let line = format!("{} {}", parts.method, parts.uri.path());
    let came = Instant::now();
    let (mut struck, mut failing, watches) = {
        let mut state = state.lock();
        let mut struck = None;
        if is_write {
            state.writes += 1;
            let writes = state.writes;
            struck = state.blow.take_if(|blow| blow.at == writes);
        }
        let mut failing = None;
        if is_lease
            && parts.method == Method::GET
            && let Some(reads) = &mut state.lease_reads
        {
            *reads += 1;
            failing = Some(Errors { code: 500, every: 1, side: Side::Before }).filter(|_| !reads.is_multiple_of(3));
        }
        if let Some(errors) = state.errors.filter(|_| !is_lease) {
            state.requests += 1;
            failing = Some(errors).filter(|errors| state.requests.is_multiple_of(errors.every));
        }
        (struck, failing, state.watches)
    };
    if let Some(blow) = struck.take_if(|blow| blow.side == Side::Before) {
        state.lock().log.push((came, format!("{line} cut before")));
        (blow.strike)();
        return Err(Cut);
    }
    if let Some(blow) = struck.take_if(|blow| blow.side == Side::During) {
        (blow.strike)();
    }
    if let Some(errors) = failing.take_if(|errors| errors.side == Side::Before || is_watch) {
        return Ok(refusal(errors.code, &parts.method));
    }
    parts.headers.remove(header::HOST);
    let method = parts.method.clone();
    let answer = upstream.send(Request::from_parts(parts, Body::from(body.to_vec()))).await.map_err(|_| Cut)?;
    if is_write {
        state.lock().log.push((came, format!("{line} {}", answer.status().as_u16())));
    }
    if let Some(blow) = struck {
        // What it answered is complete, so it is done.
        let _ = answer.into_body().collect().await;
        (blow.strike)();
        return Err(Cut);
    }
    if let Some(errors) = failing {
        let _ = answer.into_body().collect().await;
        return Ok(refusal(errors.code, &method));
    }
    let is_disturbed = is_watch && watches != Watches::Undisturbed && answer.status() == StatusCode::OK;
    let (parts, body) = answer.into_parts();
    let body = if is_disturbed { disturbed(body, watches) } else { body.map_err(Into::into).boxed_unsync() };
    Ok(Response::from_parts(parts, body))
}

/// An error as the API server says it.
fn refusal(code: u16, method: &Method) -> Answer {
    let reason = match (code, method) {
        (409, &Method::POST) => "AlreadyExists",
        (409, _) => "Conflict",
        (410, _) => "Expired",
        (429, _) => "TooManyRequests",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "the proxy says so", "reason": reason, "code": code,
    });
    let body = Full::new(Bytes::from(status.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if code == 429 {
        answer = answer.header(header::RETRY_AFTER, "1");
    }
    answer.body(body).unwrap()
}

/// A watch's stream, event by event.
fn disturbed(body: Body, how: Watches) -> UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let (events, received) = mpsc::channel::<Bytes>(16);
    tokio::spawn(async move {
        let mut frames = BodyStream::new(body);
        let (mut rest, mut lines, mut count) = (Vec::new(), VecDeque::new(), 0_u64);
        let mut ends_at: Option<tokio::time::Instant> = None;
        loop {
            while let Some(line) = lines.pop_front() {
                count += 1;
                let turn = usize::try_from(count).unwrap_or_default();
                match how {
                    Watches::Undisturbed => {}
                    Watches::Delayed => tokio::time::sleep(Duration::from_millis(LATE[turn % LATE.len()])).await,
                    Watches::Duplicated => {
                        let copy: Bytes = line;
                        if events.send(copy.clone()).await.is_err() || events.send(copy).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Watches::Dropped => {
                        if count.is_multiple_of(3) {
                            ends_at.get_or_insert(tokio::time::Instant::now() + GAP);
                            continue;
                        }
                    }
                }
                if events.send(line).await.is_err() {
                    return;
                }
            }
            let ended = async {
                match ends_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                frame = frames.next() => frame,
                () = ended => {
                    let gone = json!({ "type": "ERROR", "object": {
                        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "too old resource version", "reason": "Expired", "code": 410,
                    } });
                    let _ = events.send(Bytes::from(format!("{gone}\n"))).await;
                    return;
                }
            };
            let Some(Ok(frame)) = frame else { return };
            let Ok(data) = frame.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                lines.push_back(Bytes::from(rest.drain(..=end).collect::<Vec<u8>>()));
            }
        }
    });
    let frames = futures::stream::unfold(received, |mut received| async move {
        received.recv().await.map(|event| (Ok(Frame::data(event)), received))
    });
    StreamBody::new(frames).boxed_unsync()
}
