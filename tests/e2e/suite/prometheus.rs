//! A real Prometheus beside the cluster. It finds what to scrape as a Prometheus operator would have told it: from the monitors
//! and the rules that the chart renders, and from the API server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::cluster::{Cluster, SYSTEM};
use crate::command::{eventually, run};

/// A running server; it ends with this value, and with this process.
pub struct Prometheus {
    server: Child,
    port: u16,
    _scratch: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it over what the chart renders with everything that is for Prometheus switched on.
    pub fn start(cluster: &Cluster) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers/prometheus");
        let installed = run(&script, &["install"], None);
        assert!(installed.ok, "{}", installed.err);
        let objects = rendered(cluster);
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("the chart renders it");
        let scratch = tempfile::tempdir().expect("a folder");
        let kubeconfig = cluster.directory().join("admin.kubeconfig").display().to_string();
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [scratch.path().join("rules.yml")],
            "scrape_configs": [jobs(of_kind("PodMonitor"), &kubeconfig), operator(of_kind("ServiceMonitor"), &kubeconfig)],
        });
        let rules = json!({ "groups": of_kind("PrometheusRule")["spec"]["groups"] });
        for (file, content) in [("prometheus.yml", &config), ("rules.yml", &rules)] {
            std::fs::write(scratch.path().join(file), content.to_string()).expect("a file");
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
        let server = Command::new(&script)
            .args(["start", &scratch.path().display().to_string(), &free.port().to_string()])
            .env("WEIR_DISPOSABLE", "1")
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let prometheus = Self { server, port: free.port(), _scratch: scratch };
        eventually("Prometheus is ready", Duration::from_secs(30), || prometheus.fetch("/-/ready").map(|_| ()));
        prometheus
    }

    /// The `data` of an answer of its API.
    ///
    /// # Errors
    /// When it has none.
    pub fn api(&self, path: &str) -> Result<Value, String> {
        let body = self.fetch(&format!("/api/v1/{path}"))?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        Ok(answer["data"].take())
    }

    // HTTP 1.0: the answer ends with the connection.
    fn fetch(&self, path: &str) -> Result<String, String> {
        let exchange = || {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
            write!(connection, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).map(|_| answer)
        };
        let answer: String = exchange().map_err(|error: std::io::Error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
        if head.contains(" 200 ") { Ok(body.to_owned()) } else { Err(answer) }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The script ends the server when its standard input does.
        drop(self.server.stdin.take());
        let _ = self.server.wait();
    }
}

/// What the chart renders with monitors and rules.
fn rendered(cluster: &Cluster) -> Vec<Value> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/weir").display().to_string();
    let on = "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true";
    let answer = cluster.helm(&["template", "weir", &chart, "-n", SYSTEM, "--set", on]);
    assert!(answer.ok, "{}", answer.err);
    let documents = serde_yaml::Deserializer::from_str(&answer.out);
    documents.map(|document| Value::deserialize(document).expect("helm renders YAML")).collect()
}

/// As the Prometheus operator turns a `PodMonitor` into a scrape configuration.
fn jobs(monitor: &Value, kubeconfig: &str) -> Value {
    let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
    let mut relabel = selected("pod", &monitor["spec"]["selector"]["matchLabels"]);
    relabel.push(keep("__meta_kubernetes_pod_container_port_name", &endpoint["port"]));
    relabel.extend(labelled(&["namespace", "pod"]));
    relabel.extend(
        endpoint["relabelings"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|rule| json!({ "source_labels": rule["sourceLabels"], "target_label": rule["targetLabel"] })),
    );
    scrape("jobs", "pod", endpoint, &monitor["spec"]["namespaceSelector"], relabel, kubeconfig)
}

/// As the Prometheus operator turns a `ServiceMonitor` into one.
fn operator(monitor: &Value, kubeconfig: &str) -> Value {
    let endpoint = &monitor["spec"]["endpoints"][0];
    let mut relabel = selected("service", &monitor["spec"]["selector"]["matchLabels"]);
    relabel.push(keep("__meta_kubernetes_endpoint_port_name", &endpoint["port"]));
    relabel.extend(labelled(&["namespace", "pod"]));
    let own = json!({ "matchNames": [monitor["metadata"]["namespace"]] });
    scrape("operator", "endpoints", endpoint, &own, relabel, kubeconfig)
}

fn scrape(job: &str, role: &str, endpoint: &Value, namespaces: &Value, relabel: Vec<Value>, kubeconfig: &str) -> Value {
    let mut discovery = json!({ "role": role, "kubeconfig_file": kubeconfig });
    if let Some(names) = namespaces.get("matchNames") {
        discovery["namespaces"] = json!({ "names": names });
    }
    json!({
        "job_name": job,
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint["honorLabels"] == true,
        "kubernetes_sd_configs": [discovery],
        "relabel_configs": relabel,
    })
}

fn selected(role: &str, labels: &Value) -> Vec<Value> {
    let plain = |name: &str| name.replace(['.', '/', '-'], "_");
    let labels = labels.as_object().into_iter().flatten();
    labels.map(|(name, value)| keep(&format!("__meta_kubernetes_{role}_label_{}", plain(name)), value)).collect()
}

fn keep(source: &str, value: &Value) -> Value {
    json!({ "action": "keep", "source_labels": [source], "regex": value })
}

fn labelled(labels: &[&str]) -> Vec<Value> {
    let source = |label: &&str| if *label == "pod" { "pod_name".to_owned() } else { (*label).to_owned() };
    let rule =
        |label| json!({ "source_labels": [format!("__meta_kubernetes_{}", source(label))], "target_label": label });
    labels.iter().map(rule).collect()
}
