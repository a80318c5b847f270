//! A MinIO server for a test, and the job on it. A folder that is there when it starts is a bucket to it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::scene::free_address;

const BUCKET: &str = "weir";

/// Stops when it is dropped, and when the test is killed.
pub(crate) struct Minio {
    child: Child,
    address: String,
}

impl Minio {
    /// Keeps its data in `folder`.
    pub(crate) fn start(folder: &Path) -> Self {
        let script = Path::new("../tests/servers/minio");
        let installed = Command::new(script).arg("install").stdin(Stdio::null()).status().unwrap();
        assert!(installed.success(), "minio install");
        std::fs::create_dir_all(folder.join(BUCKET)).unwrap();
        let address = free_address();
        let port = address.rsplit_once(':').unwrap().1;
        let mut command = Command::new(script);
        command.arg("start").arg(folder).arg(port).env("WEIR_DISPOSABLE", "1");
        command.env("MINIO_ROOT_USER", "weir").env("MINIO_ROOT_PASSWORD", "weir-secret");
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { child, address }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn uri(&self) -> String {
        format!("s3://{BUCKET}/jobs")
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        // The script stops the server and removes its folder when its input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
