//! An HTTP proxy before a real S3 server that breaks some of the requests.
//!
//! Requests and answers pass byte for byte, the `Host` header included, so signatures stay valid. What is broken, and how often, is
//! decided per request: by script, by seeded rates, or by an outage that refuses everything. Faults are counted by kind, and
//! *ambiguous* ones separately: writes that happened and whose client was not told.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

mod message;
mod plan;

use message::{Message, read_answer, read_request};
use plan::Decider;
pub use plan::{FaultCounts, FaultKind, FaultPlan};

/// A running fault proxy. Stops, with all its connections, when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    decider: Mutex<Decider>,
    outage: watch::Sender<bool>,
}

impl FaultProxy {
    /// Listens on a free port of loopback and forwards to `upstream`.
    pub async fn start(upstream: SocketAddr, plan: FaultPlan) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { upstream, decider: Mutex::new(Decider::new(plan)), outage: watch::Sender::new(false) });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the plan for all later requests; the random stream begins anew from the plan's seed.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.shared.decider.lock().set_plan(plan);
    }

    /// The next request without a scripted fate takes this one; `None` lets it pass. Scripts go before rates.
    pub fn script(&self, fault: impl Into<Option<FaultKind>>) {
        self.shared.decider.lock().script(fault.into());
    }

    /// Begins or ends an outage: connections are reset, and new ones too.
    pub fn set_outage(&self, outage: bool) {
        self.shared.outage.send_replace(outage);
    }

    /// What happened so far.
    pub fn counts(&self) -> FaultCounts {
        self.shared.decider.lock().counts()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(client, shared.clone()));
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut outage = shared.outage.subscribe();
    let mut connection = Connection { client: BufReader::new(client), upstream: None, shared: shared.clone() };
    tokio::select! {
        // Whichever side breaks off, the other one sees a broken connection.
        _ = connection.serve() => {}
        _ = outage.wait_for(|outage| *outage) => {
            shared.decider.lock().count_outage();
            connection.reset();
        }
    }
}

struct Connection {
    client: BufReader<TcpStream>,
    upstream: Option<BufReader<TcpStream>>,
    shared: Arc<Shared>,
}

impl Connection {
    async fn serve(&mut self) -> io::Result<()> {
        while let Some(request) = read_request(&mut self.client).await? {
            let (fault, plan) = self.shared.decider.lock().decide(request.is_write());
            match fault {
                None => {
                    let answer = self.forward(&request).await?;
                    self.client.write_all(&answer.bytes()).await?;
                }
                Some(fault) => {
                    if !self.inject(fault, &plan, &request).await? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Breaks one request; says whether the connection lives on.
    async fn inject(&mut self, fault: FaultKind, plan: &FaultPlan, request: &Message) -> io::Result<bool> {
        match fault {
            FaultKind::Status500 => self.refuse(500, "InternalError").await,
            FaultKind::Status503 => self.refuse(503, "SlowDown").await,
            FaultKind::Status429 => self.refuse(429, "TooManyRequests").await,
            FaultKind::Status409 => self.refuse(409, "ConditionalRequestConflict").await,
            FaultKind::Status500After => {
                self.forward_unheard(request).await?;
                self.refuse(500, "InternalError").await
            }
            FaultKind::TimeoutBefore => self.hold(plan.hold).await,
            FaultKind::TimeoutAfter => {
                self.forward_unheard(request).await?;
                self.hold(plan.hold).await
            }
            FaultKind::ResetBefore => {
                self.reset();
                Ok(false)
            }
            FaultKind::ResetAfter => {
                self.forward_unheard(request).await?;
                self.reset();
                Ok(false)
            }
            FaultKind::TruncatedBody => {
                let answer = self.forward_unheard(request).await?;
                // An answer without a body is cut within its head.
                let bytes = answer.bytes();
                let cut =
                    if answer.body.is_empty() { bytes.len() / 2 } else { bytes.len() - answer.body.len().div_ceil(2) };
                self.client.write_all(&bytes[..cut]).await?;
                Ok(false)
            }
            FaultKind::WrongLength => {
                let answer = self.forward_unheard(request).await?;
                self.client.write_all(&answer.with_wrong_length()).await?;
                Ok(false)
            }
            FaultKind::Latency => {
                tokio::time::sleep(plan.latency).await;
                let answer = self.forward(request).await?;
                self.client.write_all(&answer.bytes()).await?;
                Ok(true)
            }
        }
    }

    /// Forwards a request whose answer the client will not get as it is.
    async fn forward_unheard(&mut self, request: &Message) -> io::Result<Message> {
        let answer = self.forward(request).await?;
        if request.is_write() && answer.is_success() {
            self.shared.decider.lock().count_ambiguous();
        }
        Ok(answer)
    }

    async fn forward(&mut self, request: &Message) -> io::Result<Message> {
        let mut upstream = match self.upstream.take() {
            Some(upstream) => upstream,
            None => BufReader::new(TcpStream::connect(self.shared.upstream).await?),
        };
        upstream.write_all(&request.bytes()).await?;
        let answer = read_answer(&mut upstream, request).await?;
        if !answer.ends_connection() {
            self.upstream = Some(upstream);
        }
        Ok(answer)
    }

    async fn refuse(&mut self, status: u16, code: &str) -> io::Result<bool> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>injected</Message></Error>"
        );
        let head = format!(
            "HTTP/1.1 {status} Injected\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.client.write_all((head + &body).as_bytes()).await?;
        Ok(false)
    }

    /// Says nothing until the client gives up or the time is over.
    async fn hold(&mut self, longest: Duration) -> io::Result<bool> {
        let mut nothing = [0];
        let _ = tokio::time::timeout(longest, self.client.read(&mut nothing)).await;
        Ok(false)
    }

    /// Makes the connection end with a reset and not in peace.
    fn reset(&mut self) {
        // A client that is gone already has no use for it.
        let _ = self.client.get_ref().set_zero_linger();
    }
}
