//! The S3 store against a real MinIO: conformance, refusals and their messages, uploads that were left open.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;
use weir_storage::conformance::{Scale, check_all};
use weir_storage::testing::TestServer;
use weir_storage::{
    Credentials, Effect, ObjectStore, ProbeError, Retry, Secret, StoreErrorKind, StoreOptions, open, probe,
};

static MINIO: OnceCell<TestServer> = OnceCell::const_new();

async fn minio() -> &'static TestServer {
    MINIO.get_or_init(TestServer::minio).await
}

/// Parts of the smallest size there is, so that small files are large.
fn small_parts(server: &TestServer) -> StoreOptions {
    StoreOptions { multipart_threshold: 5 << 20, part_size: 5 << 20, ..server.options() }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

async fn refused(uri: &str, options: StoreOptions) -> ProbeError {
    let options = StoreOptions { max_attempts: 2, connect_timeout: Duration::from_secs(1), ..options };
    let store = open(uri, &options).await.unwrap();
    probe(&*store).await.expect_err("the probe refuses the store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn minio_conforms() {
    let server = minio().await;
    let store = open(&server.uri("a/prefix"), &small_parts(server)).await.unwrap();
    check_all(store, &Scale::default()).await;
}

#[tokio::test]
async fn wrong_keys_are_told_apart_and_say_what_to_check() {
    let server = minio().await;
    let (access_key, secret_key) = server.keys();
    for (access, secret, says) in
        [(access_key, "wrong-secret", "the secret key is wrong"), ("nobody", secret_key, "the access key is not known")]
    {
        let credentials =
            Credentials { access_key: access.to_owned(), secret_key: Secret::new(secret), session_token: None };
        let error =
            refused(&server.uri("x"), StoreOptions { credentials: Some(credentials), ..server.options() }).await;
        assert!(matches!(error, ProbeError::Denied { .. }), "{error:?}");
        let text = chain(&error);
        assert!(text.contains(says) && text.contains(&server.endpoint()) && !text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let server = minio().await;
    let error = refused("s3://no-such-bucket/x", server.options()).await;
    assert!(matches!(error, ProbeError::NoBucket { .. }), "{error:?}");
    let text = chain(&error);
    assert!(
        text.contains(&format!(
            "bucket \"no-such-bucket\" does not exist at {}: create it, or correct spec.storage.uri",
            server.endpoint()
        )),
        "{text}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_nothing_was_sent() {
    let server = minio().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for (endpoint, says) in
        [(dead, "refuses the connection"), ("http://no-such-host.invalid:9000".to_owned(), "does not resolve")]
    {
        let store = open(&server.uri("x"), &StoreOptions { max_attempts: 2, ..server.options_at(endpoint.clone()) })
            .await
            .unwrap();
        let error = store.create("k", Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(
            (error.kind, error.retry, error.effect),
            (StoreErrorKind::Unreachable, Retry::Yes, Effect::NotDone),
            "{error:?}"
        );
        assert!(error.to_string().contains(says) && error.to_string().contains(&endpoint), "{error}");
        assert!(error.to_string().starts_with("create \"x/k\" in s3://weir at "), "{error}");
        let error = refused(&server.uri("x"), server.options_at(endpoint)).await;
        assert!(matches!(error, ProbeError::Unreachable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_ends_within_the_bound_and_leaves_the_outcome_open() {
    let server = minio().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = StoreOptions {
        attempt_timeout: Duration::from_millis(200),
        operation_timeout: Duration::from_millis(700),
        max_attempts: 100,
        ..server.options_at(format!("http://{}", silent.local_addr().unwrap()))
    };
    let store = open(&server.uri("x"), &options).await.unwrap();
    let started = std::time::Instant::now();
    let error = store.create("k", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(
        (error.kind, error.retry, error.effect),
        (StoreErrorKind::Timeout, Retry::Yes, Effect::MaybeDone),
        "{error:?}"
    );
    let error = store.get("k").await.unwrap_err();
    assert_eq!((error.kind, error.effect), (StoreErrorKind::Timeout, Effect::NotDone), "{error:?}");
    let error = store.put("k", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (StoreErrorKind::Timeout, Effect::MaybeDone), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn missing_credentials_say_where_they_can_be_given() {
    let server = minio().await;
    // An access key alone is what the environment's provider would refuse; here the whole chain finds nothing.
    let options = StoreOptions { credentials: None, max_attempts: 1, ..server.options() };
    let store = open(&server.uri("x"), &options).await.unwrap();
    let error = store.get("k").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{}", chain(&error));
    assert!(error.to_string().contains("no storage credentials were found: give spec.storage.credentials"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_was_cut_short_is_found_and_aborted_and_others_are_left_alone() {
    let server = minio().await;
    let options = StoreOptions { transfer_concurrency: 1, ..small_parts(server) };
    let store = open(&server.uri("uploads"), &options).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("big");
    std::fs::write(&file, vec![7; 200 << 20]).unwrap();
    for key in ["g1/0/a", "g2/0/b"] {
        cut_short(&store, key, &file).await;
    }
    let keys =
        |uploads: Vec<weir_storage::OpenUpload>| uploads.into_iter().map(|upload| upload.key).collect::<Vec<_>>();
    assert_eq!(keys(store.open_uploads("").await.unwrap()), ["g1/0/a", "g2/0/b"]);
    assert_eq!(keys(store.open_uploads("g1/").await.unwrap()), ["g1/0/a"]);
    assert_eq!(keys(store.open_uploads("g1/0/a").await.unwrap()), ["g1/0/a"]);
    assert_eq!(store.abort_uploads("g1/").await.unwrap(), 1);
    assert_eq!(keys(store.open_uploads("").await.unwrap()), ["g2/0/b"]);
    assert_eq!(store.abort_uploads("").await.unwrap(), 1);
    assert_eq!(store.open_uploads("").await.unwrap(), []);
    assert_eq!(store.list("", None).await.unwrap(), [], "an upload is no object");
}

/// Begins to put a file and drops the call once the upload is there.
async fn cut_short(store: &Arc<dyn ObjectStore>, key: &'static str, file: &std::path::Path) {
    let (uploading, file) = (store.clone(), file.to_owned());
    let task = tokio::spawn(async move { uploading.put_file(key, &file).await });
    while !store.open_uploads("").await.unwrap().iter().any(|upload| upload.key == key) {
        assert!(!task.is_finished(), "the upload ended before it could be cut short");
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused_with_the_reason() {
    let server = TestServer::versitygw().await;
    let store = server.store("x").await;
    let error = probe(&*store).await.unwrap_err();
    assert!(matches!(error, ProbeError::NoConditionalCreate { .. }), "{}", chain(&error));
    let text = error.to_string();
    assert!(text.starts_with("storage s3://weir/x does not honour create-if-absent (If-None-Match: *)"), "{text}");
    assert!(text.contains("exactly-once is impossible on this store"), "{text}");
}
