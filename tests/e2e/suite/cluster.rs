//! The cluster that the tests share: brought up by `tests/servers/kubernetes`, with the image in it, and taken away when dropped.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::command::{Answer, eventually, run};
use crate::ledger::Ledger;

/// Where pods reach this machine, and with it the ledger.
const HOST_ADDRESS: &str = "10.243.0.1";
/// The image that the tests build: the job of `tests/e2e/src`, in the place of `weir`.
pub const IMAGE: &str = "docker.io/weir/weir:e2e";

/// The operator's namespace.
pub const SYSTEM: &str = "weir-system";

/// The label of namespaces that belong to a test.
const OF_TEST: &str = "weir-e2e-test";

/// Why there is no cluster.
pub enum Unavailable {
    /// This machine cannot have one; the reason.
    Machine(String),
    /// It ought to be there and is not; the reason.
    Broken(String),
}

/// A running cluster.
pub struct Cluster {
    script: PathBuf,
    image_script: PathBuf,
    directory: PathBuf,
    take_away: bool,
    installed: OnceLock<Result<(), String>>,
    run: String,
    /// What pods write into.
    pub ledger: Ledger,
}

impl Cluster {
    /// Runs a command of the script that makes clusters.
    pub fn script(&self, arguments: &[&str]) -> Answer {
        run(&self.script, arguments, None)
    }

    /// Brings it up, or uses one that is up, and puts the image into it.
    pub fn up() -> Result<Self, Unavailable> {
        crate::ledger::check_the_oracle();
        let servers = Path::new("../servers");
        let (script, image_script) = (servers.join("kubernetes"), servers.join("image"));
        let was_up = run(&script, &["status"], None).ok;
        if !was_up {
            let answer = run(&script, &["up"], None);
            if !answer.ok {
                let reason =
                    answer.err.lines().find(|line| line.contains("this kernel lacks") || line.contains("needs root"));
                return Err(reason.map_or_else(
                    || Unavailable::Broken(format!("the cluster did not come up:\n{}", answer.err)),
                    |reason| Unavailable::Machine(reason.to_owned()),
                ));
            }
        }
        let directory = PathBuf::from(run(&script, &["path"], None).out.trim());
        let take_away = !was_up && std::env::var_os("WEIR_E2E_KEEP").is_none();
        let ledger = Ledger::serve(HOST_ADDRESS)
            .map_err(|error| Unavailable::Broken(format!("the ledger cannot be served on {HOST_ADDRESS}: {error}")));
        // From here on a failure takes the cluster away again.
        let cluster = Self {
            script,
            image_script,
            directory,
            take_away,
            installed: OnceLock::new(),
            run: run_id(),
            ledger: ledger?,
        };
        cluster.import_image().map_err(Unavailable::Broken)?;
        Ok(cluster)
    }

    /// Installs the operator, for the first test that needs it.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn operator(&self) {
        let installed = self.installed.get_or_init(|| self.install());
        if let Err(reason) = installed {
            panic!("there is no operator: {reason}");
        }
    }

    /// The chart, by helm, into a namespace that enforces `restricted`.
    pub fn install(&self) -> Result<(), String> {
        let chart = Path::new("../../charts/weir");
        let namespace = format!(
            "apiVersion: v1\nkind: Namespace\n\
             metadata: {{name: {SYSTEM}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}\n"
        );
        succeed(&run(&self.script, &["kubectl", "apply", "-f", "-"], Some(&namespace)), "making the namespace")?;
        let started = Instant::now();
        succeed(&self.upgrade_chart(chart, &[]), "installing the chart")?;
        println!("chart installed and its pods ready after {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Other values for the chart than those it was installed with; none to have those back. Waits for the operator's new pod.
    pub fn set_chart(&self, values: &[&str]) {
        let chart = Path::new("../../charts/weir");
        let answer = self.upgrade_chart(chart, values);
        assert!(answer.ok, "{}{}", answer.out, answer.err);
    }

    fn upgrade_chart(&self, chart: &Path, values: &[&str]) -> Answer {
        let values = [&["image.tag=e2e", "image.pullPolicy=Never"], values].concat().join(",");
        let chart = chart.display().to_string();
        let arguments =
            ["upgrade", "--install", "weir", &chart, "-n", SYSTEM, "--set", &values, "--wait", "--timeout", "120s"];
        self.helm(&arguments)
    }

    /// So many processes of the operator; waits until the others are gone.
    pub fn scale_operator(&self, replicas: u32) {
        self.must(&[
            "-n",
            SYSTEM,
            "scale",
            "deployment",
            "-l",
            "app.kubernetes.io/instance=weir",
            &format!("--replicas={replicas}"),
        ]);
        eventually("the operator is scaled", Duration::from_secs(60), || {
            let pods = self.must(&["-n", SYSTEM, "get", "pods", "-o", "name"]);
            if pods.lines().count() == replicas as usize { Ok(()) } else { Err(pods) }
        });
    }

    fn import_image(&self) -> Result<(), String> {
        let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
        let binaries = scratch.path().join("bin");
        std::fs::create_dir(&binaries).map_err(|error| error.to_string())?;
        let job = Path::new(env!("CARGO_BIN_EXE_weir-e2e-job"));
        link(job, &binaries.join("weir"))?;
        let operator = job.with_file_name("weir-operator");
        if operator.exists() {
            link(&operator, &binaries.join("weir-operator"))?;
        }
        let archive = scratch.path().join("weir.tar");
        let (from, to) = (binaries.display().to_string(), archive.display().to_string());
        succeed(&run(&self.image_script, &["build", &from, &to], None), "building the image")?;
        let size = succeed(&run(&self.image_script, &["size", &to], None), "measuring the image")?;
        println!("image: {} bytes compressed above its base", size.trim());
        succeed(&run(&self.script, &["import", &to], None), "importing the image").map(|_| ())
    }

    /// Where its logs are.
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Where everything of it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where in the bucket `weir` a namespace's jobs are kept: nowhere that an earlier run has been.
    pub fn prefix(&self, namespace: &str) -> String {
        format!("{}/{namespace}", self.run)
    }

    /// Runs kubectl.
    pub fn kubectl(&self, arguments: &[&str]) -> Answer {
        run(&self.script, &[&["kubectl"], arguments].concat(), None)
    }

    /// Runs helm.
    pub fn helm(&self, arguments: &[&str]) -> Answer {
        run(&self.script, &[&["helm"], arguments].concat(), None)
    }

    /// Runs kubectl with something on its standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Answer {
        run(&self.script, &[&["kubectl"], arguments].concat(), Some(input))
    }

    /// Runs kubectl, and panics with what it said if it fails.
    pub fn must(&self, arguments: &[&str]) -> String {
        let answer = self.kubectl(arguments);
        assert!(answer.ok, "kubectl {}: {}{}", arguments.join(" "), answer.out, answer.err);
        answer.out
    }

    /// An object as JSON; `Null` if there is none.
    pub fn get(&self, namespace: &str, kind_and_name: &str) -> Value {
        let answer = self.must(&["-n", namespace, "get", kind_and_name, "--ignore-not-found", "-o", "json"]);
        if answer.trim().is_empty() { Value::Null } else { serde_json::from_str(&answer).expect("kubectl prints JSON") }
    }

    /// `kubectl apply` of this manifest.
    pub fn apply(&self, manifest: &str) {
        let answer = run(&self.script, &["kubectl", "apply", "-f", "-"], Some(manifest));
        assert!(answer.ok, "{}{}\n{manifest}", answer.out, answer.err);
    }

    /// Runs a program on the node.
    pub fn inside(&self, arguments: &[&str]) -> Answer {
        run(&self.script, &[&["inside"], arguments].concat(), None)
    }

    /// Everything that containers of this namespace's pods have said, as the kubelet keeps it.
    pub fn pod_logs(&self, namespace: &str) -> String {
        let folder = self.directory.join("node/var/log/pods");
        let of_namespace = |file: &&PathBuf| {
            file.strip_prefix(&folder).is_ok_and(|rest| rest.to_string_lossy().starts_with(&format!("{namespace}_")))
        };
        let files = files(&folder);
        let texts = files.iter().filter(of_namespace).map(|file| std::fs::read(file).unwrap_or_default());
        texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    /// A fresh namespace that enforces `restricted`, with the credentials of the bucket.
    pub fn namespace(&self, name: &str) {
        self.must(&["delete", "namespace", name, "--ignore-not-found", "--wait=true"]);
        self.apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted, {OF_TEST}: \"\"}}}}\n\
             ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: weir-s3, namespace: {name}}}\n\
             stringData: {{AWS_ACCESS_KEY_ID: weir, AWS_SECRET_ACCESS_KEY: weir-secret}}\n"
        ));
        eventually("the namespace's service account", Duration::from_secs(30), || {
            let found = self.get(name, "serviceaccount/default");
            if found.is_null() { Err("none yet".to_owned()) } else { Ok(()) }
        });
    }

    /// Removes what a test that failed has left, so that the next one has its room.
    pub fn clear(&self) {
        self.kubectl(&["delete", "namespace", "-l", OF_TEST, "--wait=true", "--timeout=120s"]);
    }

    /// Writes down what the API server knows, beside the components' logs.
    pub fn keep_evidence(&self, test: &str) {
        let directory = self.logs().join(test.replace("::", "-"));
        let _ = std::fs::create_dir_all(&directory);
        for (file, arguments) in [
            ("objects.yaml", &["get", "pods,statefulsets,services,configmaps,events", "-A", "-o", "yaml"][..]),
            ("streamjobs.yaml", &["get", "streamjobs", "-A", "-o", "yaml"]),
            ("events.txt", &["get", "events", "-A", "--sort-by=.lastTimestamp"]),
            ("pods.txt", &["get", "pods", "-A", "-o", "wide"]),
        ] {
            let _ = std::fs::write(directory.join(file), self.kubectl(arguments).out);
        }
        let pods = self.directory.join("node/var/log/pods");
        let _ = run(Path::new("cp"), &["-r", &pods.display().to_string(), &directory.display().to_string()], None);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.take_away {
            let answer = run(&self.script, &["down"], None);
            assert!(answer.ok, "the cluster did not go down:\n{}", answer.err);
        }
    }
}

fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("run-{}", now.as_secs())
}

fn link(from: &Path, to: &Path) -> Result<(), String> {
    std::os::unix::fs::symlink(from, to).map_err(|error| format!("{}: {error}", to.display()))
}

fn succeed(answer: &Answer, what: &str) -> Result<String, String> {
    if answer.ok { Ok(answer.out.clone()) } else { Err(format!("{what} failed:\n{}{}", answer.out, answer.err)) }
}

/// All files below a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
