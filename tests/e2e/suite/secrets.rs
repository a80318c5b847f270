//! Values of Secrets are nowhere but in Secrets: not in what is logged, said, served, stored, or visible of a process.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::cluster::{Cluster, SYSTEM};
use crate::command::eventually;
use crate::job::{Job, PATIENCE};

/// What nobody else would write.
const TOKEN: &str = "canary-token-7f3a1c";
const ACCESS_KEY: &str = "AKIACANARY5D20EB";
const SECRET_KEY: &str = "canary+secret/key98b4e2";
const PASSWORD: &str = "canary-password-51d7aa";
/// Shorter pieces are found everywhere.
const SHORTEST: usize = 8;

/// One job that uses its Secrets and goes through most of its life, one whose credentials the bucket refuses; both talk as much as they
/// can. Then everything that can be read is read.
pub fn kept(cluster: &Cluster) {
    let mut job = Job::ledger(cluster, "secrets", None);
    secrets(cluster);
    job.set("deletionPolicy", json!("Delete"));
    job.set(
        "pod",
        json!({ "imagePullSecrets": ["registry"], "env": [
        { "name": "TOKEN", "secretName": "canary", "key": "token" },
        { "name": "RUST_LOG", "secretName": "canary", "key": "level" },
    ] }),
    );
    let mut refused = job.beside("refused");
    // With credentials that are refused nothing could delete what it never stored.
    refused.set("deletionPolicy", json!("Retain"));
    refused.set_storage("credentials", json!({ "secretName": "wrong" }));
    job.apply();
    refused.apply();
    job.await_state("Running");
    job.await_recovery(|| job.kill_pod());
    job.await_recovery(|| job.patch(&json!({ "args": { "rate": 1_000 }, "savepoint": { "name": "one", "nonce": 1 } })));
    job.await_state("Running");
    eventually("the bucket refuses the other job", PATIENCE, || {
        let said = cluster.pod_logs("secrets");
        if said.contains("InvalidAccessKeyId") { Ok(()) } else { Err(format!("{} bytes are logged", said.len())) }
    });
    let hidden = hidden(cluster);
    println!("  {} values looked for", hidden.len());
    let everywhere = everywhere(cluster, &job);
    for (place, text) in &everywhere {
        let found: Vec<&String> = hidden.iter().filter(|value| text.contains(value.as_str())).collect();
        assert!(found.is_empty(), "in {place}: {found:?}\n{}", around(text, found[0]));
    }
    let bytes: usize = everywhere.iter().map(|(_, text)| text.len()).sum();
    println!("  {} places, {bytes} bytes", everywhere.len());
    refused.delete();
    job.delete();
    let said = cluster.pod_logs("secrets");
    let found: Vec<&String> = hidden.iter().filter(|value| said.contains(value.as_str())).collect();
    assert!(found.is_empty(), "in what the pods said last: {found:?}");
    job.clean_up();
}

fn secrets(cluster: &Cluster) {
    let registry = json!({ "auths": { "registry.example": { "username": "weir", "password": PASSWORD } } }).to_string();
    let secret = |name: &str, kind: &str, data: Value| {
        let metadata = json!({ "name": name, "namespace": "secrets" });
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data })
    };
    for object in [
        secret("canary", "Opaque", json!({ "token": TOKEN, "level": "debug" })),
        secret("wrong", "Opaque", json!({ "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY })),
        secret("registry", "kubernetes.io/dockerconfigjson", json!({ ".dockerconfigjson": registry })),
    ] {
        cluster.apply(&object.to_string());
    }
}

/// What every Secret of Weir's namespaces holds, as it is and as the API server writes it; certificates are not secret.
fn hidden(cluster: &Cluster) -> BTreeSet<String> {
    let mut hidden = BTreeSet::new();
    for namespace in ["secrets", SYSTEM] {
        let template = "{{range .items}}{{if ne .type \"helm.sh/release.v1\"}}{{range $key, $value := .data}}\
                        KEY {{$key}}\n{{$value}}\n{{base64decode $value}}\n{{end}}{{end}}{{end}}";
        let text = cluster.must(&["-n", namespace, "get", "secrets", "-o", &format!("go-template={template}")]);
        let mut public = false;
        for line in text.lines() {
            if let Some(key) = line.strip_prefix("KEY ") {
                public = key.ends_with(".crt");
            } else if !public && line.len() >= SHORTEST && !line.starts_with("-----") {
                hidden.insert(line.to_owned());
            }
        }
    }
    hidden.insert(PASSWORD.to_owned());
    for canary in [TOKEN, ACCESS_KEY, SECRET_KEY, "weir-secret"] {
        assert!(hidden.contains(canary), "{canary} is not among {} values", hidden.len());
    }
    // Of the operator's authority and of at least one job.
    assert!(
        hidden.iter().filter(|value| value.starts_with("MIG")).count() >= 2,
        "no private keys are among the values"
    );
    hidden
}

/// Everything that can be read, with where it is.
fn everywhere(cluster: &Cluster, job: &Job<'_>) -> Vec<(String, String)> {
    let mut places = Vec::new();
    for namespace in ["secrets", SYSTEM] {
        let said = cluster.pod_logs(namespace);
        assert!(
            said.contains("\"level\":\"DEBUG\"") || said.contains(" DEBUG ") || namespace == SYSTEM,
            "no debug log is there"
        );
        assert!(!said.is_empty(), "nothing is logged in {namespace}");
        places.push((format!("the logs of {namespace}"), said));
    }
    let kinds = cluster.must(&["api-resources", "--verbs=list", "-o", "name"]);
    let kinds: Vec<&str> = kinds.lines().filter(|kind| *kind != "secrets").collect();
    assert!(
        kinds.contains(&"configmaps") && kinds.contains(&"events") && kinds.contains(&"streamjobs.weir.dev"),
        "{kinds:?}"
    );
    places.push(("the API server's objects".to_owned(), cluster.must(&["get", &kinds.join(","), "-A", "-o", "yaml"])));
    let processes = cluster.inside(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'"]).out;
    assert!(processes.contains("worker"), "{processes}");
    places.push(("command lines".to_owned(), processes));
    let operators = cluster.must(&["-n", SYSTEM, "get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
    let worker = job.pod()["status"]["podIP"].as_str().expect("it has an address").to_owned();
    let ports = operators.split(' ').map(|ip| (ip.to_owned(), 8080)).chain([(worker.clone(), 9464)]);
    for (ip, port) in ports {
        let served = served(&ip, port, "/metrics").unwrap_or_else(|error| panic!("{ip}:{port}: {error}"));
        assert!(served.contains(" 200 "), "{served}");
        places.push((format!("the metrics of port {port}"), served));
    }
    let status = served(&worker, 9464, "/status").unwrap_or_else(|error| panic!("{worker}: {error}"));
    assert!(status.contains(" 404 "), "a worker's status is for those who may call it: {status}");
    places.push(("what is stored".to_owned(), job.stored_text()));
    places
}

fn served(ip: &str, port: u16, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect((ip, port))?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {ip}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The line that a value is in.
fn around<'a>(text: &'a str, value: &str) -> &'a str {
    text.lines().find(|line| line.contains(value)).unwrap_or_default()
}
