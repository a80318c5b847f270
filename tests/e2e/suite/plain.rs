//! Without the operator: `weir run` in a pod that a StatefulSet brings back, so that image, cluster and ledger are proven by themselves.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, IMAGE};
use crate::command::eventually;

const NAMESPACE: &str = "plain";
const KILLS: u32 = 3;
const KEYS: u64 = 1_000;
const NUMBERS: u64 = 60_000;

pub fn kills(cluster: &Cluster) {
    cluster.namespace(NAMESPACE);
    cluster.apply(&manifests(&cluster.ledger.address(), &cluster.prefix(NAMESPACE)));
    let lines = || cluster.ledger.lines(NAMESPACE);
    let generation = || cluster.ledger.generation(NAMESPACE);
    for _ in 0..KILLS {
        let before = lines();
        eventually("output is committed", Duration::from_secs(60), || {
            if lines() > before { Ok(()) } else { Err(format!("{before} lines")) }
        });
        let (before, fault) = (generation(), Instant::now());
        cluster.must(&["-n", NAMESPACE, "delete", "pod", "ledger-0", "--grace-period=0", "--force"]);
        eventually("output of a newer generation is committed", Duration::from_secs(60), || {
            if generation() > before { Ok(()) } else { Err(format!("generation {before}")) }
        });
        println!("  kill to the next commit: {:.1} s", fault.elapsed().as_secs_f64());
    }
    eventually("all output is committed", Duration::from_secs(180), || {
        let found = lines();
        if found >= NUMBERS { Ok(()) } else { Err(format!("{found} of {NUMBERS} lines")) }
    });
    let verdict = cluster.ledger.judge(NAMESPACE, KEYS);
    assert_eq!((verdict.end, verdict.lost, verdict.doubled, verdict.miscounted), (NUMBERS, 0, 0, 0), "{verdict:?}");
    cluster.must(&["delete", "namespace", NAMESPACE, "--wait=true", "--timeout=60s"]);
}

fn manifests(ledger: &str, prefix: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{name: job, namespace: {NAMESPACE}}}
data:
  job.yaml: |
    apiVersion: weir.dev/v1alpha1
    kind: StreamJob
    metadata: {{name: ledger}}
    spec:
      job: ledger
      args: {{ledger: "{ledger}", book: {NAMESPACE}, end: {NUMBERS}, rate: 2000, keys: {KEYS}}}
      worker: {{slots: 2, memory: 256Mi}}
      storage: {{uri: "s3://weir/{prefix}", endpoint: "http://minio.storage:9000"}}
      checkpoint: {{interval: 1s}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: ledger, namespace: {NAMESPACE}}}
spec:
  serviceName: ledger
  selector: {{matchLabels: {{app: ledger}}}}
  template:
    metadata: {{labels: {{app: ledger}}}}
    spec:
      automountServiceAccountToken: false
      securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
      containers:
      - name: weir
        image: {IMAGE}
        imagePullPolicy: Never
        # A container that ends is started again; a job that has finished only says so.
        command: [sh, -c, "weir run /etc/weir/job/job.yaml --work-dir /var/lib/weir && sleep infinity"]
        envFrom: [{{secretRef: {{name: weir-s3}}}}]
        resources: {{limits: {{memory: 400Mi, cpu: "1"}}}}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities: {{drop: [ALL]}}
        volumeMounts:
        - {{name: job, mountPath: /etc/weir/job}}
        - {{name: local, mountPath: /var/lib/weir}}
        - {{name: tmp, mountPath: /tmp}}
      volumes:
      - {{name: job, configMap: {{name: job}}}}
      - {{name: local, emptyDir: {{sizeLimit: 1Gi}}}}
      - {{name: tmp, emptyDir: {{sizeLimit: 100Mi}}}}
"#
    )
}
