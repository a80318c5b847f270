//! Multipart uploads that were begun and never finished: what there is, and its removal.
//!
//! MinIO lists uploads by prefix only as far as its process remembers them: not after its own restart, and not one whose first request
//! broke off. It removes such uploads itself after a day; on Amazon a lifecycle rule can do the same.

use aws_sdk_s3::types::MultipartUpload;
use futures::StreamExt;
use futures::TryStreamExt;

use super::call::Call;
use super::code_of;
use crate::error::{StoreError, StoreErrorKind};
use crate::store::OpenUpload;

/// Most aborts in flight at once.
const ABORT_CONCURRENCY: usize = 8;

pub(super) async fn open_uploads(call: &Call<'_>) -> Result<Vec<OpenUpload>, StoreError> {
    let found = open_uploads_below(call, call.key).await?;
    if !found.is_empty() || call.key.is_empty() || !call.shared.place.custom {
        return Ok(found);
    }
    // MinIO takes the prefix for an object's whole name, unless it is empty.
    match open_uploads_below(call, "").await {
        Ok(mut all) => {
            all.retain(|upload| upload.key.starts_with(call.key));
            Ok(all)
        }
        // Credentials that see only their own prefix: the server that gave them knows prefixes.
        Err(error) if error.kind == StoreErrorKind::Denied => Ok(found),
        Err(error) => Err(error),
    }
}

async fn open_uploads_below(call: &Call<'_>, prefix: &str) -> Result<Vec<OpenUpload>, StoreError> {
    let mut found: Vec<OpenUpload> = Vec::new();
    let mut markers: (Option<String>, Option<String>) = (None, None);
    loop {
        let page = call
            .retried(|| async {
                let request = call.shared.client.list_multipart_uploads().bucket(&call.shared.bucket).prefix(prefix);
                call.send(0, request.set_key_marker(markers.0.clone()).set_upload_id_marker(markers.1.clone()).send())
                    .await
            })
            .await?;
        found.extend(page.uploads().iter().filter_map(as_open_upload));
        let next = (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
        if page.is_truncated() != Some(true) || next == markers || next.0.is_none() {
            found.sort();
            found.dedup();
            return Ok(found);
        }
        markers = next;
    }
}

fn as_open_upload(upload: &MultipartUpload) -> Option<OpenUpload> {
    Some(OpenUpload { key: upload.key()?.to_owned(), upload: upload.upload_id()?.to_owned() })
}

pub(super) async fn abort_uploads(call: &Call<'_>) -> Result<usize, StoreError> {
    let uploads = open_uploads(call).await?;
    let count = uploads.len();
    abort_all(call, uploads).await?;
    Ok(count)
}

/// Aborts the uploads; ones that are gone are fine.
pub(super) async fn abort_all(call: &Call<'_>, uploads: Vec<OpenUpload>) -> Result<(), StoreError> {
    futures::stream::iter(uploads.into_iter().map(|upload| async move { abort(call, &upload).await }))
        .buffer_unordered(ABORT_CONCURRENCY)
        .try_collect()
        .await
}

pub(super) async fn abort(call: &Call<'_>, upload: &OpenUpload) -> Result<(), StoreError> {
    call.retried(|| async {
        let request = call
            .shared
            .client
            .abort_multipart_upload()
            .bucket(&call.shared.bucket)
            .key(&upload.key)
            .upload_id(&upload.upload);
        match call.within(call.attempt_bound(0), request.send()).await? {
            Err(error) if code_of(&error) != Some("NoSuchUpload") => Err(call.error(error)),
            _ => Ok(()),
        }
    })
    .await
}
