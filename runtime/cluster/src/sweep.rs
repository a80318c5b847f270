//! Finds what nobody may need any more, and deletes it when told.
//!
//! Listing only collects names: which of them are garbage of older generations, and whether a retained manifest still names
//! them, is for the coordinator to say, which also says *when*: only when the store has just confirmed its reign. Uploads
//! in parts that older generations left open are aborted here; those of the reigning one belong to its workers.

use std::collections::BTreeSet;

use weir_protocol::coordinator::Event;
use weir_protocol::{Generation, layout};
use weir_storage::ObjectStore;

use crate::journal::delete_at_once;
use crate::pulse::Decision;
use crate::retry::{Trouble, until_answered};

/// Folders in which every generation leaves objects.
const SWEPT: [&str; 3] = [layout::RUNS, layout::MANIFESTS, layout::JOURNAL];

/// Lists what there is; the answer is [`Event::ObjectsListed`].
pub(crate) async fn list_objects(objects: &dyn ObjectStore, trouble: &Trouble) -> Event {
    let mut keys = Vec::new();
    for folder in SWEPT {
        // Without hurry, and without harm if it fails for good: the next deployment lists again.
        let listed = until_answered(trouble, || objects.list(folder, None)).await.unwrap_or_default();
        keys.extend(listed.into_iter().map(|object| object.key));
    }
    Event::ObjectsListed(keys)
}

/// Aborts uploads in parts that generations before `generation` left open. Returns how many.
pub(crate) async fn abort_uploads(
    objects: &dyn ObjectStore,
    generation: Generation,
    decision: &Decision,
    trouble: &Trouble,
) -> usize {
    let open = until_answered(trouble, || objects.open_uploads(layout::RUNS)).await.unwrap_or_default();
    let older = |key: &str| layout::parse_run_generation(key).is_some_and(|found| found < generation);
    let keys: BTreeSet<String> = open.into_iter().map(|upload| upload.key).filter(|key| older(key)).collect();
    let mut aborted = 0;
    for key in keys {
        if decision.is_stale() {
            break;
        }
        match objects.abort_uploads(&key).await {
            Ok(count) => aborted += count,
            Err(error) => tracing::debug!(error = %error, "an open upload of an older generation stays for now"),
        }
    }
    aborted
}

/// Removes what killed processes left behind while they probed the store. Nothing depends on it.
pub(crate) async fn remove_old_probes(objects: &dyn ObjectStore, decision: &Decision) -> usize {
    if decision.is_stale() {
        return 0;
    }
    weir_storage::remove_old_probes(objects).await.unwrap_or_else(|error| {
        tracing::debug!(error = %error, "what old probes left stays for now");
        0
    })
}

/// Deletes objects at once or not at all; the answer is [`Event::ObjectsDeleted`].
pub(crate) async fn delete_objects(objects: &dyn ObjectStore, keys: Vec<String>, decision: &Decision) -> Event {
    let gone = delete_at_once(objects, &keys, decision).await;
    Event::ObjectsDeleted(keys, gone)
}
