//! An S3 server of one's own, on a free port, gone with the test.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::open::open;
use crate::options::{Credentials, Secret, StoreOptions};
use crate::random::unique_name;
use crate::s3::create_bucket;
use crate::store::ObjectStore;

/// The bucket every server has.
const BUCKET: &str = "weir";
/// Access key and secret key of every server.
const ACCESS_KEY: &str = "weir";
const SECRET_KEY: &str = "weir-secret";
/// How long a server may take to answer.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often a start is tried when another process takes the port in between.
const MAX_STARTS: u32 = 3;

/// A running S3 server with one empty bucket. Stops when dropped, and also when the process that made it is killed.
#[derive(Debug)]
pub struct TestServer {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl TestServer {
    /// A MinIO server; builds it first if this machine has none (about two minutes, once).
    pub async fn minio() -> Self {
        Self::start("minio").await
    }

    /// A versitygw server, which ignores `If-None-Match`; builds it first if this machine has none.
    pub async fn versitygw() -> Self {
        Self::start("versitygw").await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it keeps its data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URI of a folder in its bucket.
    pub fn uri(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Access key and secret key.
    pub fn keys(&self) -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    /// Options that reach it.
    pub fn options(&self) -> StoreOptions {
        self.options_at(self.endpoint())
    }

    /// Options that reach it through something else, such as a [`FaultProxy`](super::FaultProxy).
    pub fn options_at(&self, endpoint: String) -> StoreOptions {
        let credentials =
            Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: Secret::new(SECRET_KEY), session_token: None };
        StoreOptions { endpoint: Some(endpoint), credentials: Some(credentials), ..StoreOptions::default() }
    }

    /// A store in a folder of its bucket.
    pub async fn store(&self, prefix: &str) -> Arc<dyn ObjectStore> {
        open(&self.uri(prefix), &self.options()).await.expect("the uri and options are right")
    }

    async fn start(name: &'static str) -> Self {
        let script = script(name);
        let installing = script.clone();
        tokio::task::spawn_blocking(move || install(&installing)).await.expect("the installation does not panic");
        let mut last = String::new();
        for _ in 0..MAX_STARTS {
            let mut server = Self::spawn(name, &script);
            match server.wait_until_ready().await {
                Ok(()) => return server,
                Err(reason) => last = reason,
            }
        }
        panic!("{name} does not start: {last}");
    }

    fn spawn(name: &str, script: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("loopback has free ports")
            .port();
        let folder = std::env::temp_dir().join(format!("weir-{name}-{}", unique_name()));
        let child = Command::new(script)
            .arg("start")
            .arg(&folder)
            .arg(port.to_string())
            .env("WEIR_DISPOSABLE", "1")
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("ROOT_ACCESS_KEY", ACCESS_KEY)
            .env("ROOT_SECRET_KEY", SECRET_KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
        Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), folder }
    }

    /// Ready means that it made the bucket.
    async fn wait_until_ready(&mut self) -> Result<(), String> {
        let options = StoreOptions { attempt_timeout: Duration::from_secs(5), ..self.options() };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let refusal = match create_bucket(BUCKET, &options).await {
                Ok(()) => return Ok(()),
                Err(refusal) => refusal,
            };
            if let Ok(Some(status)) = self.child.try_wait() {
                let mut said = String::new();
                let _ = self.child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut said));
                return Err(format!("it ended with {status}: {said}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it made no bucket within {START_LIMIT:?}: {refusal}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // The script stops the server and removes its folder when its input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The script of a server, in the checkout that the tests run in. That is looked for when they run: the directory which they were
/// compiled in may be another one, since checkouts share a target directory.
fn script(name: &str) -> PathBuf {
    let here = std::env::current_dir().expect("there is a current directory");
    let mut within = here.ancestors().map(|folder| folder.join("tests/servers").join(name));
    within.find(|script| script.exists()).unwrap_or_else(|| panic!("no tests/servers/{name} above {}", here.display()))
}

fn install(script: &Path) {
    let output = Command::new(script).arg("install").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(
        output.status.success(),
        "{} install failed:\n{}",
        script.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
