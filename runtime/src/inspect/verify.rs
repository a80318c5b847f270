//! `weir inspect verify`: reads every byte that a restore could need and compares it with what the manifests say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use weir_protocol::{Manifest, ObjectRef, layout};
use weir_storage::{ObjectStore, StoreError, StoreErrorKind};

use super::InspectError;
use super::model::{History, Savepoint};
use super::read::read_entries;
use super::target::JobRoot;
use crate::show;

/// Objects that are read at once.
const CONCURRENCY: usize = 4;
/// Bytes that are read of one object at once.
const PIECE: u64 = 8 << 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Where the job is.
    pub uri: String,
    /// Objects that were read.
    pub objects: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Checkpoints and savepoints that can be restored.
    pub intact: Vec<String>,
    /// Those that cannot.
    pub broken: Vec<String>,
    /// What is damaged.
    pub damaged: Vec<Damage>,
}

/// A damaged object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damage {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The checkpoints and savepoints that need it; none for a journal entry that is not the newest.
    pub needed_by: Vec<String>,
}

/// What is to be read: objects by key, each with the checkpoints and savepoints that need it.
#[derive(Default)]
struct Plan {
    objects: BTreeMap<String, (ObjectRef, BTreeSet<String>)>,
    restorable: Vec<String>,
    damaged: Vec<Damage>,
    /// Manifests and journal entries, read already.
    read: u64,
    read_bytes: u64,
}

impl Plan {
    /// `prefix` stands before the names in the manifest.
    fn add(&mut self, name: &str, prefix: &str, manifest: &Manifest) {
        for run in &manifest.chain {
            let key = format!("{prefix}{}", run.object.key);
            let object = ObjectRef { key: key.clone(), ..run.object.clone() };
            let (known, users) = self.objects.entry(key).or_insert_with(|| (object.clone(), BTreeSet::new()));
            if *known != object {
                let what = "two checkpoints name it with different contents".to_owned();
                self.damaged.push(Damage { object: object.key, what, needed_by: vec![name.to_owned()] });
                continue;
            }
            users.insert(name.to_owned());
        }
    }
}

/// Reads and compares everything.
///
/// # Errors
/// When the store cannot be read; what is damaged or missing is part of the result.
pub async fn verify(root: &JobRoot, history: &History, savepoints: &[Savepoint]) -> Result<Verification, InspectError> {
    let started = Instant::now();
    let mut plan = plan(history, savepoints);
    for (sequence, entry) in read_entries(root).await? {
        plan.read += 1;
        match entry {
            Ok(entry) => plan.read_bytes += entry.encode().len() as u64,
            Err(what) => {
                plan.damaged.push(Damage { object: layout::journal_key(sequence), what, needed_by: Vec::new() })
            }
        }
    }
    let failed = |source| InspectError::Store { place: root.uri.clone(), source };
    let Plan { objects, restorable, mut damaged, read, read_bytes } = plan;
    let checked: Vec<_> = stream::iter(objects.values())
        .map(|(object, users)| async move { Ok((check(&*root.store, object).await?, object, users)) })
        .buffer_unordered(CONCURRENCY)
        .try_collect()
        .await
        .map_err(failed)?;
    let bytes = read_bytes + checked.iter().map(|(found, _, _)| found.bytes).sum::<u64>();
    for (found, object, users) in checked {
        if let Some(what) = found.damage {
            damaged.push(Damage { object: object.key.clone(), what, needed_by: users.iter().cloned().collect() });
        }
    }
    damaged.sort();
    let hurt: BTreeSet<&String> = damaged.iter().flat_map(|damage| &damage.needed_by).collect();
    let (broken, intact) = restorable.into_iter().partition(|name| hurt.contains(name));
    Ok(Verification {
        uri: history.uri.clone(),
        objects: read + objects.len() as u64,
        bytes,
        seconds: started.elapsed().as_secs_f64(),
        intact,
        broken,
        damaged,
    })
}

fn plan(history: &History, savepoints: &[Savepoint]) -> Plan {
    let mut plan = Plan::default();
    for checkpoint in history.checkpoints.iter().rev() {
        let name = format!("checkpoint {}", checkpoint.entry.id);
        let object = checkpoint.entry.manifest.key.clone();
        plan.read += 1;
        plan.read_bytes += checkpoint.entry.manifest.length;
        let damage = match &checkpoint.manifest {
            Err(what) => Some(what.clone()),
            Ok(manifest) if manifest.checkpoint != checkpoint.entry.id => {
                Some(format!("it is the manifest of checkpoint {}", manifest.checkpoint))
            }
            Ok(manifest) if manifest.job_id != history.newest.head.job_id => {
                Some(format!("it belongs to job {}", manifest.job_id))
            }
            Ok(manifest) => {
                plan.add(&name, "", manifest);
                None
            }
        };
        plan.damaged.extend(damage.map(|what| Damage { object, what, needed_by: vec![name.clone()] }));
        plan.restorable.push(name);
    }
    for savepoint in savepoints {
        let name = format!("savepoint {}", savepoint.name);
        plan.read += 1;
        match &savepoint.manifest {
            Ok(manifest) => {
                plan.read_bytes += manifest.encode().len() as u64;
                plan.add(&name, &layout::savepoint_prefix(&savepoint.name), manifest);
                plan.restorable.push(name);
            }
            Err(what) => {
                let object = layout::savepoint_manifest_key(&savepoint.name);
                plan.damaged.push(Damage { object, what: what.clone(), needed_by: vec![name.clone()] });
                plan.restorable.push(name);
            }
        }
    }
    plan
}

/// What reading one object showed.
struct Check {
    bytes: u64,
    damage: Option<String>,
}

async fn check(store: &dyn ObjectStore, object: &ObjectRef) -> Result<Check, StoreError> {
    match checksum(store, object).await {
        Ok((length, crc)) if (length, crc) == (object.length, object.crc32c) => {
            Ok(Check { bytes: length, damage: None })
        }
        Ok((length, crc)) => {
            let damage = format!(
                "{length} bytes with checksum {crc:08x}, expected are {} bytes with checksum {:08x}",
                object.length, object.crc32c
            );
            Ok(Check { bytes: length, damage: Some(damage) })
        }
        Err(error) if error.is_not_found() => Ok(Check { bytes: 0, damage: Some("missing".to_owned()) }),
        Err(error) if error.kind == StoreErrorKind::Corrupt => Ok(Check { bytes: 0, damage: Some(error.what) }),
        Err(error) => Err(error),
    }
}

/// Length and CRC-32C, a piece at a time. Of an object that is longer than expected only the length is read.
async fn checksum(store: &dyn ObjectStore, object: &ObjectRef) -> Result<(u64, u32), StoreError> {
    if object.length <= PIECE {
        let bytes = store.get(&object.key).await?;
        return Ok((bytes.len() as u64, crc32c::crc32c(&bytes)));
    }
    let Some(length) = store.head(&object.key).await? else {
        return store.get(&object.key).await.map(|bytes| (bytes.len() as u64, crc32c::crc32c(&bytes)));
    };
    if length != object.length {
        return Ok((length, 0));
    }
    let (mut from, mut crc) = (0, 0);
    while from < length {
        let to = length.min(from + PIECE);
        crc = crc32c::crc32c_append(crc, &store.get_range(&object.key, from..to).await?);
        from = to;
    }
    Ok((length, crc))
}

impl Verification {
    /// The result as text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let verdict = if self.damaged.is_empty() { "all intact" } else { "DAMAGED" };
        writeln!(
            text,
            "{}: read {} ({}) in {:.1} s: {verdict}",
            self.uri,
            show::count_of(self.objects, "object"),
            show::bytes(self.bytes),
            self.seconds
        )
        .expect("writing to a string cannot fail");
        for damage in &self.damaged {
            let needed = if damage.needed_by.is_empty() {
                String::new()
            } else {
                format!("; needed by {}", damage.needed_by.join(", "))
            };
            writeln!(text, "DAMAGED  {}: {}{needed}", damage.object, damage.what)
                .expect("writing to a string cannot fail");
        }
        for (what, names) in [("intact ", &self.intact), ("BROKEN ", &self.broken)] {
            if !names.is_empty() {
                writeln!(text, "{what}  {}", names.join(", ")).expect("writing to a string cannot fail");
            }
        }
        text
    }
}
