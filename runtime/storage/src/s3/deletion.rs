//! Deletion in batches.

use std::sync::Arc;

use aws_sdk_s3::types::{Delete, ObjectIdentifier};

use super::Shared;
use super::call::Call;
use crate::error::{Operation, Retry, StoreError, StoreErrorKind};

/// Most keys of one request: S3's limit.
const BATCH: usize = 1000;

pub(super) async fn delete(shared: &Arc<Shared>, keys: &[String]) -> Result<(), StoreError> {
    for batch in keys.chunks(BATCH) {
        // A batch is never empty.
        let call = Call::begin(shared, Operation::Delete, &batch[0], 0);
        match batch {
            [key] => delete_one(&call, key).await?,
            _ => delete_batch(&call, batch).await?,
        }
    }
    Ok(())
}

async fn delete_one(call: &Call<'_>, key: &str) -> Result<(), StoreError> {
    let deleted = call.retried(|| async {
        let request = call.shared.client.delete_object().bucket(&call.shared.bucket).key(key);
        call.send(0, request.send()).await
    });
    match deleted.await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

async fn delete_batch(call: &Call<'_>, keys: &[String]) -> Result<(), StoreError> {
    let objects =
        keys.iter().map(|key| ObjectIdentifier::builder().key(key).build().expect("the key is set")).collect();
    let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().expect("the objects are set");
    call.retried(|| async {
        let request = call.shared.client.delete_objects().bucket(&call.shared.bucket).delete(delete.clone());
        let answer = call.send(0, request.send()).await?;
        let failed = answer.errors().iter().find(|error| error.code() != Some("NoSuchKey"));
        match failed {
            None => Ok(()),
            Some(failed) => {
                let (code, key) = (failed.code().unwrap_or("no code"), failed.key().unwrap_or_default());
                let (kind, retry) = match code {
                    "AccessDenied" => (StoreErrorKind::Denied, Retry::No),
                    "SlowDown" => (StoreErrorKind::Throttled, Retry::Yes),
                    _ => (StoreErrorKind::Other, Retry::Yes),
                };
                let what = format!(
                    "{} of {} objects were not removed, the first is {key:?} ({code})",
                    answer.errors().len(),
                    keys.len()
                );
                Err(call.new_error(kind, what).with_retry(retry).maybe_done())
            }
        }
    })
    .await
}
