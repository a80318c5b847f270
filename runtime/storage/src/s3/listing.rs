//! Listing page by page, in the order the caller relies on.

use std::sync::Arc;

use super::Shared;
use super::call::Call;
use crate::error::{Operation, StoreError, StoreErrorKind};
use crate::store::Listed;

/// Most keys of one page: S3's limit.
const PAGE: usize = 1000;

pub(super) async fn list(shared: &Arc<Shared>, prefix: &str, limit: usize) -> Result<Vec<Listed>, StoreError> {
    let mut found: Vec<Listed> = Vec::new();
    let mut next: Option<String> = None;
    while found.len() < limit {
        // Each page has the call's bound: a listing is as long as the bucket.
        let call = Call::begin(shared, Operation::List, prefix, 0);
        let wanted = (limit - found.len()).min(PAGE);
        let page = call
            .retried(|| async {
                let request =
                    shared.client.list_objects_v2().bucket(&shared.bucket).prefix(prefix).max_keys(wanted as i32);
                call.send(0, request.set_continuation_token(next.clone()).send()).await
            })
            .await?;
        for object in page.contents() {
            let key = object.key().unwrap_or_default();
            if !key.starts_with(prefix) || found.last().is_some_and(|last| last.key.as_str() >= key) {
                let what = format!(
                    "the listing is not in ascending order of keys at {key:?}: Weir cannot use a store that lists so"
                );
                return Err(call.new_error(StoreErrorKind::Other, what));
            }
            found.push(Listed { key: key.to_owned(), length: object.size().unwrap_or(0).max(0) as u64 });
        }
        match page.next_continuation_token() {
            Some(token) if page.is_truncated() == Some(true) => next = Some(token.to_owned()),
            _ => break,
        }
    }
    found.truncate(limit);
    Ok(found)
}
