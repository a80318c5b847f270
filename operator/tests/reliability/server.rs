//! The API server that all tests share: `tests/servers/apiserver`, with the resource, the chart's roles and one node in it.
//!
//! It ends with the test process, however that ends: the script watches its standard input.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;
use serde_json::{Value, json};

/// Who the operators are to the API server: what the chart grants to its service account is granted to them.
pub const OPERATOR: &str = "weir-operator";
/// The token that says so.
pub const TOKEN: &str = "the-operators-token";
/// The node that every pod is on.
pub const NODE: &str = "node-1";
/// How long it may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(180);

/// A running API server.
pub struct Server {
    folder: tempfile::TempDir,
    tools: PathBuf,
    port: u16,
    /// What may do everything.
    pub admin: Client,
    child: Child,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not come up, with what it said.
    pub async fn start() -> Self {
        let script = repository().join("tests/servers/apiserver");
        let installed = Command::new(&script).arg("install").stdin(Stdio::null()).status().unwrap();
        assert!(installed.success(), "apiserver install");
        let tools = String::from_utf8(Command::new(&script).arg("path").output().unwrap().stdout).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        std::fs::write(data.join("tokens.csv"), format!("{TOKEN},{OPERATOR},{OPERATOR}\n")).unwrap();
        let port = free_ports();
        let errors = std::fs::File::create(folder.path().join("errors")).unwrap();
        let mut command = Command::new("nice");
        command.args(["-n", "5"]).arg(&script).arg("start").arg(&data).arg(port.to_string());
        command.env("WEIR_DISPOSABLE", "1").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(errors);
        let mut child = command.spawn().unwrap();
        let started = Instant::now();
        while !data.join("ready").exists() {
            let said = || std::fs::read_to_string(folder.path().join("errors")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "the API server ended: {}", said());
            assert!(started.elapsed() < START_LIMIT, "the API server is not ready: {}", said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let kubeconfig = Kubeconfig::read_from(data.join("admin.kubeconfig")).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let admin = Client::try_from(config).unwrap();
        let server = Self { folder, tools: PathBuf::from(tools.trim()), port, admin, child };
        server.prepare();
        server
    }

    fn prepare(&self) {
        self.kubectl(
            &[
                "apply",
                "--server-side",
                "--validate=false",
                "-f",
                repository().join("crds/streamjob.yaml").to_str().unwrap(),
            ],
            "",
        );
        self.kubectl(&["wait", "--for=condition=Established", "crd/streamjobs.weir.dev", "--timeout=60s"], "");
        let mut objects = vec![role("ClusterRole", "weir-operator-jobs")];
        objects.push(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": "weir-operator-jobs" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-operator-jobs" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR }],
        }));
        objects.push(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } }));
        self.kubectl(&["apply", "--server-side", "--validate=false", "-f", "-"], &list(&objects));
        let ready = json!({ "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "Stands" }] } });
        self.kubectl(&["patch", "node", NODE, "--subresource=status", "-p", &ready.to_string()], "");
    }

    /// A namespace with the chart's role of the operator's own namespace.
    pub async fn namespace(&self, name: &str) {
        let mut own = role("Role", "weir-operator");
        own["metadata"]["namespace"] = json!(name);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": "weir-operator", "namespace": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "weir-operator" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR }],
        });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        for (path, object) in [
            ("/api/v1/namespaces".to_owned(), namespace),
            (format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/roles"), own),
            (format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings"), binding),
        ] {
            self.post(&path, &object).await;
        }
    }

    /// Creates an object.
    pub async fn post(&self, path: &str, object: &Value) -> Value {
        let request = http::Request::post(path).header("Content-Type", "application/json");
        self.admin.request(request.body(object.to_string().into_bytes()).unwrap()).await.unwrap()
    }

    fn kubectl(&self, arguments: &[&str], input: &str) {
        use std::io::Write;
        let mut command = Command::new(self.tools.join("kubectl"));
        command.arg("--kubeconfig").arg(self.data().join("admin.kubeconfig")).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The certificate of its authority, as text.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.data().join("pki/ca.crt")).unwrap()
    }

    /// Its own certificate and key, as text: the proxy serves in its place.
    pub fn identity(&self) -> (String, String) {
        let text = |name: &str| std::fs::read_to_string(self.data().join("pki").join(name)).unwrap();
        (text("apiserver.crt"), text("apiserver.key"))
    }

    /// The kubeconfig of an operator that finds the API server at `url`.
    pub fn kubeconfig(&self, url: &str) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        let authority = self.data().join("pki/ca.crt");
        write!(
            text,
            "apiVersion: v1\nkind: Config\ncurrent-context: weir\n\
             clusters: [{{name: weir, cluster: {{server: \"{url}\", certificate-authority: {}}}}}]\n\
             users: [{{name: operator, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: weir, context: {{cluster: weir, user: operator}}}}]\n",
            authority.display()
        )
        .unwrap();
        text
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The top of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from("..")
}

/// A role as the chart renders it.
fn role(kind: &str, name: &str) -> Value {
    let text = std::fs::read_to_string(repository().join("tests/golden/chart/default.yaml")).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let is_it = |object: &Value| object["kind"] == kind && object["metadata"]["name"] == name;
    documents.into_iter().find(is_it).unwrap()
}

fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}

/// The first of three ports in a row that are free.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others =
            [1, 2].map(|step| port.checked_add(step).and_then(|port| TcpListener::bind(("127.0.0.1", port)).ok()));
        if others.iter().all(Option::is_some) {
            return port;
        }
    }
}
