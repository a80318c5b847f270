//! A real Prometheus beside the cluster. It scrapes and evaluates what a Prometheus operator would have told it: by the monitors and
//! the rules that the chart renders. Debian's build cannot ask the API server, so everything that it would have been shown there is
//! written into a file for it, and the monitors choose from that.

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
        let script = Path::new("../servers/prometheus");
        let installed = run(script, &["install"], None);
        assert!(installed.ok, "{}", installed.err);
        let objects = rendered(cluster);
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("the chart renders it");
        let scratch = tempfile::tempdir().expect("a folder");
        let config = json!({
            "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
            "rule_files": [scratch.path().join("rules.yml")],
            "scrape_configs": [
                scrape_jobs(of_kind("PodMonitor"), &scratch.path().join("pods.json")),
                scrape_operator(of_kind("ServiceMonitor"), &scratch.path().join("endpoints.json")),
            ],
        });
        let rules = json!({ "groups": of_kind("PrometheusRule")["spec"]["groups"] });
        let (pods, endpoints) = (pods(cluster), endpoints(cluster));
        let files =
            [("prometheus.yml", &config), ("rules.yml", &rules), ("pods.json", &pods), ("endpoints.json", &endpoints)];
        for (file, content) in files {
            std::fs::write(scratch.path().join(file), content.to_string()).expect("a file");
        }
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port");
        let server = Command::new(script)
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
    let chart = "../../charts/weir";
    let on = "metrics.serviceMonitor.enabled=true,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true";
    let answer = cluster.helm(&["template", "weir", chart, "-n", SYSTEM, "--set", on, "--kube-version", "1.34"]);
    assert!(answer.ok, "{}", answer.err);
    let documents = serde_yaml::Deserializer::from_str(&answer.out);
    documents.map(|document| Value::deserialize(document).expect("helm renders YAML")).collect()
}

/// Every port of every pod, as discovery by the role `pod` shows it.
fn pods(cluster: &Cluster) -> Value {
    let mut targets = Vec::new();
    for pod in list(cluster, "pods") {
        let Some(ip) = pod["status"]["podIP"].as_str() else { continue };
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        for port in containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()) {
            let mut labels = meta("pod", &pod["metadata"]);
            labels["__meta_kubernetes_pod_name"] = pod["metadata"]["name"].clone();
            labels["__meta_kubernetes_pod_container_port_name"] = port["name"].clone();
            targets.push(json!({ "targets": [format!("{ip}:{}", port["containerPort"])], "labels": labels }));
        }
    }
    Value::Array(targets)
}

/// Every port of every address behind a Service, as discovery by the role `endpoints` shows it.
fn endpoints(cluster: &Cluster) -> Value {
    let (services, mut targets) = (list(cluster, "services"), Vec::new());
    for slice in list(cluster, "endpointslices") {
        let place = (&slice["metadata"]["namespace"], &slice["metadata"]["labels"]["kubernetes.io/service-name"]);
        let service =
            services.iter().find(|found| (&found["metadata"]["namespace"], &found["metadata"]["name"]) == place);
        let Some(service) = service else { continue };
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            for port in slice["ports"].as_array().into_iter().flatten() {
                let mut labels = meta("service", &service["metadata"]);
                labels["__meta_kubernetes_pod_name"] = endpoint["targetRef"]["name"].clone();
                labels["__meta_kubernetes_endpoint_port_name"] = port["name"].clone();
                let address = endpoint["addresses"][0].as_str().expect("an endpoint has an address");
                targets.push(json!({ "targets": [format!("{address}:{}", port["port"])], "labels": labels }));
            }
        }
    }
    Value::Array(targets)
}

fn list(cluster: &Cluster, kind: &str) -> Vec<Value> {
    let text = cluster.must(&["get", kind, "-A", "-o", "json"]);
    let mut list: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    list["items"].as_array_mut().map(std::mem::take).unwrap_or_default()
}

fn meta(role: &str, metadata: &Value) -> Value {
    let mut labels = json!({ "__meta_kubernetes_namespace": metadata["namespace"] });
    for (name, value) in metadata["labels"].as_object().into_iter().flatten() {
        labels[label(role, name)] = value.clone();
    }
    labels
}

fn label(role: &str, name: &str) -> String {
    format!("__meta_kubernetes_{role}_label_{}", name.replace(['.', '/', '-'], "_"))
}

/// As the Prometheus operator turns a `PodMonitor` into a scrape configuration.
fn scrape_jobs(monitor: &Value, targets: &Path) -> Value {
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
    assert_eq!(monitor["spec"]["namespaceSelector"], json!({ "any": true }), "jobs of all namespaces are scraped");
    scrape("jobs", endpoint, relabel, targets)
}

/// As the Prometheus operator turns a `ServiceMonitor` into one.
fn scrape_operator(monitor: &Value, targets: &Path) -> Value {
    let endpoint = &monitor["spec"]["endpoints"][0];
    let mut relabel = selected("service", &monitor["spec"]["selector"]["matchLabels"]);
    relabel.push(keep("__meta_kubernetes_endpoint_port_name", &endpoint["port"]));
    relabel.extend(labelled(&["namespace", "pod"]));
    // Without a namespaceSelector it is the monitor's own namespace.
    relabel.push(keep("__meta_kubernetes_namespace", &monitor["metadata"]["namespace"]));
    scrape("operator", endpoint, relabel, targets)
}

fn scrape(job: &str, endpoint: &Value, relabel: Vec<Value>, targets: &Path) -> Value {
    json!({
        "job_name": job,
        "metrics_path": endpoint["path"],
        "honor_labels": endpoint["honorLabels"] == true,
        "file_sd_configs": [{ "files": [targets] }],
        "relabel_configs": relabel,
    })
}

fn selected(role: &str, labels: &Value) -> Vec<Value> {
    let labels = labels.as_object().into_iter().flatten();
    labels.map(|(name, value)| keep(&label(role, name), value)).collect()
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
