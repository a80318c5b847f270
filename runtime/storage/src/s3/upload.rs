//! Files to objects: in one request while small, else in parts of which several are in flight.
//!
//! Every byte in memory is counted against the store's `transfer_memory`. An upload that fails is aborted; one whose process dies or
//! whose call is cancelled stays open until `abort_uploads` finds it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::StreamExt;
use futures::TryStreamExt;

use super::call::Call;
use super::fingerprint::{self, Fingerprint};
use super::{Shared, code_of, inventory};
use crate::error::{Effect, Operation, Retry, StoreError, StoreErrorKind};
use crate::options::StoreOptions;
use crate::store::OpenUpload;

/// Smallest part S3 takes, the last excepted.
const MIN_PART: u64 = 5 << 20;
/// Most parts of one upload.
const MAX_PARTS: u64 = 10_000;
/// Parts of an upload that are enough to send several at the same time.
const FEW_PARTS: u64 = 4;
/// Bytes read at a time to checksum a file.
const READ_BUFFER: usize = 1 << 20;

pub(super) async fn put_file(shared: &Arc<Shared>, key: &str, path: &Path) -> Result<(), StoreError> {
    let probe = Call::begin(shared, Operation::PutFile, key, 0);
    let (file, length) = blocking(&probe, "cannot open the local file", {
        let path = path.to_owned();
        move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            Ok((Arc::new(file), length))
        }
    })
    .await?;
    if length <= shared.options.multipart_threshold {
        let _room = shared.room_for(length).await;
        let call = Call::begin(shared, Operation::PutFile, key, length);
        let body = read_part(&call, &file, 0, length).await?;
        let fingerprint = Fingerprint::of(&body);
        return shared.put_bytes(&call, &body, fingerprint).await;
    }
    Upload::run(&Call::begin(shared, Operation::PutFile, key, length), file, length).await
}

/// Bytes of a part. A request costs money, so there are few, as long as several fit in memory.
fn part_bytes(options: &StoreOptions, length: u64) -> u64 {
    let few = length.div_ceil(FEW_PARTS).min(options.transfer_memory / FEW_PARTS);
    few.max(options.part_size).max(MIN_PART).max(length.div_ceil(MAX_PARTS))
}

struct Upload<'a> {
    call: &'a Call<'a>,
    file: Arc<File>,
    fingerprint: Fingerprint,
    part: u64,
    open: OpenUpload,
}

impl<'a> Upload<'a> {
    async fn run(call: &'a Call<'a>, file: Arc<File>, length: u64) -> Result<(), StoreError> {
        let fingerprint = blocking(call, "cannot read the local file", {
            let file = file.clone();
            move || fingerprint_of(&file)
        })
        .await?;
        if fingerprint.length != length {
            return Err(call.new_error(StoreErrorKind::Invalid, "the local file changed while it was read"));
        }
        let (upload, begun) = begin(call, fingerprint).await?;
        let part = part_bytes(&call.shared.options, length);
        let open = OpenUpload { key: call.key.to_owned(), upload };
        let upload = Self { call, file, fingerprint, part, open };
        let result = upload.transfer().await;
        if result.is_err() {
            upload.abort().await;
        }
        if begun == Begun::MaybeTwice {
            upload.abort_strays().await;
        }
        result
    }

    async fn transfer(&self) -> Result<(), StoreError> {
        let count = self.fingerprint.length.div_ceil(self.part);
        let parts = (0..count).map(|index| self.send_part(index));
        let mut parts: Vec<CompletedPart> = futures::stream::iter(parts)
            .buffer_unordered(self.call.shared.options.transfer_concurrency.max(1))
            .try_collect()
            .await
            // Parts are no object.
            .map_err(|error| StoreError { effect: Effect::NotDone, ..error })?;
        parts.sort_by_key(CompletedPart::part_number);
        self.complete(CompletedMultipartUpload::builder().set_parts(Some(parts)).build()).await
    }

    async fn send_part(&self, index: u64) -> Result<CompletedPart, StoreError> {
        let (call, shared) = (self.call, self.call.shared);
        let start = index * self.part;
        let length = self.part.min(self.fingerprint.length - start);
        let _room = shared.room_for(length).await;
        let body = read_part(call, &self.file, start, length).await?;
        let number = index as i32 + 1;
        let sent = call
            .retried(|| async {
                let request =
                    shared.client.upload_part().bucket(&shared.bucket).key(call.key).upload_id(&self.open.upload);
                call.send(length, request.part_number(number).body(ByteStream::from(body.clone())).send()).await
            })
            .await?;
        Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag().map(str::to_owned)).build())
    }

    async fn complete(&self, parts: CompletedMultipartUpload) -> Result<(), StoreError> {
        let (call, shared) = (self.call, self.call.shared);
        let completed = call.retried(|| async {
            let request = shared
                .client
                .complete_multipart_upload()
                .bucket(&shared.bucket)
                .key(call.key)
                .upload_id(&self.open.upload);
            let sent = call
                .within(call.attempt_bound(self.fingerprint.length), request.multipart_upload(parts.clone()).send())
                .await?;
            match sent {
                Ok(_) => Ok(()),
                // Perhaps an attempt before completed it and its answer was lost: the object tells.
                Err(error) if code_of(&error) == Some("NoSuchUpload") => {
                    let what = "the store no longer knows the upload";
                    Err(call.new_error(StoreErrorKind::Other, what).with_source(error).maybe_done())
                }
                Err(error) => Err(call.error(error)),
            }
        });
        match completed.await {
            Err(error) if error.may_be_done() => self.look_for_object(error).await,
            result => result,
        }
    }

    /// After a completion of unknown outcome: done if the object is there with our content.
    async fn look_for_object(&self, unknown: StoreError) -> Result<(), StoreError> {
        let (call, shared) = (self.call, self.call.shared);
        let head = call.retried(|| async {
            call.send(0, shared.client.head_object().bucket(&shared.bucket).key(call.key).send()).await
        });
        match head.await {
            Ok(head) if Fingerprint::find(head.metadata()) == Some(self.fingerprint) => Ok(()),
            // A new upload can bring it about.
            _ => Err(unknown.with_retry(Retry::Yes)),
        }
    }

    /// Best effort: what stays is found by `abort_uploads`.
    async fn abort(&self) {
        let call = Call::begin(self.call.shared, Operation::AbortUploads, self.call.key, 0);
        if let Err(error) = inventory::abort(&call, &self.open).await {
            tracing::debug!(key = self.call.key, error = %error, "an upload stays open");
        }
    }

    /// The request that begins an upload may have been answered with one upload's name and have begun two.
    async fn abort_strays(&self) {
        let call = Call::begin(self.call.shared, Operation::AbortUploads, self.call.key, 0);
        let strays = match inventory::open_uploads(&call).await {
            Ok(open) => open.into_iter().filter(|upload| upload.key == self.open.key).collect::<Vec<_>>(),
            Err(error) => return tracing::debug!(key = self.call.key, error = %error, "an upload may stay open"),
        };
        if let Err(error) = inventory::abort_all(&call, strays).await {
            tracing::debug!(key = self.call.key, error = %error, "an upload may stay open");
        }
    }
}

/// Whether the request that begins an upload may have begun more than the one that was named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    Once,
    MaybeTwice,
}

async fn begin(call: &Call<'_>, fingerprint: Fingerprint) -> Result<(String, Begun), StoreError> {
    let shared = call.shared;
    let attempts = std::sync::atomic::AtomicU32::new(0);
    let upload = call
        .retried(|| async {
            attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let request = shared.client.create_multipart_upload().bucket(&shared.bucket).key(call.key);
            let begun = call.send(0, request.metadata(fingerprint::NAME, fingerprint.encode()).send()).await?;
            begun.upload_id().map(str::to_owned).ok_or_else(|| call.corrupt("the answer names no upload"))
        })
        .await
        // An upload that was begun is no object.
        .map_err(|error| StoreError { effect: Effect::NotDone, ..error })?;
    let begun = if attempts.into_inner() == 1 { Begun::Once } else { Begun::MaybeTwice };
    Ok((upload, begun))
}

async fn read_part(call: &Call<'_>, file: &Arc<File>, start: u64, length: u64) -> Result<Bytes, StoreError> {
    let file = file.clone();
    blocking(call, "cannot read the local file", move || {
        let mut body = vec![0; length as usize];
        file.read_exact_at(&mut body, start)?;
        Ok(Bytes::from(body))
    })
    .await
}

fn fingerprint_of(file: &File) -> std::io::Result<Fingerprint> {
    let mut buffer = vec![0; READ_BUFFER];
    let mut fingerprint = Fingerprint { length: 0, crc32c: 0 };
    let mut file = file;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(fingerprint);
        }
        fingerprint.length += read as u64;
        fingerprint.crc32c = crc32c::crc32c_append(fingerprint.crc32c, &buffer[..read]);
    }
}

/// Runs blocking work on the caller's file off the runtime.
pub(super) async fn blocking<T: Send + 'static>(
    call: &Call<'_>,
    what: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(call.local(what, error)),
        Err(cancelled) => {
            Err(call.new_error(StoreErrorKind::Other, "the file operation was cancelled").with_source(cancelled))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_few_as_far_as_memory_goes() {
        let options = |transfer_memory| StoreOptions { transfer_memory, ..StoreOptions::default() };
        let mib = |bytes: u64| bytes << 20;
        assert_eq!(part_bytes(&options(mib(64)), mib(52)), mib(13));
        assert_eq!(part_bytes(&options(mib(64)), mib(1000)), mib(16), "four fit in memory");
        assert_eq!(part_bytes(&options(mib(8)), mib(1000)), mib(8), "one fits in memory");
        assert_eq!(part_bytes(&options(mib(64)), mib(200_000)), mib(20), "no more than ten thousand");
    }
}
