//! A bucket behind a proxy that breaks requests, and one that is not there for a while.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::Runtime;
use weir_storage::testing::{FaultKind, FaultPlan, FaultProxy, TestServer};

use crate::job::{FINISH, FULL_SPEED, Job, Place, Plan};
use crate::process::Running;
use crate::random::{Random, number};

/// How soon after an outage the next checkpoint must be complete.
const BACK: Duration = Duration::from_secs(30);

/// A MinIO server of one's own.
pub struct Bucket {
    server: TestServer,
    runtime: Runtime,
}

impl Bucket {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(TestServer::minio());
        Self { server, runtime }
    }

    /// A folder in it.
    pub fn place(&self, folder: &str) -> Place {
        self.place_through(folder, self.server.endpoint())
    }

    /// The job reaches it through `endpoint`, the test goes straight to it.
    fn place_through(&self, folder: &str, endpoint: String) -> Place {
        Place::Bucket { uri: self.server.uri(folder), endpoint, options: Box::new(self.server.options()) }
    }

    fn proxy(&self) -> FaultProxy {
        self.runtime.block_on(FaultProxy::start(self.server.address(), FaultPlan::none())).unwrap()
    }
}

/// All kinds together at `rate`. In the short form timeouts are rarer and waits shorter, or nothing else would happen.
fn plan(seed: u64, rate: f64, long: bool) -> FaultPlan {
    let mut plan = FaultPlan::all_kinds(seed, rate);
    if !long {
        plan.latency = Duration::from_millis(300);
        plan.hold = Duration::from_secs(2);
        for kind in [FaultKind::TimeoutBefore, FaultKind::TimeoutAfter] {
            plan.rates.insert(kind, rate / 60.0);
        }
    }
    plan
}

fn failed(status: &Value) -> u64 {
    status["failed"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
}

/// No restart, and nothing that looks like one.
fn assert_undisturbed(running: &Running, status: &Value) {
    assert_eq!(status["restart_count"], 0, "{}\n{}", status["restarts"], running.log());
    assert_eq!(status["generation"], 1, "{}", running.log());
}

#[test]
fn faults_of_the_bucket_and_an_outage_restart_nothing_and_lose_nothing() {
    let mut random = Random::shown("faults");
    let faults = number("WEIR_CHAOS_FAULTS", 40);
    let outage = Duration::from_secs(number("WEIR_CHAOS_OUTAGE", 20));
    let long = faults >= 1000;
    let bucket = Bucket::start();
    let proxy = bucket.proxy();
    let place = bucket.place_through("faults", proxy.endpoint());
    // Slow enough to last for as long as it takes; the input is not used up by the job, only by the end of the test.
    let plan_of_job = Plan {
        rows: 1,
        fields: vec![("restart.budget", 0.into())],
        ..Plan::seconds(number("WEIR_CHAOS_SECONDS", 900))
    };
    let job = Job::new(&Plan { lines: plan_of_job.lines / 20, ..plan_of_job }, &place, &mut random);
    let mut running = job.start::<&str>("work", &[]);
    running.until_checkpoints(2, BACK);

    for (share, rate) in [(3, 0.01), (3, 0.1), (1, 0.3)] {
        proxy.set_plan(plan(random.next(), rate, long));
        let enough = faults / share;
        let began = Instant::now();
        let status = running.until("enough faults", Duration::from_secs(7200), |_| {
            std::thread::sleep(Duration::from_millis(50));
            proxy.counts().total() >= enough || (rate < 0.05 && began.elapsed() > Duration::from_secs(10 + faults / 20))
        });
        println!(
            "at {rate}: {} faults in {:?}, {} checkpoints completed, {} failed",
            proxy.counts().total(),
            began.elapsed(),
            status["completed"],
            failed(&status)
        );
        assert_undisturbed(&running, &status);
    }
    proxy.set_plan(FaultPlan::none());
    running.until_checkpoints(2, BACK);
    let counts = proxy.counts();
    println!(
        "{} requests, {} faults, {} ambiguous: {:?}",
        counts.requests,
        counts.total(),
        counts.ambiguous,
        counts.faults
    );

    proxy.set_outage(true);
    let before = running.status().unwrap();
    std::thread::sleep(outage);
    let during = running.status().unwrap();
    assert_undisturbed(&running, &during);
    assert!(
        during["completed"].as_u64().unwrap() <= before["completed"].as_u64().unwrap() + 1,
        "nothing completes in an outage"
    );
    proxy.set_outage(false);
    let back = Instant::now();
    let completed = during["completed"].as_u64().unwrap();
    let status = running
        .until("a checkpoint after the outage", BACK, |status| status["completed"].as_u64().unwrap() > completed);
    println!("outage of {outage:?}: next checkpoint {:?} after it; {} failed so far", back.elapsed(), failed(&status));
    assert_undisturbed(&running, &status);
    job.judge_running();

    // What the faults left behind is what a restore finds.
    running.kill();
    job.start("elsewhere", &FULL_SPEED).finish(FINISH);
    job.judge_finished();
    let heaps = job.store().heaps();
    println!("{heaps:?}");
    assert_eq!(heaps.open_uploads, 0);
}

#[test]
fn a_slow_bucket_slows_checkpoints_and_nothing_else() {
    let mut random = Random::shown("slow bucket");
    let bucket = Bucket::start();
    let proxy = bucket.proxy();
    let job = Job::new(&Plan::seconds(20), &bucket.place_through("slow", proxy.endpoint()), &mut random);
    let mut running = job.start::<&str>("work", &[]);
    running.until_checkpoints(2, BACK);
    let rates = [(FaultKind::Latency, 1.0)].into();
    proxy.set_plan(FaultPlan { rates, latency: Duration::from_millis(1500), ..FaultPlan::none() });
    let status = running.until_checkpoints(2, FINISH);
    assert_undisturbed(&running, &status);
    proxy.set_plan(FaultPlan::none());
    running.until_checkpoints(2, BACK);
    running.finish(FINISH);
    job.judge_finished();
}
