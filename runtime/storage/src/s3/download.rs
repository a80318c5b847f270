//! Objects to memory and to files. What is read whole is checked against the fingerprint it was stored with.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::AggregatedBytes;
use bytes::Bytes;
use futures::StreamExt;
use futures::TryStreamExt;

use super::Shared;
use super::call::Call;
use super::errors::of_body;
use super::fingerprint::Fingerprint;
use super::upload::blocking;
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::random::unique_name;

/// How often a file is fetched anew when its parts are not what was stored.
const MAX_FILE_ATTEMPTS: u32 = 3;

pub(super) async fn get(call: &Call<'_>) -> Result<Bytes, StoreError> {
    call.retried(|| async {
        let request = call.shared.client.get_object().bucket(&call.shared.bucket).key(call.key);
        let answer = call.send(0, request.send()).await?;
        let stored = Fingerprint::find(answer.metadata());
        let body = collect(call, answer).await?.into_bytes();
        check(call, stored, Fingerprint::of(&body))?;
        Ok(body)
    })
    .await
}

/// A range of an object, cut at the object's end.
pub(super) struct Part {
    pub(super) body: AggregatedBytes,
    /// The object's whole length.
    pub(super) total: u64,
    /// What the object was stored with.
    stored: Option<Fingerprint>,
}

/// Reads a range that is not empty; `None` if the object ends before the range begins.
pub(super) async fn get_range(call: &Call<'_>, range: Range<u64>) -> Result<Option<Part>, StoreError> {
    let asked = range.end - range.start;
    call.retried(|| async {
        let request = call.shared.client.get_object().bucket(&call.shared.bucket).key(call.key);
        let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        let answer = match call.within(call.attempt_bound(asked), request.send()).await? {
            Ok(answer) => answer,
            Err(error) if error.raw_response().is_some_and(|raw| raw.status().as_u16() == 416) => return Ok(None),
            Err(error) => return Err(call.error(error)),
        };
        let stored = Fingerprint::find(answer.metadata());
        let Some(total) = answer.content_range().and_then(|given| total_of(given, range.start)) else {
            let what = format!(
                "the store answered a range with {:?} and not with that range",
                answer.content_range().unwrap_or_default()
            );
            return Err(call.corrupt(what));
        };
        if let Some(stored) = stored.filter(|stored| stored.length != total) {
            return Err(call.corrupt(format!("its length came as {total}, it was stored with {}", stored.length)));
        }
        let body = collect(call, answer).await?;
        let (came, due) = (remaining(&body), range.end.min(total) - range.start);
        if came != due {
            return Err(call.corrupt(format!("{came} bytes came of a range that has {due}")));
        }
        Ok(Some(Part { body, total, stored }))
    })
    .await
}

fn remaining(body: &AggregatedBytes) -> u64 {
    bytes::Buf::remaining(body) as u64
}

/// The whole length in `bytes 0-9/100`, if the range begins where it should.
fn total_of(content_range: &str, start: u64) -> Option<u64> {
    let (range, total) = content_range.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    (first.parse() == Ok(start)).then(|| total.parse().ok())?
}

/// The answer's body, within a bound that grows with its length.
async fn collect(call: &Call<'_>, answer: GetObjectOutput) -> Result<AggregatedBytes, StoreError> {
    let length = answer.content_length().unwrap_or(0).max(0) as u64;
    call.within(call.attempt_bound(length), answer.body.collect()).await?.map_err(|error| of_body(call, error))
}

fn check(call: &Call<'_>, stored: Option<Fingerprint>, came: Fingerprint) -> Result<(), StoreError> {
    match stored {
        Some(stored) if stored != came => {
            Err(call.corrupt(format!("what came ({}) is not what was stored ({})", came.encode(), stored.encode())))
        }
        _ => Ok(()),
    }
}

pub(super) async fn get_file(shared: &Arc<Shared>, key: &str, to: &Path) -> Result<u64, StoreError> {
    let mut attempts = 1;
    loop {
        match fetch_file(shared, key, to).await {
            Err(error)
                if error.kind == StoreErrorKind::Corrupt && error.can_retry() && attempts < MAX_FILE_ATTEMPTS =>
            {
                attempts += 1
            }
            Err(error) if error.kind == StoreErrorKind::Corrupt => return Err(error.with_retry(crate::Retry::No)),
            result => return result,
        }
    }
}

async fn fetch_file(shared: &Arc<Shared>, key: &str, to: &Path) -> Result<u64, StoreError> {
    let part_size = shared.options.part_size.max(1);
    let call = Call::begin(shared, Operation::GetFile, key, part_size);
    let (target, total, stored, written) = {
        let _room = shared.room_for(part_size).await;
        let first = match get_range(&call, 0..part_size).await? {
            Some(first) => first,
            None => Part { body: empty(&call).await?, total: 0, stored: None },
        };
        let target = Target::make(&call, to, first.total).await?;
        let written = target.write(&call, 0, first.body).await?;
        (target, first.total, first.stored, written)
    };
    let call = Call::begin(shared, Operation::GetFile, key, total);
    let rest: Vec<Fingerprint> = futures::stream::iter((1..total.div_ceil(part_size)).map(|index| {
        let (call, target) = (&call, &target);
        async move {
            let start = index * part_size;
            let range = start..(start + part_size).min(total);
            let _room = shared.room_for(range.end - range.start).await;
            let gone = || call.corrupt("the object became shorter while it was read");
            let part = get_range(call, range).await?.ok_or_else(gone)?;
            target.write(call, start, part.body).await
        }
    }))
    .buffered(shared.options.transfer_concurrency.max(1))
    .try_collect()
    .await?;
    check(&call, stored, rest.into_iter().fold(written, Fingerprint::followed_by))?;
    target.finish(&call).await?;
    Ok(total)
}

/// The body of an object of which the store has no first range: it must be empty.
async fn empty(call: &Call<'_>) -> Result<AggregatedBytes, StoreError> {
    call.retried(|| async {
        let request = call.shared.client.get_object().bucket(&call.shared.bucket).key(call.key);
        let answer = call.send(0, request.send()).await?;
        let body = collect(call, answer).await?;
        if remaining(&body) > 0 {
            Err(call.corrupt("the store has no first range of an object that is not empty"))
        } else {
            Ok(body)
        }
    })
    .await
}

/// The local file, under another name until it is whole; removed if it never is.
struct Target {
    part: PathBuf,
    to: PathBuf,
    file: Arc<File>,
}

impl Target {
    async fn make(call: &Call<'_>, to: &Path, length: u64) -> Result<Self, StoreError> {
        let to = to.to_owned();
        blocking(call, "cannot make the local file", move || {
            let mut name = to.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.part", unique_name()));
            let part = to.with_file_name(name);
            let file = File::create_new(&part)?;
            let target = Self { part, to, file: Arc::new(file) };
            target.file.set_len(length)?;
            Ok(target)
        })
        .await
    }

    async fn write(&self, call: &Call<'_>, at: u64, body: AggregatedBytes) -> Result<Fingerprint, StoreError> {
        let file = self.file.clone();
        blocking(call, "cannot write the local file", move || {
            let mut written = Fingerprint { length: 0, crc32c: 0 };
            for segment in body.into_segments() {
                file.write_all_at(&segment, at + written.length)?;
                written.crc32c = crc32c::crc32c_append(written.crc32c, &segment);
                written.length += segment.len() as u64;
            }
            Ok(written)
        })
        .await
    }

    async fn finish(&self, call: &Call<'_>) -> Result<(), StoreError> {
        let (part, to) = (self.part.clone(), self.to.clone());
        blocking(call, "cannot name the local file", move || std::fs::rename(part, to)).await
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already if it was finished.
        let _ = std::fs::remove_file(&self.part);
    }
}

#[cfg(test)]
mod tests {
    use super::total_of;

    #[test]
    fn only_the_range_that_was_asked_for_has_a_total() {
        assert_eq!(total_of("bytes 0-9/100", 0), Some(100));
        assert_eq!(total_of("bytes 10-19/100", 10), Some(100));
        for (bad, start) in [("bytes 0-9/100", 10), ("bytes 0-9/*", 0), ("bytes */100", 0), ("", 0), ("0-9/100", 0)] {
            assert_eq!(total_of(bad, start), None, "{bad}");
        }
    }
}
