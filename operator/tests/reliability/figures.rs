//! What the operator costs: the figures of the documentation, measured on the process as it is shipped.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::life::spec;
use crate::on_stage;
use crate::operator::Operator;
use crate::scene::{Scene, Stage};

/// How long a thousand jobs may take to settle at first, on a machine that does other things too.
const SETTLE_LIMIT: Duration = Duration::from_secs(1500);
const MIB: u64 = 1024;

/// How long the steady state is watched.
fn watched() -> Duration {
    let minutes = std::env::var("WEIR_OPERATOR_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    Duration::from_secs(60 * minutes)
}

fn jobs(namespace: &str) -> String {
    format!("/apis/weir.dev/v1alpha1/namespaces/{namespace}/streamjobs")
}

async fn create(stage: &'static Stage, namespace: &str, count: usize, state: &str) {
    let mut spec = spec();
    spec["desiredState"] = json!(state);
    let created = futures::stream::iter(0..count).map(|number| {
        let job = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "StreamJob",
            "metadata": { "name": format!("q-{number}") }, "spec": spec,
        });
        async move { stage.server.post(&jobs(namespace), &job).await }
    });
    created.buffer_unordered(8).for_each(async |_| ()).await;
}

/// Waits until so many jobs are in this state.
async fn await_state(stage: &'static Stage, namespace: &str, count: usize, state: &str) -> Duration {
    let started = Instant::now();
    loop {
        let request = http::Request::get(jobs(namespace)).body(Vec::new()).unwrap();
        let list: Value = stage.server.admin.request(request).await.unwrap();
        let there = list["items"].as_array().unwrap().iter().filter(|job| job["status"]["state"] == state).count();
        if there == count {
            return started.elapsed();
        }
        assert!(started.elapsed() < SETTLE_LIMIT, "{there} of {count} jobs are {state}");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Looks at jobs that this operator has finished, as its metrics say.
async fn looks(address: &str) -> u64 {
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else { return 0 };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let asked = stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").await;
    let mut text = String::new();
    if asked.is_err() || stream.read_to_string(&mut text).await.is_err() {
        return 0;
    }
    let lines = text.lines().filter(|line| line.starts_with("weir_operator_reconciles_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() as u64
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn start(scene: &Scene) -> Operator {
    Operator::start_as_shipped(&scene.launch)
}

/// Ends an operator as Kubernetes does.
async fn end(mut operator: Operator) {
    operator.signal(Signal::TERM);
    while !operator.has_ended() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
#[ignore = "long form: figures of 1000 suspended jobs"]
fn a_thousand_suspended_jobs_cost_little() {
    const JOBS: usize = 1000;
    on_stage(async |stage| {
        let mut scene = Scene::new(stage, "figures-suspended").await;
        scene.launch.http = free_address();
        create(stage, &scene.namespace, JOBS, "Suspended").await;
        let first = start(&scene);
        let settled = await_state(stage, &scene.namespace, JOBS, "Suspended").await;
        println!(
            "first sight of {JOBS} suspended jobs: {:.1} s, {} writes",
            settled.as_secs_f64(),
            scene.proxy.writes()
        );
        println!("  RSS {:.1} MiB, at most {:.1} MiB", mib(&first, "VmRSS"), mib(&first, "VmHWM"));
        end(first).await;

        let started = Instant::now();
        let operator = start(&scene);
        while looks(&scene.launch.http).await < JOBS as u64 {
            assert!(started.elapsed() < SETTLE_LIMIT);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let resync = started.elapsed();
        println!(
            "start-up: every job looked at after {:.1} s; CPU {} ms",
            resync.as_secs_f64(),
            operator.cpu_ticks() * 10
        );
        // What a start-up writes (nothing, but for status that was under way) is written by now.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let Steady { writes, millicores, rss, .. } = watch(&scene, &operator).await;
        assert_eq!(writes, 0, "{:?}", scene.proxy.log());
        assert!(resync <= Duration::from_secs(30), "resync {resync:?}");
        assert!(millicores <= 5.0, "{millicores} mcore");
        assert!(rss <= 40.0, "RSS {rss} MiB");
    });
}

#[test]
#[ignore = "long form: figures of 200 running jobs"]
fn two_hundred_running_jobs_cost_little() {
    const JOBS: usize = 200;
    on_stage(async |stage| {
        let mut scene = Scene::new(stage, "figures-running").await;
        scene.launch.http = free_address();
        create(stage, &scene.namespace, JOBS, "Running").await;
        let operator = start(&scene);
        let settled = await_state(stage, &scene.namespace, JOBS, "Running").await;
        println!("{JOBS} jobs run after {:.1} s, {} writes", settled.as_secs_f64(), scene.proxy.writes());
        tokio::time::sleep(Duration::from_secs(30)).await;
        let Steady { writes, seconds, rss, .. } = watch(&scene, &operator).await;
        let writes = writes as f64 / seconds;
        println!("  {writes:.1} writes/s");
        let mut delays = Vec::new();
        for number in 0..20 {
            let before = scene.proxy.log().len();
            let api: kube::Api<weir_api::StreamJob> =
                kube::Api::namespaced(stage.server.admin.clone(), &scene.namespace);
            let patch = kube::api::Patch::Merge(json!({ "spec": { "args": { "events": 1000 + number } } }));
            let asked = Instant::now();
            api.patch(&format!("q-{number}"), &kube::api::PatchParams::default(), &patch).await.unwrap();
            let at = loop {
                if let Some(at) = scene.proxy.first_write(before, "/configmaps") {
                    break at;
                }
                assert!(asked.elapsed() < Duration::from_secs(60), "nothing is done about a changed spec");
                tokio::time::sleep(Duration::from_millis(10)).await;
            };
            delays.push(at.saturating_duration_since(asked).as_millis());
        }
        delays.sort_unstable();
        println!("spec change to first action: median {} ms, longest {} ms", delays[10], delays[19]);
        assert!(writes <= 25.0, "{writes} writes/s");
        assert!(rss <= 60.0, "RSS {rss} MiB");
        assert!(delays[19] <= 500, "{delays:?}");
    });
}

/// What an operator does while nothing is changed.
struct Steady {
    /// Besides the Lease.
    writes: u64,
    seconds: f64,
    millicores: f64,
    /// In MiB.
    rss: f64,
}

async fn watch(scene: &Scene, operator: &Operator) -> Steady {
    scene.proxy.arm(None);
    let (ticks, began) = (operator.cpu_ticks(), Instant::now());
    tokio::time::sleep(watched()).await;
    let seconds = began.elapsed().as_secs_f64();
    let millicores = (operator.cpu_ticks() - ticks) as f64 * 10.0 / seconds;
    let writes = scene.proxy.writes();
    let (rss, peak) = (mib(operator, "VmRSS"), mib(operator, "VmHWM"));
    println!("steady for {:?}: {writes} writes besides the Lease, {millicores:.1} mcore", watched());
    println!("  RSS {rss:.1} MiB, at most {peak:.1} MiB");
    Steady { writes, seconds, millicores, rss }
}

fn mib(operator: &Operator, key: &str) -> f64 {
    operator.status_kib(key) as f64 / MIB as f64
}
