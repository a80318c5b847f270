//! Makes a savepoint out of a checkpoint: copies every object it names below the savepoint's folder, its manifest last.
//!
//! Names in a manifest are relative, so the copy's manifest is the checkpoint's, byte for byte, and the folder is complete in
//! itself wherever it is moved. A copy that was interrupted is taken up again; a folder that holds another savepoint is left alone.

use bytes::Bytes;
use weir_protocol::journal::CheckpointEntry;
use weir_protocol::{Manifest, layout};
use weir_storage::{Created, ObjectStore, StoreError};

use crate::copy::{Copier, CopyOrder};
use crate::io::Io;
use crate::retry::{chain, read_checked, until_answered};

/// Copies `checkpoint` to savepoint `name`. An outage is waited out.
///
/// # Errors
/// What repeating cannot mend, for the user.
pub(crate) async fn copy_savepoint(io: &Io, name: &str, checkpoint: &CheckpointEntry) -> Result<(), String> {
    let objects = &*io.options.objects;
    let key = &checkpoint.manifest.key;
    let check = |bytes: &Bytes| {
        weir_protocol::stored::verify(&checkpoint.manifest, bytes)?;
        Manifest::decode(key, bytes).map(|manifest| (manifest, bytes.clone()))
    };
    let read = read_checked(objects, key, &io.trouble, check).await;
    let (manifest, bytes) = read.map_err(|reason| format!("manifest {key} cannot be read: {reason}"))?;
    let manifest_key = layout::savepoint_manifest_key(name);
    refuse_other(objects, &manifest_key, &bytes, io, name).await?;
    let prefix = layout::savepoint_prefix(name);
    // Left open by a copy that was interrupted; parts of this one are not under way yet.
    until_answered(&io.trouble, || objects.abort_uploads(&prefix)).await.map_err(|error| chain(&error))?;
    let orders = objects_of(&manifest).map(|object| CopyOrder { to: format!("{prefix}{}", object.key), object });
    let copier = Copier { from: objects, to: objects, scratch: &io.scratch, trouble: &io.trouble };
    copier.copy_all(orders.collect()).await.map_err(|error| chain(&error))?;
    let created = until_answered(&io.trouble, || objects.create(&manifest_key, bytes.clone())).await;
    match created.map_err(|error| chain(&error))? {
        Created::Done => Ok(()),
        Created::Exists => refuse_other(objects, &manifest_key, &bytes, io, name).await,
    }
}

/// Refuses if the savepoint is complete and is not this one.
async fn refuse_other(objects: &dyn ObjectStore, key: &str, ours: &Bytes, io: &Io, name: &str) -> Result<(), String> {
    let found = until_answered(&io.trouble, || async {
        match objects.get(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err::<_, StoreError>(error),
        }
    });
    match found.await.map_err(|error| chain(&error))? {
        Some(other) if other != *ours => Err(format!("savepoint {name} exists already: choose another name")),
        Some(_) | None => Ok(()),
    }
}

/// The objects a manifest names, each once.
pub(crate) fn objects_of(manifest: &Manifest) -> impl Iterator<Item = weir_protocol::ObjectRef> + use<> {
    let by_key: std::collections::BTreeMap<String, weir_protocol::ObjectRef> =
        manifest.chain.iter().map(|run| (run.object.key.clone(), run.object.clone())).collect();
    by_key.into_values()
}
