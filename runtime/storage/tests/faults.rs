//! The S3 store before a MinIO whose answers get lost, cut, delayed and made up.
//!
//! The seed of the random tests is `WEIR_SEED`, or fixed; it is printed when a test fails.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::OnceCell;
use weir_storage::testing::{FaultCounts, FaultKind, FaultPlan, FaultProxy, TestServer};
use weir_storage::{
    Confirmed, Created, Effect, ObjectStore, Operation, Retry, StoreError, StoreErrorKind, StoreOptions,
    create_confirmed, open,
};

static MINIO: OnceCell<TestServer> = OnceCell::const_new();

fn seed() -> u64 {
    let seed = std::env::var("WEIR_SEED").ok().map_or(20_261_120, |seed| seed.parse().expect("WEIR_SEED is a number"));
    eprintln!("to repeat: WEIR_SEED={seed} cargo test --release -p weir-storage --test faults");
    seed
}

/// A bed of one test: a proxy before the common server, the store seen through it, and the store seen past it.
struct Bed {
    proxy: FaultProxy,
    store: Arc<dyn ObjectStore>,
    truth: Arc<dyn ObjectStore>,
}

async fn bed(folder: &str, adjust: impl FnOnce(StoreOptions) -> StoreOptions) -> Bed {
    let server = MINIO.get_or_init(TestServer::minio).await;
    let proxy = FaultProxy::start(server.address(), FaultPlan::none()).await.unwrap();
    let options = StoreOptions {
        attempt_timeout: Duration::from_millis(400),
        operation_timeout: Duration::from_secs(30),
        max_attempts: 30,
        first_backoff: Duration::from_millis(5),
        max_backoff: Duration::from_millis(100),
        multipart_threshold: 5 << 20,
        part_size: 5 << 20,
        ..server.options_at(proxy.endpoint())
    };
    let store = open(&server.uri(folder), &adjust(options)).await.unwrap();
    Bed { proxy, store, truth: server.store(folder).await }
}

/// One attempt per call, so that each fault is seen as it is.
async fn bare_bed(folder: &str) -> Bed {
    bed(folder, |options| StoreOptions { max_attempts: 1, ..options }).await
}

/// Latency beyond the attempt's bound: late, not lost.
fn plan(seed: u64, rate: f64) -> FaultPlan {
    FaultPlan { latency: Duration::from_millis(600), hold: Duration::from_secs(2), ..FaultPlan::all_kinds(seed, rate) }
}

fn text(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn without_faults_the_proxy_is_invisible() {
    let bed = bed("invisible", |options| StoreOptions { attempt_timeout: Duration::from_secs(20), ..options }).await;
    let scale = weir_storage::conformance::Scale {
        race_rounds: 5,
        listed_objects: 1100,
        file_lengths: vec![0, 1000, 11 << 20],
    };
    weir_storage::conformance::check_all(bed.store, &scale).await;
    let counts = bed.proxy.counts();
    assert!(counts.requests > 1000 && counts.total() == 0, "{counts:?}");
}

#[tokio::test]
async fn each_fault_on_a_create_says_what_is_known_of_it() {
    use Effect::MaybeDone;
    use StoreErrorKind as Kind;
    let bed = bare_bed("each-create").await;
    bed.proxy.set_plan(FaultPlan { latency: Duration::from_millis(50), ..FaultPlan::none() });
    for (fault, kinds, landed) in [
        (FaultKind::Status500, &[Kind::Other][..], false),
        (FaultKind::Status503, &[Kind::Throttled], false),
        (FaultKind::Status429, &[Kind::Throttled], false),
        (FaultKind::Status409, &[Kind::Conflict], false),
        (FaultKind::Status500After, &[Kind::Other], true),
        (FaultKind::TimeoutBefore, &[Kind::Timeout], false),
        (FaultKind::TimeoutAfter, &[Kind::Timeout], true),
        (FaultKind::ResetBefore, &[Kind::Unreachable], false),
        (FaultKind::ResetAfter, &[Kind::Unreachable], true),
        (FaultKind::TruncatedBody, &[Kind::Unreachable], true),
        (FaultKind::WrongLength, &[Kind::Unreachable], true),
    ] {
        let key = format!("{fault:?}");
        bed.proxy.script(fault);
        let error = bed.store.create(&key, text("mine")).await.expect_err(&key);
        assert!(kinds.contains(&error.kind), "{fault:?}: {error:?}");
        assert_eq!(
            (error.retry, error.effect, error.operation),
            (Retry::Yes, MaybeDone, Operation::Create),
            "{fault:?}: {error:?}"
        );
        assert_eq!(bed.truth.head(&key).await.unwrap().is_some(), landed, "{fault:?}");
        let again = bed.store.create(&key, text("mine")).await.unwrap();
        assert_eq!(again, if landed { Created::Exists } else { Created::Done }, "{fault:?}");
        assert_eq!(bed.store.get(&key).await.unwrap(), text("mine"), "{fault:?}");
    }
    bed.proxy.script(FaultKind::Latency);
    assert_eq!(bed.store.create("latency", text("mine")).await.unwrap(), Created::Done);
    assert_eq!(bed.proxy.counts().ambiguous, 5);
}

#[tokio::test]
async fn a_failed_condition_is_never_mistaken_under_faults_that_come_after_it() {
    // The object of another is there; whatever happens to the answer, the create is never reported as done.
    let bed = bare_bed("lost-create").await;
    bed.truth.put("k", text("theirs")).await.unwrap();
    for fault in FaultKind::ALL {
        bed.proxy.script(fault);
        match bed.store.create("k", text("mine")).await {
            Ok(created) => assert_eq!(created, Created::Exists, "{fault:?}"),
            Err(error) => assert_eq!(error.effect, Effect::MaybeDone, "{fault:?}: {error:?}"),
        }
    }
    assert_eq!(bed.truth.get("k").await.unwrap(), text("theirs"));
    assert_eq!(bed.proxy.counts().ambiguous, 0, "a refused create changes nothing");
}

#[tokio::test]
async fn a_read_that_was_damaged_on_the_way_is_never_returned() {
    let bed = bare_bed("each-read").await;
    let body: Bytes = (0..100_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>().into();
    bed.truth.put("k", body.clone()).await.unwrap();
    bed.truth.put("empty", Bytes::new()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("file");
    for fault in FaultKind::ALL {
        if fault == FaultKind::Latency {
            continue;
        }
        meets(&bed, fault, "get('k')", async || bed.store.get("k").await.map(drop)).await;
        meets(&bed, fault, "get('empty')", async || bed.store.get("empty").await.map(drop)).await;
        meets(&bed, fault, "get_range('k', 1000..2000)", async || bed.store.get_range("k", 1000..2000).await.map(drop))
            .await;
        meets(&bed, fault, "head('k')", async || bed.store.head("k").await.map(drop)).await;
        meets(&bed, fault, "list('', None)", async || bed.store.list("", None).await.map(drop)).await;
        meets(&bed, fault, "get_file", async || match (fault, bed.store.get_file("k", &to).await) {
            // A file is fetched anew when its bytes are wrong.
            (FaultKind::WrongLength, Ok(length)) => {
                assert_eq!(length, body.len() as u64);
                Err(StoreError::new(Operation::GetFile, "k", "s3", StoreErrorKind::Corrupt, "fetched anew"))
            }
            (_, result) => result.map(drop),
        })
        .await;
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            usize::from(to.exists()),
            "{fault:?} leaves no part behind"
        );
    }
    assert_eq!(bed.store.get("k").await.unwrap(), body);
}

/// Calls until the fault was met: on a busy machine an attempt may time out before its request is read.
async fn meets(bed: &Bed, fault: FaultKind, name: &str, call: impl AsyncFn() -> Result<(), StoreError>) {
    let before = bed.proxy.counts().total();
    bed.proxy.script(fault);
    loop {
        let outcome = call().await;
        if bed.proxy.counts().total() > before {
            return check_read(fault, name, outcome);
        }
    }
}

fn check_read(fault: FaultKind, call: &str, outcome: Result<(), StoreError>) {
    let error = outcome.expect_err(&format!("{fault:?} on {call}"));
    assert_eq!(error.effect, Effect::NotDone, "{fault:?}: a read changes nothing: {error:?}");
    // Damage that the only attempt met counts as the store's.
    let damaged = fault == FaultKind::WrongLength && error.kind == StoreErrorKind::Corrupt;
    assert!(error.can_retry() || damaged, "{fault:?}: {error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_create_that_landed_is_never_reported_as_lost_at_10_percent() {
    contested_creates("creates-10", 0.10, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_create_that_landed_is_never_reported_as_lost_at_30_percent() {
    contested_creates("creates-30", 0.30, 300).await;
}

/// Three writers contest each of many names through the proxy; afterwards the server itself is asked who won.
async fn contested_creates(folder: &str, rate: f64, names: usize) {
    const WRITERS: usize = 3;
    let bed = bed(folder, |options| options).await;
    bed.proxy.set_plan(plan(seed(), rate));
    let attempts = (0..names * WRITERS).map(|attempt| {
        let store = bed.store.clone();
        tokio::spawn(async move {
            let (key, body) = (format!("{:05}", attempt / WRITERS), text(format!("writer {}", attempt % WRITERS)));
            let confirmed = create_confirmed(&*store, &key, body.clone(), Duration::from_secs(60)).await;
            (key, body, confirmed.unwrap_or_else(|error| panic!("{error:?}")))
        })
    });
    let outcomes: Vec<_> =
        futures::stream::iter(attempts).buffer_unordered(16).map(|outcome| outcome.unwrap()).collect().await;
    let mut owners: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut losers = Vec::new();
    for (key, body, confirmed) in outcomes {
        match confirmed {
            Confirmed::Ours => assert_eq!(owners.insert(key.clone(), body), None, "{key} has two owners"),
            Confirmed::Other(other) => losers.push((key, body, other)),
        }
    }
    assert_eq!(owners.len(), names, "every name has an owner who knows");
    for (key, body, other) in losers {
        assert_ne!(body, other, "{key}: our own bytes were taken for another's");
        assert_eq!(owners[&key], other, "{key}");
    }
    for (key, body) in &owners {
        assert_eq!(bed.truth.get(key).await.unwrap(), body, "{key}");
    }
    let counts = bed.proxy.counts();
    report(folder, &counts);
    let (expected, ambiguous) = (counts.requests as f64 * rate * 0.7, names as f64 * rate * 0.1);
    let worked = counts.total() as f64 > expected && counts.ambiguous as f64 > ambiguous;
    assert!(worked, "the proxy did its work: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_else_works_through_30_percent_faults() {
    let bed = bed("mixed", |options| options).await;
    bed.proxy.set_plan(plan(seed() + 1, 0.30));
    let folder = tempfile::tempdir().unwrap();
    let tasks: Vec<_> = (0..8u64)
        .map(|task| {
            let (store, folder) = (bed.store.clone(), folder.path().to_owned());
            tokio::spawn(async move { mixed_work(&*store, &folder, task).await })
        })
        .collect();
    let mut kept = BTreeSet::new();
    for task in tasks {
        kept.extend(task.await.unwrap());
    }
    let counts = bed.proxy.counts();
    report("mixed", &counts);
    assert!(counts.total() > 100 && counts.ambiguous > 10, "{counts:?}");
    bed.proxy.set_plan(FaultPlan::none());
    let stored: BTreeSet<String> =
        bed.truth.list("", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(stored, kept, "what was kept is there and what was deleted is not");
    // Uploads whose first answer was lost at the very end may be left; one sweep removes them.
    bed.truth.abort_uploads("").await.unwrap();
    assert_eq!(bed.truth.open_uploads("").await.unwrap(), []);
}

/// Puts, gets, files in parts, lists and deletes; returns the keys that must be there afterwards.
async fn mixed_work(store: &dyn ObjectStore, folder: &std::path::Path, task: u64) -> Vec<String> {
    let mut kept = Vec::new();
    for round in 0..12u64 {
        let key = |what: &str| format!("{task}/{what}-{round:02}");
        let body = text(format!("{task} {round} ").repeat(3000));
        store.put(&key("object"), body.clone()).await.unwrap();
        assert_eq!(store.get(&key("object")).await.unwrap(), body);
        assert_eq!(store.get_range(&key("object"), 10..20).await.unwrap(), body.slice(10..20));
        assert_eq!(store.head(&key("object")).await.unwrap(), Some(body.len() as u64));
        kept.push(key("object"));
        if round % 4 == 0 {
            let (from, to) = (folder.join(format!("from-{task}")), folder.join(format!("to-{task}")));
            let content: Vec<u8> = (0..11 << 20).map(|index: u64| (index.wrapping_mul(task + 31) >> 7) as u8).collect();
            std::fs::write(&from, &content).unwrap();
            store.put_file(&key("file"), &from).await.unwrap();
            assert_eq!(store.get_file(&key("file"), &to).await.unwrap(), content.len() as u64);
            assert!(std::fs::read(&to).unwrap() == content, "a file came back different");
            kept.push(key("file"));
        }
        let doomed: Vec<String> = (0..3).map(|number| key(&format!("doomed{number}"))).collect();
        for key in &doomed {
            store.put(key, text("x")).await.unwrap();
        }
        let listed = store.list(&format!("{task}/doomed"), None).await.unwrap();
        assert_eq!(listed.into_iter().map(|object| object.key).collect::<Vec<_>>(), doomed);
        // A write that is still on its way may bring an object back, as in any store; here every put was answered.
        tokio::time::sleep(Duration::from_millis(700)).await;
        store.delete(&doomed).await.unwrap();
    }
    kept
}

#[tokio::test]
async fn an_upload_in_parts_that_fails_is_aborted_and_is_no_object() {
    let bed = bed("aborted", |options| StoreOptions { max_attempts: 1, transfer_concurrency: 1, ..options }).await;
    let file = big_file();
    // Begun, one part sent, the second one refused.
    bed.proxy.script(None);
    bed.proxy.script(None);
    bed.proxy.script(FaultKind::Status500);
    let error = bed.store.put_file("k", file.path()).await.unwrap_err();
    assert_eq!((error.retry, error.effect), (Retry::Yes, Effect::NotDone), "parts are no object: {error:?}");
    assert_eq!(bed.truth.head("k").await.unwrap(), None);
    assert_eq!(bed.truth.open_uploads("k").await.unwrap(), []);
    assert_eq!(bed.proxy.counts().total(), 1);
}

#[tokio::test]
async fn a_completion_whose_answer_is_lost_is_found_done() {
    for (fault, attempts) in [(FaultKind::ResetAfter, 1), (FaultKind::TimeoutAfter, 1), (FaultKind::WrongLength, 3)] {
        let folder = format!("completed-{fault:?}");
        let bed = bed(&folder, |options| StoreOptions { max_attempts: attempts, ..options }).await;
        let file = big_file();
        // Begun and three parts sent.
        for _ in 0..4 {
            bed.proxy.script(None);
        }
        bed.proxy.script(fault);
        bed.store.put_file("k", file.path()).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(bed.proxy.counts().ambiguous, 1, "{fault:?}");
        assert_eq!(bed.truth.head("k").await.unwrap(), Some(11 << 20), "{fault:?}");
    }
}

#[tokio::test]
async fn a_beginning_whose_answer_is_lost_leaves_no_upload_open() {
    let bed = bed("begun-twice", |options| options).await;
    let file = big_file();
    bed.proxy.script(FaultKind::ResetAfter);
    bed.store.put_file("k", file.path()).await.unwrap();
    assert_eq!(bed.proxy.counts().ambiguous, 1);
    assert_eq!(bed.truth.head("k").await.unwrap(), Some(11 << 20));
    assert_eq!(bed.truth.open_uploads("k").await.unwrap(), []);
}

/// Three parts.
fn big_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 11 << 20]).unwrap();
    file
}

#[tokio::test]
async fn an_outage_fails_calls_within_their_bounds_and_ends_with_it() {
    let bed = bed("outage", |options| StoreOptions { max_attempts: 3, ..options }).await;
    bed.store.put("before", text("x")).await.unwrap();
    bed.proxy.set_outage(true);
    let started = std::time::Instant::now();
    for _ in 0..3 {
        let error = bed.store.put("during", text("x")).await.unwrap_err();
        assert_eq!((error.kind, error.retry), (StoreErrorKind::Unreachable, Retry::Yes), "{error:?}");
        let error = bed.store.get("before").await.unwrap_err();
        assert_eq!((error.kind, error.retry), (StoreErrorKind::Unreachable, Retry::Yes), "{error:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(bed.proxy.counts().outage_resets >= 6);
    bed.proxy.set_outage(false);
    assert_eq!(bed.store.get("before").await.unwrap(), text("x"));
    bed.store.put("after", text("x")).await.unwrap();
    assert_eq!(bed.truth.head("during").await.unwrap(), None);
}

fn report(test: &str, counts: &FaultCounts) {
    eprintln!(
        "{test}: {} requests, {} faults, {} ambiguous: {:?}",
        counts.requests,
        counts.total(),
        counts.ambiguous,
        counts.faults
    );
}
