//! Reading journal, manifests and inventory out of a store. The job may run meanwhile: entries and manifests can go away
//! between a listing and a read, which is told apart from damage by looking again.

use std::collections::BTreeMap;

use weir_protocol::journal::{CheckpointEntry, JournalEntry};
use weir_protocol::stored::{self, StoredError};
use weir_protocol::{Manifest, Sequence, layout};
use weir_storage::StoreError;

use super::garbage::Inventory;
use super::model::{Checkpoint, History, Savepoint};
use super::target::{JobRoot, SAVEPOINT_MANIFEST};
use super::{Contents, InspectError};

/// How often a moving journal is read before giving up.
const TRIES: usize = 5;

fn failed(root: &JobRoot) -> impl Fn(StoreError) -> InspectError + '_ {
    |source| InspectError::Store { place: root.uri.clone(), source }
}

fn damaged(root: &JobRoot) -> impl Fn(StoredError) -> InspectError + '_ {
    |source| InspectError::Damaged { place: root.uri.clone(), source }
}

/// The journal's sequence numbers, newest first.
async fn list_entries(root: &JobRoot) -> Result<Vec<Sequence>, InspectError> {
    let listed = root.store.list(layout::JOURNAL, None).await.map_err(failed(root))?;
    Ok(listed.iter().filter_map(|object| layout::parse_journal_key(&object.key)).collect())
}

/// Reads one entry; `None` if it was trimmed meanwhile.
async fn read_entry(root: &JobRoot, sequence: Sequence) -> Result<Option<JournalEntry>, InspectError> {
    match root.store.get(&layout::journal_key(sequence)).await {
        Ok(bytes) => JournalEntry::decode(sequence, &bytes).map(Some).map_err(damaged(root)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(failed(root)(error)),
    }
}

/// Reads the head and the manifests of all retained checkpoints.
///
/// # Errors
/// When the store cannot be read, there is no journal, or its newest entry is damaged. A damaged manifest is part of the
/// result instead.
pub async fn read_history(root: &JobRoot) -> Result<History, InspectError> {
    for _ in 0..TRIES {
        let entries = list_entries(root).await?;
        let Some(head) = entries.first() else {
            return Err(InspectError::NotAJob { place: root.uri.clone(), found: Contents::of(std::iter::empty()) });
        };
        let Some(newest) = read_entry(root, *head).await? else { continue };
        let mut checkpoints = Vec::new();
        let mut gone = false;
        for entry in &newest.head.checkpoints {
            let manifest = match root.store.get(&entry.manifest.key).await {
                Ok(bytes) => decode_manifest(entry, &bytes).map_err(|error| error.to_string()),
                Err(error) if error.is_not_found() => {
                    gone = true;
                    Err(format!("{}: missing", entry.manifest.key))
                }
                Err(error) => return Err(failed(root)(error)),
            };
            checkpoints.push(Checkpoint { entry: entry.clone(), manifest });
        }
        // A manifest that is missing although the head that names it is still the newest one is lost, not retired.
        if gone && list_entries(root).await?.first() != Some(head) {
            continue;
        }
        return Ok(History { uri: root.uri.clone(), newest, entries, checkpoints });
    }
    Err(InspectError::Moving { place: root.uri.clone() })
}

/// Checks a manifest against what the journal says about it and decodes it.
pub(super) fn decode_manifest(entry: &CheckpointEntry, bytes: &[u8]) -> Result<Manifest, StoredError> {
    stored::verify(&entry.manifest, bytes)?;
    Manifest::decode(&entry.manifest.key, bytes)
}

/// Reads all journal entries there are, newest first; each is an entry or the reason why it is none.
///
/// # Errors
/// When the store cannot be read.
pub async fn read_entries(root: &JobRoot) -> Result<Vec<(Sequence, Result<JournalEntry, String>)>, InspectError> {
    let mut entries = Vec::new();
    for sequence in list_entries(root).await? {
        match read_entry(root, sequence).await {
            Ok(Some(entry)) => entries.push((sequence, Ok(entry))),
            Ok(None) => {}
            Err(InspectError::Damaged { source, .. }) => entries.push((sequence, Err(source.to_string()))),
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

/// Lists every object below the root, and the multipart uploads that were not completed.
///
/// # Errors
/// When the store cannot be listed.
pub async fn read_inventory(root: &JobRoot) -> Result<Inventory, InspectError> {
    let listed = root.store.list("", None).await.map_err(failed(root))?;
    let uploads = root.store.open_uploads("").await.map_err(failed(root))?;
    let objects: BTreeMap<String, u64> = listed.into_iter().map(|object| (object.key, object.length)).collect();
    let uploads = uploads.into_iter().map(|upload| upload.key).collect();
    Ok(Inventory { objects, uploads })
}

/// Reads the manifests of the savepoints in an inventory.
///
/// # Errors
/// When the store cannot be read.
pub async fn read_savepoints(root: &JobRoot, inventory: &Inventory) -> Result<Vec<Savepoint>, InspectError> {
    let mut savepoints: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for (key, length) in &inventory.objects {
        let Some((name, _)) = key.strip_prefix(layout::SAVEPOINTS).and_then(|rest| rest.split_once('/')) else {
            continue;
        };
        let (objects, bytes) = savepoints.entry(name).or_default();
        *objects += 1;
        *bytes += length;
    }
    let mut read = Vec::new();
    for (name, (objects, bytes)) in savepoints {
        let key = layout::savepoint_manifest_key(name);
        let manifest = match root.store.get(&key).await {
            Ok(body) => Manifest::decode(&key, &body).map_err(|error| error.to_string()),
            Err(error) if error.is_not_found() => Err("not complete: it has no manifest yet".to_owned()),
            Err(error) => return Err(failed(root)(error)),
        };
        read.push(Savepoint { name: name.to_owned(), objects, bytes, manifest });
    }
    Ok(read)
}

/// Reads the savepoint whose root this is.
///
/// # Errors
/// When the store cannot be read, or the manifest is damaged.
pub async fn read_savepoint(root: &JobRoot) -> Result<Manifest, InspectError> {
    let bytes = root.store.get(SAVEPOINT_MANIFEST).await.map_err(failed(root))?;
    Manifest::decode(SAVEPOINT_MANIFEST, &bytes).map_err(damaged(root))
}
