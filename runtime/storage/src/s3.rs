//! A bucket as an object store. This module is the only place that names the AWS SDK.
//!
//! The SDK's own retries are off: [`call`] repeats idempotent requests itself, so that one place knows how often a write was sent and
//! whether one of its answers is missing. `create` is sent once, with `If-None-Match: *`.
//!
//! Every object carries its length and CRC-32C as user metadata, which all S3 servers keep, so that a whole read notices an answer
//! that was cut or exchanged on the way. Uploads are protected by the payload's hash in the request's signature.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::key::{check_key, check_prefix};
use crate::options::StoreOptions;
use crate::store::{Created, Guard, Listed, ObjectStore, OpenUpload};

mod call;
mod connect;
mod deletion;
mod document;
mod download;
mod errors;
mod fingerprint;
mod guarded;
mod inventory;
mod listing;
mod upload;

use call::Call;
use fingerprint::Fingerprint;
use guarded::{Guarded, is_withdrawn};

/// One memory permit stands for this many bytes.
const PERMIT_BYTES: u64 = 1024;

/// An object store in a bucket. Clones share connections and bounds.
#[derive(Clone, Debug)]
pub(crate) struct S3Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    bucket: String,
    /// `s3://bucket`.
    uri: String,
    /// How errors name the store: with the endpoint.
    name: Arc<str>,
    place: errors::Place,
    options: StoreOptions,
    /// Bytes of files in memory, in units of [`PERMIT_BYTES`].
    transfer_memory: Semaphore,
    transfer_permits: u32,
}

impl S3Store {
    /// A store over the whole of `bucket`. An error says which option is missing or unusable.
    pub(crate) async fn connect(bucket: &str, options: &StoreOptions) -> Result<Self, String> {
        let connected = connect::connect(options).await?;
        let place = errors::Place { bucket: bucket.to_owned(), endpoint: connected.endpoint, custom: connected.custom };
        let transfer_permits = u32::try_from((options.transfer_memory / PERMIT_BYTES).max(1)).unwrap_or(u32::MAX);
        let shared = Shared {
            client: connected.client,
            bucket: bucket.to_owned(),
            uri: format!("s3://{bucket}"),
            name: format!("s3://{bucket} at {}", place.endpoint).into(),
            place,
            options: options.clone(),
            transfer_memory: Semaphore::new(transfer_permits as usize),
            transfer_permits,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    /// Room for `bytes` of a file in memory, waiting for it; more than the whole budget is given the whole budget.
    async fn room_for(&self, bytes: u64) -> tokio::sync::SemaphorePermit<'_> {
        let permits = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).min(self.transfer_permits);
        self.transfer_memory.acquire_many(permits).await.expect("the semaphore is never closed")
    }

    async fn put_bytes(&self, call: &Call<'_>, body: &Bytes, fingerprint: Fingerprint) -> Result<(), StoreError> {
        call.retried(|| async {
            let request = self
                .client
                .put_object()
                .bucket(&self.bucket)
                .key(call.key)
                .metadata(fingerprint::NAME, fingerprint.encode());
            call.send(body.len() as u64, request.body(ByteStream::from(body.clone())).send()).await.map(drop)
        })
        .await
    }

    async fn put_guarded(&self, call: &Call<'_>, body: &Bytes, guard: &Guard) -> Result<(), StoreError> {
        let fingerprint = Fingerprint::of(body).encode();
        call.retried(|| async {
            let request = self.client.put_object().bucket(&self.bucket).key(call.key);
            let request = request.metadata(fingerprint::NAME, fingerprint.clone()).body(ByteStream::from(body.clone()));
            let request = request.customize().interceptor(Guarded(Arc::clone(guard)));
            match call.within(call.attempt_bound(body.len() as u64), request.send()).await? {
                Ok(_) => Ok(()),
                Err(error) if is_withdrawn(&error) => {
                    Err(StoreError::withdrawn(Operation::Put, call.key, self.name.clone()))
                }
                Err(error) => Err(call.error(error)),
            }
        })
        .await
    }

    async fn create(&self, call: &Call<'_>, body: Bytes) -> Result<Created, StoreError> {
        let fingerprint = Fingerprint::of(&body);
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(call.key)
            .metadata(fingerprint::NAME, fingerprint.encode());
        let length = body.len() as u64;
        let sent = call
            .within(call.attempt_bound(length), request.if_none_match("*").body(ByteStream::from(body)).send())
            .await?;
        match sent {
            Ok(_) => Ok(Created::Done),
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 412) => {
                Ok(Created::Exists)
            }
            Err(error) => Err(call.error(error)),
        }
    }

    async fn head(&self, call: &Call<'_>) -> Result<Option<u64>, StoreError> {
        let head = call.retried(|| async {
            let head = call.send(0, self.client.head_object().bucket(&self.bucket).key(call.key).send()).await?;
            let length = head.content_length().unwrap_or(0).max(0) as u64;
            match Fingerprint::find(head.metadata()) {
                Some(stored) if stored.length != length => {
                    Err(call.corrupt(format!("its length came as {length}, it was stored with {}", stored.length)))
                }
                _ => Ok(length),
            }
        });
        match head.await {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Makes a bucket, or says why not; one that is there is fine.
#[cfg(feature = "testing")]
pub(crate) async fn create_bucket(bucket: &str, options: &StoreOptions) -> Result<(), String> {
    let client = connect::connect(options).await?.client;
    let made = tokio::time::timeout(options.attempt_timeout, client.create_bucket().bucket(bucket).send()).await;
    match made.map_err(|_| "no answer in time".to_owned())? {
        Err(error) if code_of(&error) != Some("BucketAlreadyOwnedByYou") => {
            Err(aws_sdk_s3::error::DisplayErrorContext(error).to_string())
        }
        _ => Ok(()),
    }
}

/// The error code of a service's answer, if it is one.
fn code_of<E: ProvideErrorMetadata>(error: &aws_sdk_s3::error::SdkError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        check_key(Operation::Put, key, &self.shared.name)?;
        let call = Call::begin(&self.shared, Operation::Put, key, body.len() as u64);
        let fingerprint = Fingerprint::of(&body);
        self.shared.put_bytes(&call, &body, fingerprint).await
    }

    async fn put_guarded(&self, key: &str, body: Bytes, guard: Guard) -> Result<(), StoreError> {
        check_key(Operation::Put, key, &self.shared.name)?;
        let call = Call::begin(&self.shared, Operation::Put, key, body.len() as u64);
        self.shared.put_guarded(&call, &body, &guard).await
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        check_key(Operation::PutFile, key, &self.shared.name)?;
        upload::put_file(&self.shared, key, file).await
    }

    async fn create(&self, key: &str, body: Bytes) -> Result<Created, StoreError> {
        check_key(Operation::Create, key, &self.shared.name)?;
        let call = Call::begin(&self.shared, Operation::Create, key, body.len() as u64);
        self.shared.create(&call, body).await
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        check_key(Operation::Get, key, &self.shared.name)?;
        download::get(&Call::begin(&self.shared, Operation::Get, key, 0)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_key(Operation::GetRange, key, &self.shared.name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let call = Call::begin(&self.shared, Operation::GetRange, key, range.end - range.start);
        match download::get_range(&call, range.clone()).await? {
            Some(part) if part.total >= range.end => Ok(part.body.into_bytes()),
            _ => {
                let what = format!("the object ends before the range {}..{} does", range.start, range.end);
                Err(call.new_error(StoreErrorKind::Corrupt, what))
            }
        }
    }

    async fn get_file(&self, key: &str, to: &Path) -> Result<u64, StoreError> {
        check_key(Operation::GetFile, key, &self.shared.name)?;
        download::get_file(&self.shared, key, to).await
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, StoreError> {
        check_key(Operation::Head, key, &self.shared.name)?;
        self.shared.head(&Call::begin(&self.shared, Operation::Head, key, 0)).await
    }

    async fn list(&self, prefix: &str, limit: Option<usize>) -> Result<Vec<Listed>, StoreError> {
        check_prefix(Operation::List, prefix, &self.shared.name)?;
        listing::list(&self.shared, prefix, limit.unwrap_or(usize::MAX)).await
    }

    async fn delete(&self, keys: &[String]) -> Result<(), StoreError> {
        for key in keys {
            check_key(Operation::Delete, key, &self.shared.name)?;
        }
        deletion::delete(&self.shared, keys).await
    }

    async fn open_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
        check_prefix(Operation::OpenUploads, prefix, &self.shared.name)?;
        inventory::open_uploads(&Call::begin(&self.shared, Operation::OpenUploads, prefix, 0)).await
    }

    async fn abort_uploads(&self, prefix: &str) -> Result<usize, StoreError> {
        check_prefix(Operation::AbortUploads, prefix, &self.shared.name)?;
        inventory::abort_uploads(&Call::begin(&self.shared, Operation::AbortUploads, prefix, 0)).await
    }

    fn describe(&self) -> String {
        self.shared.uri.clone()
    }
}
