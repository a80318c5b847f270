//! What S3 and the way to it can answer, in Weir's words: kind, whether to repeat, whether a write may have happened, and the way out.

use std::error::Error;
use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::call::Call;
use super::document::CutDocument;
use crate::error::{Retry, StoreError, StoreErrorKind};

/// What messages name.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) bucket: String,
    pub(super) endpoint: String,
    pub(super) custom: bool,
}

/// A failure before it is tied to a call.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    kind: StoreErrorKind,
    retry: Retry,
    maybe_done: bool,
    what: String,
}

impl Verdict {
    /// It did not happen.
    fn refused(kind: StoreErrorKind, what: impl Into<String>) -> Self {
        Self { kind, retry: kind.retry(), maybe_done: false, what: what.into() }
    }

    /// Whether it happened is unknown.
    fn unknown(kind: StoreErrorKind, what: impl Into<String>) -> Self {
        Self { kind, retry: Retry::Yes, maybe_done: true, what: what.into() }
    }

    fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

pub(super) fn from_sdk<E>(call: &Call<'_>, error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let place = &call.shared.place;
    let causes = Causes::of(&error);
    let verdict = match &error {
        // Whatever part of the SDK noticed it.
        _ if causes.cut_document => broken_answer(place, 200),
        SdkError::ServiceError(answer) => of_answer(place, answer.raw().status().as_u16(), answer.err().code()),
        SdkError::ResponseError(answer) => match answer.raw().status().as_u16() {
            // An answer that says no is a no, readable or not; one that says yes and breaks off is neither.
            status @ 300..=499 => of_answer(place, status, None),
            status => broken_answer(place, status),
        },
        SdkError::TimeoutError(_) => {
            Verdict::unknown(StoreErrorKind::Timeout, format!("no answer from {} in time", place.endpoint))
        }
        other => of_connection(place, &causes, matches!(other, SdkError::ConstructionFailure(_))),
    };
    let result = call.new_error(verdict.kind, verdict.what).with_retry(verdict.retry).with_source(error);
    if verdict.maybe_done { result.maybe_done() } else { result }
}

/// The body of an answer broke off or stalled.
pub(super) fn of_body(call: &Call<'_>, error: impl Error + Send + Sync + 'static) -> StoreError {
    let what = format!("the answer of {} broke off", call.shared.place.endpoint);
    call.new_error(StoreErrorKind::Unreachable, what).with_source(error)
}

/// An answer that says yes, or nothing, and cannot be read.
fn broken_answer(place: &Place, status: u16) -> Verdict {
    Verdict::unknown(
        StoreErrorKind::Unreachable,
        format!("the answer of {} ({status}) broke off or made no sense", place.endpoint),
    )
}

fn of_answer(place: &Place, status: u16, code: Option<&str>) -> Verdict {
    use StoreErrorKind as Kind;
    let Place { bucket, endpoint, .. } = place;
    let shown = code.map_or_else(|| status.to_string(), |code| format!("{status} {code}"));
    match (status, code.unwrap_or("")) {
        (_, "NoSuchBucket") => Verdict::refused(
            Kind::NoBucket,
            format!("bucket {bucket:?} does not exist at {endpoint}: create it, or correct spec.storage.uri"),
        ),
        (404, _) => Verdict::refused(Kind::NotFound, "no such object"),
        (_, "InvalidAccessKeyId") => Verdict::refused(
            Kind::Denied,
            format!("the access key is not known at {endpoint}: check the storage credentials"),
        ),
        (_, "SignatureDoesNotMatch") => Verdict::refused(
            Kind::Denied,
            format!("{endpoint} does not accept the signature: the secret key is wrong, check the storage credentials"),
        ),
        (_, "RequestTimeTooSkewed") => Verdict::refused(
            Kind::Denied,
            format!("the clocks of this machine and of {endpoint} differ too much: set this machine's clock"),
        ),
        (_, "ExpiredToken" | "TokenRefreshRequired") => {
            Verdict::refused(Kind::Denied, "the storage credentials have expired: renew them").with_retry(Retry::Yes)
        }
        (301 | 307 | 308, _) | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect") => Verdict::refused(
            Kind::Other,
            format!("bucket {bucket:?} belongs to another region ({shown}): correct spec.storage.region"),
        ),
        (401 | 403, _) => Verdict::refused(
            Kind::Denied,
            format!(
                "{endpoint} denies access ({shown}): the credentials need to get, put, list and delete objects in bucket {bucket:?}"
            ),
        ),
        (_, "XMinioStorageFull" | "QuotaExceeded" | "XMinioAdminBucketQuotaExceeded" | "InsufficientStorage")
        | (507, _) => Verdict::refused(
            Kind::Full,
            format!("{endpoint} has no space left ({shown}): free space or raise the bucket's quota"),
        ),
        (409, _) => {
            Verdict::unknown(Kind::Conflict, format!("another write of the same name was in progress ({shown})"))
        }
        (412, _) => {
            Verdict::refused(Kind::Conflict, format!("the condition was not met ({shown})")).with_retry(Retry::No)
        }
        (416, _) => Verdict::refused(Kind::Corrupt, "the object ends before the range begins"),
        (429, _) | (_, "SlowDown" | "Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            Verdict::unknown(Kind::Throttled, format!("{endpoint} asks for fewer requests ({shown})"))
        }
        (408, _) | (_, "RequestTimeout") => {
            Verdict::unknown(Kind::Timeout, format!("{endpoint} gave up waiting for the request ({shown})"))
        }
        (_, "IncompleteBody" | "BadDigest" | "XAmzContentSHA256Mismatch" | "InvalidDigest") => {
            Verdict::refused(Kind::Unreachable, format!("the request reached {endpoint} damaged ({shown})"))
        }
        (501, _) => Verdict::refused(Kind::Other, format!("{endpoint} does not implement this request ({shown})")),
        (503, _) => Verdict::unknown(Kind::Unreachable, format!("{endpoint} is unavailable at the moment ({shown})")),
        (200..=299, "") => broken_answer(place, status),
        // S3 can begin an answer with 200 before it knows that it fails.
        (200..=299 | 500..=599, _) => Verdict::unknown(Kind::Other, format!("{endpoint} failed ({shown})")),
        _ => Verdict::refused(Kind::Other, format!("{endpoint} refused the request ({shown})")),
    }
}

/// The texts and I/O errors below an error.
struct Causes {
    texts: String,
    io: Option<io::ErrorKind>,
    cut_document: bool,
}

impl Causes {
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut causes = Self { texts: String::new(), io: None, cut_document: false };
        let mut next = Some(error);
        while let Some(error) = next {
            causes.texts.push_str(&error.to_string());
            causes.texts.push('\n');
            if let Some(error) = error.downcast_ref::<io::Error>() {
                causes.io = Some(error.kind());
            }
            causes.cut_document |= error.is::<CutDocument>();
            next = error.source();
        }
        causes
    }

    fn mention(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.texts.contains(word))
    }
}

fn of_connection(place: &Place, causes: &Causes, unsent: bool) -> Verdict {
    use StoreErrorKind as Kind;
    let endpoint = &place.endpoint;
    let check = if place.custom {
        "check that it runs and that spec.storage.endpoint is right"
    } else {
        "check the network and spec.storage.region"
    };
    if causes.mention(&["credentials", "Credentials", "credential provider", "identity resolver"]) {
        let what = "no storage credentials were found: give spec.storage.credentials, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a web identity";
        return Verdict::refused(Kind::Denied, what);
    }
    if unsent {
        return Verdict::refused(Kind::Other, "the request could not be made");
    }
    if causes.mention(&["dns error", "failed to lookup address"]) {
        return Verdict::refused(Kind::Unreachable, format!("the name of {endpoint} does not resolve: {check}"));
    }
    if causes.io == Some(io::ErrorKind::ConnectionRefused) {
        return Verdict::refused(Kind::Unreachable, format!("{endpoint} refuses the connection: {check}"));
    }
    if causes.mention(&["invalid peer certificate", "UnknownIssuer", "InvalidCertificate"]) {
        let what = format!("the TLS certificate of {endpoint} is not trusted: add its authority to this machine's");
        return Verdict::refused(Kind::Unreachable, what).with_retry(Retry::No);
    }
    // The words of the HTTP client for failures before a connection was made.
    if causes.mention(&["(Connect)", "connect timeout"]) {
        return Verdict::refused(Kind::Unreachable, format!("no connection to {endpoint}: {check}"));
    }
    Verdict::unknown(Kind::Unreachable, format!("the connection to {endpoint} broke"))
}

#[cfg(test)]
mod tests;
