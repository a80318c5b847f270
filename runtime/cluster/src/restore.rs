//! Reads what a deployment starts from: the restored manifest, and the output that has to be committed again.
//!
//! What comes from elsewhere (a savepoint, another job's checkpoint) is copied into the job's own runs first, because every later
//! manifest names it and a job needs nothing outside its prefix.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use weir_protocol::coordinator::Deployment;
use weir_protocol::journal::RestorePoint;
use weir_protocol::{CheckpointId, Generation, Manifest, ObjectRef, SinkHandle, WorkerIndex, layout};
use weir_storage::ObjectStore;

use crate::copy::{Copier, CopyOrder};
use crate::io::Io;
use crate::restore_from::open_place;
use crate::retry::{chain, read_checked};
use crate::savepoint::objects_of;

/// What a deployment starts from, with names that are the job's own.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub manifest: Option<Manifest>,
    /// Output to be committed again, by checkpoint.
    pub replay: Vec<(CheckpointId, Vec<SinkHandle>)>,
}

impl Restored {
    /// Handles that must survive the removal of hidden output.
    pub(crate) fn named_output(&self) -> Vec<SinkHandle> {
        let restored = self.manifest.iter().flat_map(|manifest| &manifest.sinks);
        restored.chain(self.replay.iter().flat_map(|(_, handles)| handles)).cloned().collect()
    }
}

/// Why there is nothing to start from. Repeating does not help; falling back is the user's choice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    #[error(
        "checkpoint {checkpoint} cannot be restored, because its manifest {key} cannot be read: {reason}; \
         to go on from an older one, choose it with restoreFrom checkpoint"
    )]
    Manifest { checkpoint: CheckpointId, key: String, reason: String },
    #[error("checkpoint {checkpoint} cannot be restored, because {reason}")]
    Import { checkpoint: CheckpointId, reason: String },
}

/// Reads the manifests of a deployment. An outage of the store is waited out.
pub(crate) async fn read_restored(io: &Io, deployment: &Deployment) -> Result<Restored, RestoreError> {
    let own = &*io.options.objects;
    let mut known: BTreeMap<CheckpointId, Manifest> = BTreeMap::new();
    for entry in deployment.checkpoint.iter().chain(&deployment.replay) {
        if let Entry::Vacant(unknown) = known.entry(entry.id) {
            unknown.insert(read_manifest(io, own, &entry.manifest, entry.id).await?);
        }
    }
    let replay = deployment.replay.iter().map(|entry| (entry.id, known[&entry.id].sinks.clone())).collect();
    let manifest = match &deployment.restore {
        RestorePoint::Empty => None,
        RestorePoint::Checkpoint(id) => known.remove(id),
        RestorePoint::Imported { source, manifest, checkpoint } => {
            Some(import(io, source, manifest, *checkpoint, deployment.generation).await?)
        }
    };
    Ok(Restored { manifest, replay })
}

async fn read_manifest(
    io: &Io,
    objects: &dyn ObjectStore,
    object: &ObjectRef,
    checkpoint: CheckpointId,
) -> Result<Manifest, RestoreError> {
    let check = |bytes: &Bytes| {
        weir_protocol::stored::verify(object, bytes)?;
        Manifest::decode(&object.key, bytes)
    };
    let read = read_checked(objects, &object.key, &io.trouble, check).await;
    read.map_err(|reason| RestoreError::Manifest { checkpoint, key: object.key.clone(), reason })
}

async fn import(
    io: &Io,
    source: &str,
    object: &ObjectRef,
    checkpoint: CheckpointId,
    generation: Generation,
) -> Result<Manifest, RestoreError> {
    let failed = |reason: String| RestoreError::Import { checkpoint, reason };
    let place = open_place(&io.options, source).await.map_err(|error| failed(chain(&error)))?;
    let mut manifest = read_manifest(io, &*place, object, checkpoint).await?;
    let prefix = layout::runs_prefix(generation, WorkerIndex(0));
    let names: BTreeMap<String, String> = objects_of(&manifest)
        .enumerate()
        .map(|(index, object)| {
            let name = object.key.rsplit('/').next().unwrap_or_default().to_owned();
            (object.key, format!("{prefix}imported-{index}-{name}"))
        })
        .collect();
    let orders = objects_of(&manifest).map(|object| CopyOrder { to: names[&object.key].clone(), object }).collect();
    let copier = Copier { from: &*place, to: &*io.options.objects, scratch: &io.scratch, trouble: &io.trouble };
    copier.copy_all(orders).await.map_err(|error| failed(chain(&error)))?;
    for run in &mut manifest.chain {
        run.object.key = names[&run.object.key].clone();
    }
    // Committed, or to be committed, by the job that prepared it.
    manifest.sinks.clear();
    Ok(manifest)
}
