//! A MinIO server of one's own, from `tests/servers`; gone with the value, and with this process.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use weir_storage::{Credentials, Secret, StoreOptions};

const ACCESS_KEY: &str = "weir";
const SECRET_KEY: &str = "weir-secret";
const BUCKET: &str = "weir";
const START: Duration = Duration::from_secs(60);

/// A running server with one bucket.
pub struct Minio {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

/// What the server has counted since it started.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Requests by S3's name for them.
    pub requests: BTreeMap<String, f64>,
    /// Bytes it received.
    pub received: f64,
    /// Bytes it sent.
    pub sent: f64,
}

impl Minio {
    /// Starts one; builds it first if this machine has none (about two minutes, once).
    ///
    /// # Errors
    /// When it cannot be built or does not answer.
    pub fn start() -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/servers/minio");
        let installed = Command::new(&script).arg("install").status().context("cannot run tests/servers/minio")?;
        ensure!(installed.success(), "MinIO cannot be built");
        let folder = tempfile::Builder::new().prefix("weir-bench-minio-").tempdir()?;
        let data = folder.path().join("data");
        // MinIO takes a directory for a bucket.
        std::fs::create_dir_all(data.join(BUCKET))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(&script)
            .arg("start")
            .arg(&data)
            .arg(address.port().to_string())
            .env("WEIR_DISPOSABLE", "1")
            .env("MINIO_ROOT_USER", ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", SECRET_KEY)
            .env("MINIO_PROMETHEUS_AUTH_TYPE", "public")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, address, folder };
        let deadline = Instant::now() + START;
        while server.ask("/minio/health/live").is_err() {
            ensure!(Instant::now() < deadline, "MinIO does not answer on {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// `http://host:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The URI of a folder in its bucket.
    pub fn uri(&self, folder: &str) -> String {
        format!("s3://{BUCKET}/{folder}")
    }

    /// Where it keeps the objects of a folder.
    pub fn directory(&self, folder: &str) -> PathBuf {
        self.folder.path().join("data").join(BUCKET).join(folder)
    }

    /// Options that reach it.
    pub fn options(&self) -> StoreOptions {
        let credentials =
            Credentials { access_key: ACCESS_KEY.to_owned(), secret_key: Secret::new(SECRET_KEY), session_token: None };
        StoreOptions { endpoint: Some(self.endpoint()), credentials: Some(credentials), ..StoreOptions::default() }
    }

    /// What it has counted.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn traffic(&self) -> Result<Traffic> {
        let text = self.ask("/minio/metrics/v3/api/requests")?;
        let sum = |name: &str| {
            let lines = text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let counted = text.lines().filter_map(|line| line.strip_prefix("minio_api_requests_total{name=\""));
        let counted = counted.filter_map(|line| {
            let (name, rest) = line.split_once('"')?;
            Some((name.to_owned(), rest.rsplit(' ').next()?.parse().ok()?))
        });
        Ok(Traffic {
            requests: counted.collect(),
            received: sum("minio_api_requests_traffic_received_bytes"),
            sent: sum("minio_api_requests_traffic_sent_bytes"),
        })
    }

    fn ask(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.split(' ').nth(1) == Some("200"), "MinIO answers {path} with {:?}", answer.lines().next());
        Ok(answer)
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // The script stops the server when its input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
