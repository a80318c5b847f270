//! Each answer has its kind, and each message its way out.

use super::*;
use StoreErrorKind as Kind;

fn place() -> Place {
    Place { bucket: "weir".to_owned(), endpoint: "http://minio:9000".to_owned(), custom: true }
}

fn check_answer(status: u16, code: &str, kind: Kind, retry: Retry, maybe_done: bool, says: &str) {
    let verdict = of_answer(&place(), status, (!code.is_empty()).then_some(code));
    assert_eq!(
        (verdict.kind, verdict.retry, verdict.maybe_done),
        (kind, retry, maybe_done),
        "{status} {code}: {verdict:?}"
    );
    assert!(verdict.what.contains(says), "{status} {code}: {:?} should contain {says:?}", verdict.what);
    assert!(!verdict.what.ends_with('.'), "{}", verdict.what);
}

#[test]
fn refusals_are_not_repeated_and_name_the_way_out() {
    check_answer(
        404,
        "NoSuchBucket",
        Kind::NoBucket,
        Retry::No,
        false,
        "bucket \"weir\" does not exist at http://minio:9000: create it, or correct spec.storage.uri",
    );
    check_answer(404, "NoSuchKey", Kind::NotFound, Retry::No, false, "no such object");
    check_answer(404, "", Kind::NotFound, Retry::No, false, "no such object");
    check_answer(
        403,
        "InvalidAccessKeyId",
        Kind::Denied,
        Retry::No,
        false,
        "the access key is not known at http://minio:9000",
    );
    check_answer(403, "SignatureDoesNotMatch", Kind::Denied, Retry::No, false, "the secret key is wrong");
    check_answer(
        403,
        "AccessDenied",
        Kind::Denied,
        Retry::No,
        false,
        "need to get, put, list and delete objects in bucket \"weir\"",
    );
    check_answer(403, "", Kind::Denied, Retry::No, false, "denies access (403)");
    check_answer(403, "RequestTimeTooSkewed", Kind::Denied, Retry::No, false, "set this machine's clock");
    check_answer(400, "AuthorizationHeaderMalformed", Kind::Other, Retry::No, false, "correct spec.storage.region");
    check_answer(301, "PermanentRedirect", Kind::Other, Retry::No, false, "correct spec.storage.region");
    check_answer(400, "InvalidArgument", Kind::Other, Retry::No, false, "refused the request (400 InvalidArgument)");
    check_answer(501, "NotImplemented", Kind::Other, Retry::No, false, "does not implement");
    check_answer(416, "InvalidRange", Kind::Corrupt, Retry::No, false, "ends before");
}

#[test]
fn conditions_that_pass_are_repeated() {
    check_answer(507, "XMinioStorageFull", Kind::Full, Retry::Yes, false, "no space left");
    check_answer(400, "ExpiredToken", Kind::Denied, Retry::Yes, false, "renew them");
    check_answer(400, "IncompleteBody", Kind::Unreachable, Retry::Yes, false, "damaged");
}

#[test]
fn a_server_s_failure_leaves_open_what_it_did() {
    check_answer(409, "ConditionalRequestConflict", Kind::Conflict, Retry::Yes, true, "in progress");
    check_answer(429, "", Kind::Throttled, Retry::Yes, true, "fewer requests");
    check_answer(503, "SlowDown", Kind::Throttled, Retry::Yes, true, "fewer requests (503 SlowDown)");
    check_answer(503, "", Kind::Unreachable, Retry::Yes, true, "unavailable");
    check_answer(500, "InternalError", Kind::Other, Retry::Yes, true, "failed (500 InternalError)");
    check_answer(502, "", Kind::Other, Retry::Yes, true, "failed (502)");
    check_answer(200, "", Kind::Unreachable, Retry::Yes, true, "broke off");
    check_answer(200, "InternalError", Kind::Other, Retry::Yes, true, "failed (200 InternalError)");
    check_answer(408, "RequestTimeout", Kind::Timeout, Retry::Yes, true, "gave up waiting");
}

#[test]
fn connections_that_were_never_made_have_sent_nothing() {
    let refused = Causes {
        texts: "dispatch failure\nclient error (Connect)".to_owned(),
        io: Some(io::ErrorKind::ConnectionRefused),
        cut_document: false,
    };
    let verdict = of_connection(&place(), &refused, false);
    assert_eq!((verdict.kind, verdict.retry, verdict.maybe_done), (Kind::Unreachable, Retry::Yes, false));
    assert!(verdict.what.contains(
        "http://minio:9000 refuses the connection: check that it runs and that spec.storage.endpoint is right"
    ));
    let reset = Causes {
        texts: "dispatch failure\nclient error (SendRequest)".to_owned(),
        io: Some(io::ErrorKind::ConnectionReset),
        cut_document: false,
    };
    let verdict = of_connection(&place(), &reset, false);
    assert_eq!((verdict.kind, verdict.retry, verdict.maybe_done), (Kind::Unreachable, Retry::Yes, true));
}
